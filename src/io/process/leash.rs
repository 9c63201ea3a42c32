// SPDX-License-Identifier: Apache-2.0
//! The hold of somebody on a process group. Letting go ends the group.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use super::group::Group;
use crate::error::{Error, Result};

/// For the rest of a group to follow its leader, which a SIGTERM often ends first.
const FOLLOW: Duration = Duration::from_millis(250);

/// To be gone after a SIGKILL, which is at once but for a process that hangs within the system.
const KILLED: Duration = Duration::from_secs(2);

/// Owned by whom the group works for. Dropped, the group gets SIGTERM at once, and a task of its own sees to its end: drop
/// never blocks. Where there is no runtime, drop kills.
#[derive(Debug)]
pub struct Leash {
    group: Option<Group>,
    grace: Duration,
}

impl Leash {
    pub(super) fn new(group: Group, grace: Duration) -> Self {
        Self { group: Some(group), grace }
    }

    /// The leader's process id, which is the group's number.
    pub fn id(&self) -> u32 {
        self.group.as_ref().map_or(0, |group| group.id().as_raw_nonzero().get().unsigned_abs())
    }

    /// Asks the group to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits for the leader's end. Cancel-safe.
    pub async fn exited(&self) -> Result<()> {
        match &self.group {
            Some(group) => group.exited().await,
            None => Ok(()),
        }
    }

    /// The status of a leader that has ended. Kills what is left of its group. Blocks if the leader has not ended.
    pub fn reap(mut self) -> Result<ExitStatus> {
        match self.group.take() {
            Some(group) => group.reap(),
            None => Err(Error::unexpected("the command was reaped twice")),
        }
    }

    /// Ends the group, the polite way first: waits for the leader's own end, since whoever calls has closed its standard
    /// input, then SIGTERM, then SIGKILL, each with the grace before the next. The leader's status, if it could be had.
    /// Dropping the future goes on with SIGTERM.
    pub async fn end(self) -> Result<ExitStatus> {
        if tokio::time::timeout(self.grace, self.exited()).await.is_err() {
            self.terminate();
            if tokio::time::timeout(self.grace, self.exited()).await.is_err() {
                self.kill();
                let killed = tokio::time::timeout(KILLED, self.exited()).await;
                killed.map_err(|_| Error::timeout("the command survived SIGKILL: it hangs within the system"))??;
            }
        }
        self.reap()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = &self.group {
            group.signal(signal);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let Some(group) = self.group.take() else { return };
        group.signal(Signal::TERM);
        // Without a runtime the group is dropped here, which kills it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(end(group, self.grace));
        }
    }
}

/// Sees to the end of a group that got SIGTERM. Dropped, it kills what is left.
async fn end(group: Group, grace: Duration) {
    if let Ok(Ok(())) = tokio::time::timeout(grace, group.exited()).await {
        tokio::time::sleep(FOLLOW.min(grace)).await;
    }
    group.signal(Signal::KILL);
    // Only a process that hangs within the system survives this, and then only until the system lets go of it.
    if let Ok(Ok(())) = tokio::time::timeout(KILLED, group.exited()).await {
        let _ = group.reap();
    }
}
