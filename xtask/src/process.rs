// SPDX-License-Identifier: Apache-2.0
//! Processes that end: with what was started, when they are asked, or when their time is up.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Between two looks at something that is being waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server may take to start, and then to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server in the background. Asked to end with the value, and made to when it does not.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Outcome<Self> {
        let folder = log.parent().unwrap_or(log);
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let open = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = open.map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(|error| format!("{:?} does not start: {error}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody listens on `port`.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Outcome {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        self.wait_until(|_| TcpStream::connect_timeout(&address, PATIENCE).is_ok(), &format!("listen on port {port}"))
    }

    /// Waits until its output has `text`.
    pub(crate) fn wait_for_text(&mut self, text: &str) -> Outcome {
        self.wait_until(|server| server.said().contains(text), &format!("say {text:?}"))
    }

    fn wait_until(&mut self, is: impl Fn(&Self) -> bool, what: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if is(self) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("a server ended with {status} before it did {what}{}", self.last_words()));
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("a server did not {what} in {} s{}", PATIENCE.as_secs(), self.last_words()))
    }

    fn said(&self) -> String {
        std::fs::read(&self.log).map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default()
    }

    /// The end of what it said, for a message.
    pub(crate) fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<_> = said.lines().rev().take(5).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        if lines.is_empty() { String::new() } else { format!("\n    {}", lines.join("\n    ")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked, so that it ends what it started itself.
        let asked = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while asked.is_ok() && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command says until it ends, whatever its status; an error when it takes longer than `limit`.
pub(crate) fn output(mut command: Command, limit: Duration) -> Outcome<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{:?} does not start: {error}", command.get_program()))?;
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let deadline = Instant::now() + limit;
    let ended = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                break Err(format!("it took longer than {} s and was ended", limit.as_secs()));
            }
            Ok(Some(_)) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    let text = out.join().unwrap_or_default() + &err.join().unwrap_or_default();
    ended.map(|()| text)
}

fn reader<R: Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// A port that nobody has at the moment.
pub(crate) fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}
