// SPDX-License-Identifier: Apache-2.0
//! What stands behind a stream that is more than one stream of one link.

use std::task::{Context, Poll};
use std::time::Instant;

use super::ResponseStream;
use crate::error::{Error, Result};

/// Who has an answer read on a caller's behalf, as a call by name does. The reader reads the link's own stream, and asks at
/// its turning points only: what comes in between costs no layer. Dropped with the reader, and once the stream has failed.
pub(crate) trait Overseer: Send + Sync {
    /// The first item came, or something that was read as an event.
    fn came(&mut self);

    /// Nothing is there after `seen` items, or there is no stream yet. Ready with one to read from now on, or with what the
    /// answer ends with.
    fn poll_pending(&mut self, seen: u64, cx: &mut Context<'_>) -> Poll<Result<ResponseStream>>;

    /// The stream failed. `None` if there may be another one, for which [`poll_pending`](Self::poll_pending) is asked.
    fn failed(&mut self, error: Error) -> Option<Error>;

    /// The answer ended cleanly: all of it had come at `at`, if that is known.
    fn ended(self: Box<Self>, at: Option<Instant>);
}
