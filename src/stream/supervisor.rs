// SPDX-License-Identifier: Apache-2.0
//! The second holder of an answer's stream, beside its sender, while a handler runs.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Parcel, Sink, Unended, place};
use crate::error::{Error, PeerError, Result};

/// What a handler sent in its last poll and the link does not have yet.
pub(crate) type Collected = Option<Parcel>;

/// Sees to it that a stream ends as its handler did. See [`Sink::retain`].
pub(crate) struct Supervisor {
    sink: Arc<dyn Sink>,
    key: u64,
    /// One for itself, and one for a sender that left it to this. None once it has settled.
    holders: u8,
    /// The link took an item in the last poll.
    has_sent: bool,
    /// Whom the end of the caller wakes.
    waiter: Option<Waker>,
}

impl Supervisor {
    /// The stream has been retained for it.
    pub(super) fn new(sink: Arc<dyn Sink>, key: u64) -> Self {
        Self { sink, key, holders: 1, has_sent: false, waiter: None }
    }

    /// One that has settled, for another stream, if that is one of the same sink: a link's requests come many together, and
    /// each holder of the link costs two operations on its count. The stream has been retained for it.
    #[inline]
    pub(super) fn reused(mut self, sink: &Arc<dyn Sink>, key: u64) -> Option<Self> {
        if self.holders > 0 || !Arc::ptr_eq(&self.sink, sink) {
            return None;
        }
        (self.key, self.holders, self.has_sent) = (key, 1, false);
        Some(self)
    }

    /// Runs a poll of the handler. What it sends one after the other is collected, and a sender that it drops on this thread
    /// does not let go of the stream by itself: that is done here, with what else is to be said, so that an answer takes the
    /// link's lock once for all. If the handler is done, what was collected goes to [`Self::settle_with`].
    #[inline]
    pub(crate) fn watch<T>(&mut self, run: impl FnOnce() -> Poll<T>) -> Poll<(T, Collected)> {
        let outer = place::enter(&self.sink, self.key);
        let polled = run();
        let left = place::leave(outer);
        self.has_sent = left.has_sent;
        match polled {
            Poll::Ready(output) => {
                self.holders += u8::from(left.is_without_sender);
                Poll::Ready((output, left.parcel))
            }
            Poll::Pending => {
                if let Some(mut parcel) = left.parcel {
                    self.sink.take_back(self.key, &mut parcel);
                    place::recycle(parcel);
                }
                if left.is_without_sender {
                    self.sink.release(self.key, Unended::Abandon);
                }
                Poll::Pending
            }
        }
    }

    /// Whether the caller is gone, so that the handler is to be dropped. It was not if the link took an item in the poll that
    /// has just been, and since then it wakes whoever waits for that already.
    pub(crate) fn poll_killed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_sent && self.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let polled = self.sink.poll_killed(self.key, cx);
        if polled.is_pending() {
            match &mut self.waiter {
                Some(waiter) => waiter.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        polled
    }

    /// The handler returned. A sender that it left alive elsewhere decides for itself.
    pub(crate) fn settle(mut self, outcome: Result<(), PeerError>) {
        self.settle_with(outcome, None);
    }

    /// [`Self::settle`] with what the handler's last poll had collected.
    #[inline]
    pub(crate) fn settle_with(&mut self, outcome: Result<(), PeerError>, mut collected: Collected) {
        let holders = std::mem::take(&mut self.holders);
        self.sink.settle(self.key, collected.as_mut(), outcome, holders);
        if let Some(parcel) = collected {
            place::recycle(parcel);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.holders > 0 {
            let error = Error::cancelled("the handler was dropped before it finished");
            self.sink.settle(self.key, None, Err(PeerError::from(error)), self.holders);
        }
    }
}
