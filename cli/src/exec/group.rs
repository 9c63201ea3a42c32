// SPDX-License-Identifier: Apache-2.0
//! One process group: its leader, and the certainty that nothing of it remains.
//!
//! The leader is reaped last. Until then it holds the group's number, dead or alive, so that a signal to the group can hit
//! nobody else; that is why this waits with `waitid` and does not use tokio's own child, which reaps as soon as it can.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

use biplane::{Error, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::signal::unix::{SignalKind, signal};

use super::groups::Groups;

/// A group whose leader has not been reaped. Drop kills it.
pub(super) struct Group {
    leader: Child,
    id: Pid,
    groups: Groups,
    is_reaped: bool,
}

/// The leader's three pipes.
pub(super) struct Pipes {
    stdin: Option<std::process::ChildStdin>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
}

impl Pipes {
    /// Within a runtime.
    pub(super) fn into_async(self) -> Result<(ChildStdin, ChildStdout, ChildStderr)> {
        let (Some(stdin), Some(stdout), Some(stderr)) = (self.stdin, self.stdout, self.stderr) else {
            return Err(Error::unexpected("the command was started without its pipes"));
        };
        let adopt =
            || Ok((ChildStdin::from_std(stdin)?, ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?));
        adopt().map_err(|error: io::Error| Error::unexpected("the command's pipes cannot be read").with_source(error))
    }
}

impl Group {
    pub(super) fn spawn(mut command: Command, groups: Groups) -> io::Result<(Self, Pipes)> {
        let mut leader = command.process_group(0).spawn()?;
        let pipes = Pipes { stdin: leader.stdin.take(), stdout: leader.stdout.take(), stderr: leader.stderr.take() };
        let id = Pid::from_child(&leader);
        groups.enter(id);
        Ok((Self { leader, id, groups, is_reaped: false }, pipes))
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
        self.is_reaped = true;
        let leader = &mut self.leader;
        self.groups
            .leave(self.id, || leader.wait())
            .map_err(|error| Error::unexpected("the command's status cannot be read").with_source(error))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        self.signal(Signal::KILL);
        let leader = &mut self.leader;
        // Without waiting: where this happens, the worker is ending, and the system reaps what it leaves.
        let _ = self.groups.leave(self.id, || leader.try_wait());
    }
}
