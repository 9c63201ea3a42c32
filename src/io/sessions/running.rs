// SPDX-License-Identifier: Apache-2.0
//! A stream of messages to a client: what one answer reads.

use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};

use super::replay::Replay;
use super::settings::SessionSettings;
use crate::proto::jsonrpc::{Id, ids};
use crate::stream::ResponseStream;

/// A stream and its one reader.
pub(super) struct Stream {
    /// Within the session; 0 without one.
    pub(super) number: u32,
    pub(super) carries: Carries,
    /// Bytes of one item.
    pub(super) max_item: usize,
    state: Mutex<StreamState>,
}

/// What a stream is for.
pub(super) enum Carries {
    /// What belongs to the request that the client gave this id, and at last its response.
    Response { id: Id, to: To },
    /// What belongs to no request.
    Unasked,
}

/// The requests that are more than a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Initialize,
    Listen,
    Anything,
}

impl To {
    pub(super) fn of(method: &str) -> Self {
        match method {
            ids::INITIALIZE => Self::Initialize,
            ids::LISTEN => Self::Listen,
            _ => Self::Anything,
        }
    }
}

pub(super) struct StreamState {
    /// Where a response's stream comes from; `None` once the response, or nothing more, was said.
    pub(super) events: Option<ResponseStream>,
    pub(super) replay: Replay,
    /// Which reader counts: one that comes back takes the place of one that is gone without our knowing.
    pub(super) reader: u32,
    pub(super) waker: Option<Waker>,
    /// Nobody but the reader polls the events.
    pub(super) in_place: bool,
    /// The reader told the client a place before the first message: the client may come back, whatever follows.
    pub(super) primed: bool,
}

impl Stream {
    /// A stream whose messages come from `events`, which are polled by nobody else if they are answered `in_place`.
    pub(super) fn answering(
        number: u32,
        id: Id,
        to: To,
        events: ResponseStream,
        in_place: bool,
        settings: &SessionSettings,
    ) -> Self {
        let mut stream = Self::new(number, Carries::Response { id, to }, settings.max_message_size, Some(events));
        stream.state.get_mut().in_place = in_place;
        stream
    }

    pub(super) fn unasked(number: u32) -> Self {
        Self::new(number, Carries::Unasked, 0, None)
    }

    fn new(number: u32, carries: Carries, max_item: usize, events: Option<ResponseStream>) -> Self {
        let state =
            StreamState { events, replay: Replay::default(), reader: 0, waker: None, in_place: false, primed: false };
        Self { number, carries, max_item, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock()
    }

    /// The request with this id is over without a response.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        let (events, waker) = (state.events.take(), state.waker.take());
        // What a dropped stream sets off runs without the lock.
        drop(state);
        drop(events);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Makes whoever reads it look again.
    pub(super) fn wake(&self) {
        let waker = self.state().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Gives the stream a reader who takes the place of the one before.
    pub(super) fn take_over(&self) -> u32 {
        let mut state = self.state();
        state.reader = state.reader.wrapping_add(1);
        let (reader, waker) = (state.reader, state.waker.take());
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        reader
    }

    /// The id that the client gave its request.
    pub(super) fn request(&self) -> Option<&Id> {
        match &self.carries {
            Carries::Response { id, .. } => Some(id),
            Carries::Unasked => None,
        }
    }
}
