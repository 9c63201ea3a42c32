// SPDX-License-Identifier: Apache-2.0
//! All process groups of a worker, so that none outlives it.

use std::collections::HashSet;
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::Notify;

use super::group::{Group, Pipes};
use super::leash::GRACE;

/// The groups that live. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// A group is taken out before its leader is reaped, under the lock: a signal never meets a number that was given away.
    live: Mutex<HashSet<Pid>>,
    changed: Notify,
}

impl Groups {
    /// Starts `command` as the leader of a group of its own. Blocks for as long as a fork takes.
    pub(super) fn spawn(&self, command: Command) -> io::Result<(Group, Pipes)> {
        Group::spawn(command, self.clone())
    }

    pub(super) fn enter(&self, group: Pid) {
        self.live().insert(group);
    }

    /// Takes `group` out, and does `last` before anybody can miss it.
    pub(super) fn leave<T>(&self, group: Pid, last: impl FnOnce() -> T) -> T {
        let mut live = self.live();
        live.remove(&group);
        let done = last();
        drop(live);
        self.0.changed.notify_waiters();
        done
    }

    /// Signals `group`, if it is still there.
    pub(super) fn signal(&self, group: Pid, signal: Signal) {
        let live = self.live();
        if live.contains(&group) {
            // The one failure there can be is that nobody is left to be signalled.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends every group: SIGTERM, SIGKILL to what is left after a short grace. Returns once they are reaped, or after a
    /// little more than the grace.
    pub(crate) async fn end_all(&self) {
        self.signal_all(Signal::TERM);
        if !self.ended(GRACE).await {
            self.signal_all(Signal::KILL);
            self.ended(GRACE).await;
        }
    }

    async fn ended(&self, within: Duration) -> bool {
        let until = tokio::time::Instant::now() + within;
        loop {
            let changed = self.0.changed.notified();
            if self.live().is_empty() {
                return true;
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return false;
            }
        }
    }

    fn signal_all(&self, signal: Signal) {
        for group in self.live().iter() {
            let _ = kill_process_group(*group, signal);
        }
    }

    fn live(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
