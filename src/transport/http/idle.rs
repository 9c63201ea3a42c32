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
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A link that is idle for this long gives its buffers back until the next request.
pub(super) const PARK_AFTER: Duration = Duration::from_secs(1);

/// What a link is doing. Shared by its reads, its requests and its driver, which are all in one task.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    doing: Doing,
    /// The system took only a part of what was last written to it.
    stalled: bool,
}

#[derive(Clone, Copy)]
enum Doing {
    Idle { since: Instant },
    ReadingHead { since: Instant },
    Serving,
}

impl Activity {
    /// An idle link.
    pub(super) fn new() -> Self {
        let doing = Doing::Idle { since: Instant::now() };
        Self(Arc::new(Mutex::new(State { doing, stalled: false })))
    }

    /// A request is served until the guard is dropped.
    pub(super) fn serve(&self) -> Busy {
        self.state().doing = Doing::Serving;
        Busy(self.clone())
    }

    /// When the link has been at it for too long: then it is parked, if that can be, or ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        match state.doing {
            Doing::Idle { since } if state.stalled => Some(since + IDLE_TIMEOUT),
            Doing::Idle { since } => Some(since + PARK_AFTER),
            Doing::ReadingHead { since } => Some(since + HEAD_TIMEOUT),
            Doing::Serving => None,
        }
    }

    /// Whether nothing is under way in either direction.
    pub(super) fn is_at_rest(&self) -> bool {
        let state = self.state();
        matches!(state.doing, Doing::Idle { .. }) && !state.stalled
    }

    /// The system took `taken` bytes of `offered`.
    pub(super) fn wrote(&self, taken: usize, offered: usize) {
        self.state().stalled = taken < offered;
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        let mut state = self.state();
        if let Doing::Idle { .. } = state.doing {
            state.doing = Doing::ReadingHead { since: Instant::now() };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request is being served.
pub(super) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state().doing = Doing::Idle { since: Instant::now() };
    }
}
