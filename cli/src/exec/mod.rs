// SPDX-License-Identifier: Apache-2.0
//! A shell command as a handler: body in, lines out, one process group per request.

use std::pin::pin;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use biplane::io::process::{Groups, Leash, Pipes, Tail};
use biplane::{Error, Handler, PeerError, Request, ResponseSender, Result, Retry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin};
use tokio::sync::watch;

use self::lines::Lines;

mod lines;

/// From SIGTERM to SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Bytes of standard error that the caller is told: a stack trace or two.
const TOLD: usize = 4 << 10;

/// For what a process that left the group still writes to the pipes that it took along, after the shell has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Runs a command once per request.
///
/// The command has a process group of its own, which ends with the request: with the shell's own end, with the caller's
/// going away, with the deadline, or with the worker. [`ControlMessage::Stop`](biplane::ControlMessage::Stop) is SIGTERM;
/// what is printed after it still arrives.
pub(crate) struct Exec {
    command: String,
    max_item: usize,
    groups: Groups,
}

impl Exec {
    /// `max_item` bounds a line, in bytes.
    pub(crate) fn new(command: &str, max_item: usize, groups: Groups) -> Self {
        Self { command: command.to_owned(), max_item, groups }
    }

    async fn start(&self) -> Result<(Leash, Pipes)> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let groups = self.groups.clone();
        // Forking takes its time, and the first poll of a handler is in its link's own task. If nobody waits for the group
        // any more when it is there, it is dropped, which ends it.
        let spawned = tokio::task::spawn_blocking(move || groups.spawn(command, GRACE)).await;
        let spawned = spawned.map_err(|error| Error::unexpected("the worker is ending").with_source(error))?;
        spawned.map_err(|error| {
            // Out of processes, descriptors or memory: another instance may have some.
            Error::overloaded("the command cannot be started").with_source(error).with_retry(Retry::Safe)
        })
    }
}

impl Handler for Exec {
    async fn handle(&self, request: Request, reply: ResponseSender) -> Result<()> {
        let (leash, pipes) = self.start().await?;
        let (stdin, stdout, mut stderr) = pipes.into_async()?;
        let (has_exited, exited) = watch::channel(false);

        let items = async {
            let mut lines = Lines::new(stdout, self.max_item);
            while let Some(line) = unless_lingering(&exited, lines.next()).await? {
                reply.send(line).await?;
            }
            Ok::<_, Error>(())
        };
        let said = async {
            let mut tail = Tail::new(TOLD);
            while unless_lingering(&exited, read_into(&mut tail, &mut stderr)).await?.is_some() {}
            Ok::<_, Error>(tail.text())
        };
        let exit = async {
            tokio::select! {
                fed = feed(stdin, request) => {
                    fed?;
                    leash.exited().await?;
                }
                ended = leash.exited() => ended?,
            }
            has_exited.send_replace(true);
            // Nothing of the group outlives the request. Its pipes end with it, so that the others here do too.
            leash.kill();
            Ok::<_, Error>(())
        };
        let mut was_stopped = false;
        let said = {
            let mut work = pin!(async { tokio::try_join!(items, said, exit) });
            let ((), said, ()) = tokio::select! {
                done = &mut work => done?,
                _ = reply.stopped() => {
                    was_stopped = true;
                    leash.terminate();
                    work.await?
                }
            };
            said
        };
        let status = leash.reap()?;
        if was_stopped || status.success() { Ok(()) } else { Err(self.failure(status, &said).into()) }
    }
}

impl Exec {
    /// What the caller is told of a status other than 0.
    fn failure(&self, status: ExitStatus, said: &str) -> PeerError {
        use std::os::unix::process::ExitStatusExt;
        let (how, code, data) = match (status.code(), status.signal()) {
            (Some(code), _) => (format!("status {code}"), i64::from(code), serde_json::json!({ "exit_code": code })),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                (format!("signal {signal}"), PeerError::INTERNAL, serde_json::json!({ "signal": signal }))
            }
        };
        let said = if said.is_empty() { "it wrote nothing to standard error" } else { said };
        PeerError::new(code, format!("the command ended with {how}: {said}")).with_data(data.to_string())
    }
}

/// Gives the command its input: the body as it is, or the items of a streaming request as lines. A command that reads no
/// more is no error.
async fn feed(mut stdin: ChildStdin, request: Request) -> Result<()> {
    if stdin.write_all(&request.message.body).await.is_err() {
        return Ok(());
    }
    let Some(mut items) = request.items else { return Ok(()) };
    let mut end = stdin.write_all(b"\n").await;
    while end.is_ok() {
        let Some(item) = items.next().await else { break };
        let mut line = item?.body.to_vec();
        line.push(b'\n');
        end = stdin.write_all(&line).await;
    }
    Ok(())
}

/// A piece of what the command says; nothing at its end. Cancel-safe.
async fn read_into(tail: &mut Tail, stderr: &mut ChildStderr) -> Result<Option<()>> {
    let mut piece = [0; TOLD];
    let read = stderr.read(&mut piece).await;
    let read = read.map_err(|error| Error::unexpected("the command's errors cannot be read").with_source(error))?;
    tail.push(piece.get(..read).unwrap_or_default());
    Ok((read > 0).then_some(()))
}

/// What `reading` gives; nothing, if the command has exited and nothing came for a while.
async fn unless_lingering<T>(
    exited: &watch::Receiver<bool>,
    reading: impl Future<Output = Result<Option<T>>>,
) -> Result<Option<T>> {
    let mut exited = exited.clone();
    let lingering = async {
        // An error means that the sender is gone, which is after the exit too.
        let _ = exited.wait_for(|exited| *exited).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        biased;
        read = reading => read,
        () = lingering => Ok(None),
    }
}
