// SPDX-License-Identifier: Apache-2.0
//! The serving side of a figure, in a process of its own.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biplane::{Request, ResponseSender, handler_fn};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::Outcome;
use crate::reading::{Reading, allow_files};
use crate::settings::{ECHO, OPEN, runtime};

/// Files of its own beside links: more than any figure needs.
const MOST_LINKS: usize = 10_000;

/// Serves on `plane` until its standard input ends, and tells what it has for each line there.
pub(crate) async fn serve(plane: &str, settings: &[&str]) -> Outcome {
    allow_files(MOST_LINKS)?;
    let biplane = runtime(plane, plane, settings)?;
    let echo = biplane.serve(ECHO, handler_fn(echo)).start().await?;
    let kept = Kept::default();
    let keeps = kept.clone();
    let open =
        biplane.serve(OPEN, handler_fn(move |request, reply| open(request, reply, keeps.clone()))).start().await?;
    let endpoints = echo.instance().request_endpoints();
    let address = &endpoints.first().ok_or("it is reached nowhere")?.address.address;
    // A URL names the subject, too, and so would hold for this one alone.
    say(&match address.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next())) {
        Some((scheme, Some(authority))) => format!("{scheme}://{authority}"),
        _ => format!("{plane}://{address}"),
    })?;

    let (ended, end) = oneshot::channel();
    let handle = Handle::current();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            // What nobody reads any more.
            lock(&kept).retain(|reply| reply.stopped().now_or_never().is_none());
            let said = Reading::now(&handle).and_then(|reading| say(&reading.encode()));
            if let Err(why) = said {
                eprintln!("{why}");
                break;
            }
        }
        let _ = ended.send(());
    });
    let _ = end.await;
    drop((echo, open));
    Ok(())
}

async fn echo(request: Request, reply: ResponseSender) -> biplane::Result<()> {
    reply.send(request.message.body).await
}

/// Answers that are open.
type Kept = Arc<Mutex<Vec<ResponseSender>>>;

fn lock(kept: &Kept) -> MutexGuard<'_, Vec<ResponseSender>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sender that lives on keeps its answer open, and no handler is needed for that.
async fn open(request: Request, reply: ResponseSender, kept: Kept) -> biplane::Result<()> {
    reply.send(request.message.body).await?;
    lock(&kept).push(reply);
    Ok(())
}

fn say(line: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The other process. Ends with the value.
pub(crate) struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    /// Where it is reached.
    pub(crate) url: String,
}

impl Server {
    /// Starts this program once more, and waits until it listens.
    pub(crate) fn start(plane: &str, settings: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", plane]).args(settings).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("a server has no output")?).lines();
        let mut server = Self { child, input, output, url: String::new() };
        server.url = server.line()?;
        Ok(server)
    }

    /// What it has now.
    pub(crate) fn reading(&mut self) -> Outcome<Reading> {
        if let Some(input) = &mut self.input {
            writeln!(input)?;
        }
        Reading::decode(&self.line()?)
    }

    fn line(&mut self) -> Outcome<String> {
        Ok(self.output.next().ok_or("the server has ended")??)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
