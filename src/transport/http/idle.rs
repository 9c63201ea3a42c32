// SPDX-License-Identifier: Apache-2.0
//! How long an HTTP/1.1 link may be silent, and how long a request's head may take.
//!
//! hyper's own `header_read_timeout` also runs while a link is idle between requests, which would end every pooled link
//! after the few seconds that a head may take.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::listen::Events;
use super::long_stream::Handover;

/// From the first byte of a head to its last.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Between requests. Longer than our own pool keeps a link, so that in the common case the caller closes.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A link that is idle for this long gives its buffers back until the next request; one whose response lasts longer, for
/// the rest of it.
pub(super) const PARK_AFTER: Duration = Duration::from_millis(250);

/// What a link is doing. Shared by its reads, its requests and its driver, which are all in one task.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    doing: Doing,
    /// The system took only a part of what was last written to it.
    stalled: bool,
    /// A response that may be taken over, since then.
    lasting: Option<(Instant, Handover)>,
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
        Self(Arc::new(Mutex::new(State { doing, stalled: false, lasting: None })))
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
            Doing::Serving if state.stalled => None,
            Doing::Serving => state.lasting.as_ref().map(|(since, _)| *since + PARK_AFTER),
        }
    }

    /// Takes over a response that has lasted for so long, if what was said of it is written.
    pub(super) fn take_over(&self) -> Option<Box<Events>> {
        let mut state = self.state();
        let at_work = matches!(state.doing, Doing::Serving) && !state.stalled;
        let lasting = if at_work { state.lasting.take() } else { None };
        drop(state);
        lasting.and_then(|(_, events)| events.take())
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
        self.0.lock()
    }
}

/// A request is being served.
pub(super) struct Busy(Activity);

impl Busy {
    /// The response may be taken over if it lasts.
    pub(super) fn lasts(&self, events: Handover) {
        self.0.state().lasting = Some((Instant::now(), events));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.doing = Doing::Idle { since: Instant::now() };
        let lasting = state.lasting.take();
        drop(state);
        drop(lasting);
    }
}
