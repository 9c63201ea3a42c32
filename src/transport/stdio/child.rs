// SPDX-License-Identifier: Apache-2.0
//! One child: started, listened to on its standard error, seen to its end.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{oneshot, watch};

use super::children::{Children, Place};
use super::ended::Ended;
use super::settings::Settings;
use crate::error::{Error, Result, Retry};
use crate::io::process::{CommandLine, Leash, Pipes, Tail};
use crate::target::Target;

/// For the rest of standard error once a child has ended. Its end comes at once, unless a process that left the group
/// took the pipe along.
const LINGER: Duration = Duration::from_millis(50);

/// The hold of a connection on its child. Dropped, the child is ended by the task that keeps it.
pub(super) struct Child {
    pub(super) watched: Watched,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    /// Tells the keeper when it goes.
    pub(super) hold: oneshot::Sender<()>,
}

/// What can be known of a child from outside.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) name: Arc<str>,
    pub(super) said: Arc<Mutex<Tail>>,
    pub(super) ended: watch::Receiver<Option<Arc<Ended>>>,
}

impl Child {
    /// Waits for its turn, then starts. Cancel-safe: a child that nobody waits for any more is ended.
    pub(super) async fn start(
        line: &CommandLine,
        target: &Target,
        settings: &Settings,
        children: &Children,
    ) -> Result<Self> {
        let place = children.admit().await?;
        let (leash, pipes) = spawn(line, target, settings, children).await?;
        let (stdin, stdout, stderr) = pipes.into_async()?;
        let (hold, released) = oneshot::channel();
        let (told, ended) = watch::channel(None);
        let name: Arc<str> = format!("{line} (pid {})", leash.id()).into();
        tracing::debug!(target: "biplane::stdio", "started {name}");
        let said = Arc::new(Mutex::new(Tail::new(settings.stderr_tail)));
        let keeper = Keeper { name: name.clone(), leash, released, said: said.clone(), told, place };
        tokio::spawn(keep(keeper, stderr));
        Ok(Self { watched: Watched { name, said, ended }, stdin, stdout, hold })
    }

    /// For people: the command and its process id.
    pub(super) fn name(&self) -> &str {
        &self.watched.name
    }
}

async fn spawn(
    line: &CommandLine,
    target: &Target,
    settings: &Settings,
    children: &Children,
) -> Result<(Leash, Pipes)> {
    let mut command = Command::new(&line.program);
    command.args(&line.arguments).env_clear().envs(settings.environment.iter());
    command.envs(target.variables().iter().map(|(name, value)| (name, value)));
    command.envs(line.assignments.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let directory = target.directory().or(settings.cwd.as_deref());
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let (groups, grace) = (children.groups.clone(), settings.stop_grace);
    // Forking takes its time.
    let spawned = tokio::task::spawn_blocking(move || groups.spawn(command, grace)).await;
    let spawned = spawned.map_err(|error| Error::unexpected("the runtime is ending").with_source(error))?;
    spawned.map_err(|error| not_started(line, directory, settings, error))
}

fn not_started(line: &CommandLine, directory: Option<&Path>, settings: &Settings, error: io::Error) -> Error {
    let program = &line.program;
    let missing = directory.filter(|directory| !directory.is_dir());
    if let (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(directory)) = (error.kind(), missing) {
        return Error::config(format!("the working directory {} is not there", directory.display()))
            .with_hint("the upstream's cwd or transport.stdio.cwd names it");
    }
    match error.kind() {
        io::ErrorKind::NotFound if settings.environment.is_empty() => {
            Error::connect(format!("the program {program:?} was not found: this runtime was given no PATH"))
                .with_hint("build it with Biplane::from_env(), or name the program by its path")
        }
        io::ErrorKind::NotFound => Error::connect(format!("the program {program:?} was not found"))
            .with_hint("check its name and PATH; no shell is involved, so ~ and variables are not expanded"),
        io::ErrorKind::PermissionDenied => Error::connect(format!("the program {program:?} may not be run"))
            .with_hint("check that it is a file with its executable bit set"),
        // Out of processes, descriptors or memory.
        _ => Error::overloaded(format!("the program {program:?} cannot be started")).with_source(error),
    }
    .with_retry(Retry::Safe)
}

/// Sees to the end of a child, whoever brings it about.
struct Keeper {
    name: Arc<str>,
    leash: Leash,
    released: oneshot::Receiver<()>,
    said: Arc<Mutex<Tail>>,
    told: watch::Sender<Option<Arc<Ended>>>,
    place: Place,
}

async fn keep(keeper: Keeper, stderr: ChildStderr) {
    let Keeper { name, leash, mut released, said, told, place } = keeper;
    let mut listening = pin!(listen(stderr, said.clone()));
    let mut has_listened = false;
    let mut ending = pin!(async {
        tokio::select! {
            _ = leash.exited() => {}
            // The connection is gone, and the child's standard input with it.
            _ = &mut released => {}
        }
        leash.end().await
    });
    let status = loop {
        tokio::select! {
            status = &mut ending => break status,
            () = &mut listening, if !has_listened => has_listened = true,
        }
    };
    if !has_listened {
        let _ = tokio::time::timeout(LINGER, listening).await;
    }
    let status = status.inspect_err(|error| tracing::warn!(target: "biplane::stdio", "{error}")).ok();
    tracing::debug!(target: "biplane::stdio", ?status, "ended: {name}");
    let said = said.lock().text();
    told.send_replace(Some(Arc::new(Ended { status, said })));
    drop(place);
}

/// Always, so that a child never waits for somebody to read what it says.
async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Tail>>) {
    let mut piece = vec![0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        said.lock().push(piece.get(..read).unwrap_or_default());
    }
}
