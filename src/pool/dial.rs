// SPDX-License-Identifier: Apache-2.0
//! One dial. It runs in a task of its own and not in the checkout that asked for it, because others may wait for the same
//! link, and because a caller in a hurry would otherwise never see a link that takes longer than its patience.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::slot::Slot;
use super::{LOG, Link};
use crate::error::{Error, ErrorKind, Phase, Result, Retry};

/// Starts a dial, on the runtime of the last checkout. Without one, or when it has shut down, the dial fails at once.
pub(super) fn start<L: Link>(slot: &Arc<Slot<L>>, runtime: Option<&Handle>) {
    let attempt = Attempt { slot: Arc::clone(slot), settled: false };
    if let Some(runtime) = runtime {
        runtime.spawn(async move { attempt.run().await });
    }
}

/// A dial that the core counts. Reports exactly once, even if its task is dropped, or never polled, or panics.
struct Attempt<L: Link> {
    slot: Arc<Slot<L>>,
    settled: bool,
}

impl<L: Link> Attempt<L> {
    async fn run(mut self) {
        let outcome = self.connect().await;
        self.settled = true;
        match outcome {
            Ok(link) => self.slot.connected(link),
            Err(error) => self.slot.failed(&error),
        }
    }

    async fn connect(&self) -> Result<L> {
        let (key, common) = (self.slot.key(), self.slot.common());
        tracing::debug!(target: LOG, key = %self.slot.name(), "dial");
        let mut closing = common.closing.subscribe();
        let connecting = tokio::time::timeout(common.connect_timeout, (common.connect)(key.clone()));
        let outcome = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(Error::closed("the pool of links is closed")),
            outcome = connecting => outcome.unwrap_or_else(|_| {
                Err(Error::connect(format!("no link after {:?}", common.connect_timeout))
                    .with_hint("see that the peer is up, or raise BIPLANE_CONNECT_TIMEOUT"))
            }),
        };
        outcome.and_then(usable).map_err(|error| self.about(error))
    }

    fn about(&self, error: Error) -> Error {
        let key = self.slot.key();
        let error = error.with_phase(Phase::Connect).with_transport(&key.transport).with_target(&key.authority);
        match error.kind() {
            // A dial executes nothing. Other kinds (a bad certificate path, say) would fail again in the same way.
            ErrorKind::Connect | ErrorKind::Closed | ErrorKind::Timeout => error.with_retry(Retry::Safe),
            _ => error,
        }
    }
}

/// A peer that accepts and hangs up at once is a failed dial; taken for a dead link it would be dialled again and again.
fn usable<L: Link>(link: L) -> Result<L> {
    if link.is_usable() {
        return Ok(link);
    }
    link.close();
    let unknown = || Error::connect("the peer closed the link as soon as it was established");
    Err(link.refusal().unwrap_or_else(unknown))
}

impl<L: Link> Drop for Attempt<L> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let error = if std::thread::panicking() {
            Error::unexpected("the dial panicked").with_hint("report it to the authors of the transport")
        } else {
            Error::closed("the runtime shut down during the dial")
        };
        self.slot.failed(&self.about(error));
    }
}
