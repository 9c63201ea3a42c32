// SPDX-License-Identifier: Apache-2.0
//! How long an HTTP/1.1 link may be silent, and how long a request's head may take.
//!
//! hyper's own `header_read_timeout` also runs while a link is idle between requests, which would end every pooled link
//! after the few seconds that a head may take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// From the first byte of a head to its last.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Between requests. Longer than our own pool keeps a link, so that in the common case the caller closes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What a link is doing. Shared by its reads, its requests and its driver, which are all in one task.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<Doing>>);

#[derive(Clone, Copy)]
enum Doing {
    Idle { since: Instant },
    ReadingHead { since: Instant },
    Serving,
}

impl Activity {
    /// An idle link.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Doing::Idle { since: Instant::now() })))
    }

    /// A request is served until the guard is dropped.
    pub(super) fn serve(&self) -> Busy {
        *self.doing() = Doing::Serving;
        Busy(self.clone())
    }

    /// When the link has been at it for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match *self.doing() {
            Doing::Idle { since } => Some(since + IDLE_TIMEOUT),
            Doing::ReadingHead { since } => Some(since + HEAD_TIMEOUT),
            Doing::Serving => None,
        }
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        let mut doing = self.doing();
        if let Doing::Idle { .. } = *doing {
            *doing = Doing::ReadingHead { since: Instant::now() };
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request is being served.
pub(super) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.doing() = Doing::Idle { since: Instant::now() };
    }
}
