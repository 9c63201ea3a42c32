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
    /// One for itself, and one for a sender that left it to this. None once it has settled.
    holders: u8,
}

impl Supervisor {
    /// The stream has been retained for it.
    pub(super) fn new(sink: Arc<dyn Sink>, key: u64) -> Self {
        Self { sink, key, holders: 1 }
    }

    /// Runs the handler's first poll. A sender that it drops on this thread does not let go of the stream by itself: that
    /// is done here, with what else is to be said, so that an answer given in place takes the link's lock once for both.
    pub(crate) fn in_place<T>(&mut self, run: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let outer = PLACE.replace((address(&self.sink), self.key));
        let polled = run();
        // Whoever left put nobody in its place.
        if PLACE.replace(outer).0 == NOBODY {
            match polled {
                Poll::Ready(_) => self.holders += 1,
                Poll::Pending => self.sink.release(self.key, Unended::Abandon),
            }
        }
        polled
    }

    /// Whether the caller is gone, so that the handler is to be dropped.
    pub(crate) fn poll_killed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_killed(self.key, cx)
    }

    /// The handler returned. A sender that it left alive elsewhere decides for itself.
    pub(crate) fn settle(mut self, outcome: Result<(), PeerError>) {
        let holders = std::mem::take(&mut self.holders);
        self.sink.settle(self.key, outcome, holders);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.holders > 0 {
            let error = Error::cancelled("the handler was dropped before it finished");
            self.sink.settle(self.key, Err(PeerError::from(error)), self.holders);
        }
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
