// SPDX-License-Identifier: Apache-2.0
//! All process groups of one owner, so that none outlives it.

use std::collections::HashSet;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::Notify;

use super::group::{Group, Pipes};
use super::leash::Leash;

/// The groups that live. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Groups(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A group is taken out before its leader is reaped, under the lock: a signal never meets a number that was given away.
    live: Mutex<HashSet<Pid>>,
    changed: Notify,
}

impl Groups {
    /// Starts `command` as the leader of a group of its own. `grace` is the time from SIGTERM to SIGKILL when the leash is
    /// let go.
    ///
    /// Blocks for as long as a fork takes; on a busy thread of a runtime, wrap it in `spawn_blocking`.
    pub fn spawn(&self, mut command: Command, grace: Duration) -> io::Result<(Leash, Pipes)> {
        let (group, pipes) = Group::spawn(&mut command, self.clone())?;
        Ok((Leash::new(group, grace), pipes))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live().is_empty()
    }

    /// The process ids of the leaders, in order.
    pub fn leaders(&self) -> Vec<u32> {
        let mut leaders: Vec<u32> =
            self.live().iter().map(|group| group.as_raw_nonzero().get().unsigned_abs()).collect();
        leaders.sort_unstable();
        leaders
    }

    /// Ends every group: SIGTERM, SIGKILL to what is left after `grace`. Returns once they are reaped, or after little more
    /// than twice the grace.
    pub async fn end_all(&self, grace: Duration) {
        self.signal_all(Signal::TERM);
        if !self.ended(grace).await {
            self.signal_all(Signal::KILL);
            self.ended(grace).await;
        }
    }

    /// Waits until there are none, for at most `within`. Says whether there are none.
    pub async fn ended(&self, within: Duration) -> bool {
        let until = tokio::time::Instant::now() + within;
        loop {
            let changed = self.0.changed.notified();
            if self.is_empty() {
                return true;
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return self.is_empty();
            }
        }
    }

    /// Kills every group at once. Their leashes reap them.
    pub fn kill_all(&self) {
        self.signal_all(Signal::KILL);
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

    fn signal_all(&self, signal: Signal) {
        for group in self.live().iter() {
            let _ = kill_process_group(*group, signal);
        }
    }

    fn live(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.0.live.lock()
    }
}
