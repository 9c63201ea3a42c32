// SPDX-License-Identifier: Apache-2.0
//! What the suite's handlers saw.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::case::{Check, Failure};
use crate::message::{ControlMessage, Message};

/// How long a case waits for something to be seen. Longer than the call-home timeout, for which a handler may run whose
/// answer nobody came for; shorter than the deadline of the suite's requests, by which even one that was forgotten ends.
const PATIENCE: Duration = Duration::from_secs(12);

#[derive(Default)]
pub(super) struct Probe {
    log: Mutex<Log>,
    changed: Notify,
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Handlers that began.
    pub(super) started: usize,
    /// Handlers that returned.
    pub(super) finished: usize,
    /// Handlers that were dropped before they returned.
    pub(super) dropped: usize,
    /// What [`ResponseSender::stopped`](crate::ResponseSender::stopped) said.
    pub(super) stopped: Vec<ControlMessage>,
    /// Items that a handler could send.
    pub(super) sent: usize,
    /// What sending an item over the limit gave.
    pub(super) oversize: Vec<String>,
    /// One-way messages that arrived, by any way.
    pub(super) one_way: Vec<Message>,
}

impl Probe {
    pub(super) fn record(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log.lock());
        self.changed.notify_waiters();
    }

    pub(super) fn log(&self) -> Log {
        self.log.lock().clone()
    }

    /// Waits until the log is as wanted; `what` names it in the failure.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&Log) -> bool) -> Check {
        let seen = async {
            loop {
                let changed = self.changed.notified();
                if wanted(&self.log()) {
                    break;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, seen)
            .await
            .map_err(|_| Failure::new(format!("never seen: {what}; the handlers' log says {:?}", self.log())))
    }
}

/// Records how a handler ended: returned, or dropped.
pub(super) struct Presence<'a> {
    probe: &'a Probe,
    finished: bool,
}

impl<'a> Presence<'a> {
    pub(super) fn enter(probe: &'a Probe) -> Self {
        probe.record(|log| log.started += 1);
        Self { probe, finished: false }
    }

    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let finished = self.finished;
        self.probe.record(|log| if finished { log.finished += 1 } else { log.dropped += 1 });
    }
}
