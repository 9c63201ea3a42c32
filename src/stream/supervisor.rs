// SPDX-License-Identifier: Apache-2.0
//! The second holder of an answer's stream, beside its sender, while a handler runs.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Sink, Unended};
use crate::error::{Error, PeerError, Result};

/// Sees to it that a stream ends as its handler did. See [`Sink::retain`].
pub(crate) struct Supervisor {
    sink: Arc<dyn Sink>,
    key: u64,
    settled: bool,
}

impl Supervisor {
    /// The stream has been retained for it.
    pub(super) fn new(sink: Arc<dyn Sink>, key: u64) -> Self {
        Self { sink, key, settled: false }
    }

    /// Runs the handler's first poll. A sender that it drops on this thread does not let go of the stream by itself: that
    /// is done here, with what else is to be said, so that an answer given in place takes the link's lock once for both.
    pub(crate) fn in_place<T>(self, run: impl FnOnce() -> Poll<T>) -> Polled<T> {
        let outer = PLACE.replace((address(&self.sink), self.key));
        let polled = run();
        // Whoever left put nobody in its place.
        let is_left = PLACE.replace(outer).0 == NOBODY;
        match polled {
            Poll::Ready(done) => Polled::Ready(done, Settling { supervisor: self, holders: 1 + u8::from(is_left) }),
            Poll::Pending => {
                if is_left {
                    self.sink.release(self.key, Unended::Abandon);
                }
                Polled::Pending(self)
            }
        }
    }

    /// Whether the caller is gone, so that the handler is to be dropped.
    pub(crate) fn poll_killed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_killed(self.key, cx)
    }

    /// The handler returned. A sender that it left alive elsewhere decides for itself.
    pub(crate) fn settle(self, outcome: Result<(), PeerError>) {
        Settling { supervisor: self, holders: 1 }.settle(outcome);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.settled {
            let error = Error::cancelled("the handler was dropped before it finished");
            self.sink.settle(self.key, Err(PeerError::from(error)), 1);
        }
    }
}

/// What came of a first poll.
pub(crate) enum Polled<T> {
    Ready(T, Settling),
    Pending(Supervisor),
}

/// A supervisor whose handler has returned, for itself or for the sender too.
pub(crate) struct Settling {
    supervisor: Supervisor,
    holders: u8,
}

impl Settling {
    pub(crate) fn settle(mut self, outcome: Result<(), PeerError>) {
        self.supervisor.settled = true;
        self.supervisor.sink.settle(self.supervisor.key, outcome, self.holders);
    }
}

/// No sink's address.
const NOBODY: usize = 0;

thread_local! {
    /// The stream whose handler this thread polls in place, until its sender is dropped: the sink's address and the key.
    static PLACE: Cell<(usize, u64)> = const { Cell::new((NOBODY, 0)) };
}

/// The sender of stream `key` is being dropped. True if the stream's handler is polled in place: who polls it knows.
#[inline]
pub(super) fn is_left_in_place(sink: &Arc<dyn Sink>, key: u64) -> bool {
    let is_here = PLACE.get() == (address(sink), key);
    if is_here {
        PLACE.set((NOBODY, 0));
    }
    is_here
}

fn address(sink: &Arc<dyn Sink>) -> usize {
    Arc::as_ptr(sink).cast::<()>().addr()
}
