// SPDX-License-Identifier: Apache-2.0
//! One process group: its leader, and its end.
//!
//! The leader is reaped last. Until then it holds the group's number, dead or alive, so that a signal to the group can hit
//! nobody else; that is why this waits with `waitid` and does not use tokio's own child, which reaps as soon as it can.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::signal::unix::{SignalKind, signal};

use super::groups::Groups;
use crate::error::{Error, Result};

/// A group whose leader has not been reaped. Drop kills it.
#[derive(Debug)]
pub(super) struct Group {
    /// Absent once it is reaped.
    leader: Option<Child>,
    id: Pid,
    groups: Groups,
}

/// The leader's pipes, as far as its [`Command`] asked for them.
#[derive(Debug)]
pub struct Pipes {
    stdin: Option<std::process::ChildStdin>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
}

impl Pipes {
    /// All three, for a runtime; call it within one. Fails if one is missing, or is no pipe.
    pub fn into_async(self) -> Result<(ChildStdin, ChildStdout, ChildStderr)> {
        let (Some(stdin), Some(stdout), Some(stderr)) = (self.stdin, self.stdout, self.stderr) else {
            return Err(Error::unexpected("the command was started without its pipes"));
        };
        let adopt =
            || Ok((ChildStdin::from_std(stdin)?, ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?));
        adopt().map_err(|error: io::Error| Error::unexpected("the command's pipes cannot be read").with_source(error))
    }
}

impl Group {
    pub(super) fn spawn(command: &mut Command, groups: Groups) -> io::Result<(Self, Pipes)> {
        let mut leader = command.process_group(0).spawn()?;
        let pipes = Pipes { stdin: leader.stdin.take(), stdout: leader.stdout.take(), stderr: leader.stderr.take() };
        let id = Pid::from_child(&leader);
        groups.enter(id);
        Ok((Self { leader: Some(leader), id, groups }, pipes))
    }

    pub(super) fn id(&self) -> Pid {
        self.id
    }

    /// Signals every process of the group.
    pub(super) fn signal(&self, signal: Signal) {
        self.groups.signal(self.id, signal);
    }

    /// Waits until the leader has ended; it is not reaped. Cancel-safe.
    pub(super) async fn exited(&self) -> Result<()> {
        let failed = |error: io::Error| Error::unexpected("the command cannot be waited for").with_source(error);
        // Heard from before the first look, so that an end between look and wait is not missed.
        let mut children = signal(SignalKind::child()).map_err(failed)?;
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(self.id), options).map_err(|errno| failed(errno.into()))?.is_some() {
                return Ok(());
            }
            children.recv().await;
        }
    }

    /// Kills what is left of the group and reaps its leader, which must have ended: else this blocks until it has.
    pub(super) fn reap(mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        let Some(mut leader) = self.leader.take() else {
            return Err(Error::unexpected("the command was reaped twice"));
        };
        self.groups
            .leave(self.id, || leader.wait())
            .map_err(|error| Error::unexpected("the command's status cannot be read").with_source(error))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        self.signal(Signal::KILL);
        if let Ok(None) = self.groups.leave(self.id, || leader.try_wait()) {
            // It dies within moments, and somebody must take its status for it to be gone. This may be an async thread, or
            // one that ends a runtime, so it is not the one that waits.
            let reaper = std::thread::Builder::new().name("biplane-reaper".to_owned());
            // Without threads it remains until this process ends: the system has nothing left to give.
            let _ = reaper.spawn(move || leader.wait());
        }
    }
}
