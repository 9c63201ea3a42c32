// SPDX-License-Identifier: Apache-2.0
//! The hold of a request on its process group. Letting go ends the group.

use std::process::ExitStatus;
use std::time::Duration;

use biplane::{Error, Result};
use rustix::process::Signal;

use super::group::Group;

/// From SIGTERM to SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// For the rest of a group to follow its leader, which a SIGTERM often ends first.
const FOLLOW: Duration = Duration::from_millis(250);

/// Owned by the handler's future, which is dropped when the caller goes away or the deadline passes: then the group gets
/// SIGTERM at once, and a task of its own sees to its end.
pub(super) struct Leash(Option<Group>);

impl Leash {
    pub(super) fn new(group: Group) -> Self {
        Self(Some(group))
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the group.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits for the leader's end. Cancel-safe.
    pub(super) async fn exited(&self) -> Result<()> {
        match &self.0 {
            Some(group) => group.exited().await,
            None => Ok(()),
        }
    }

    /// The status of a leader that has ended.
    pub(super) fn reap(mut self) -> Result<ExitStatus> {
        match self.0.take() {
            Some(group) => group.reap(),
            None => Err(Error::unexpected("the command was reaped twice")),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = &self.0 {
            group.signal(signal);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let Some(group) = self.0.take() else { return };
        group.signal(Signal::TERM);
        // Without a runtime the group is dropped here, which kills it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(end(group));
        }
    }
}

/// Sees to the end of a group that got SIGTERM. Dropped, it kills what is left.
async fn end(group: Group) {
    if let Ok(Ok(())) = tokio::time::timeout(GRACE, group.exited()).await {
        tokio::time::sleep(FOLLOW).await;
    }
    group.signal(Signal::KILL);
    // Only a process that hangs within the system survives this, and then only until the system lets go of it.
    if let Ok(Ok(())) = tokio::time::timeout(GRACE, group.exited()).await {
        let _ = group.reap();
    }
}
