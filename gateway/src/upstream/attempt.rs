// SPDX-License-Identifier: Apache-2.0
//! One request on a connection that may have to be made anew first.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use biplane::stream::Source;
use biplane::{ControlMessage, Error, ErrorKind, Event, Inbound, Request, ResponseStream, Result, Retry};
use parking_lot::{Mutex, MutexGuard};

use super::live::Live;
use crate::view::View;

/// Whether the same request may be sent again on a new connection: it did not run, and what it met is a dead link or a
/// server that has lost the session.
pub(super) fn is_lost(error: &Error) -> bool {
    error.retry() == Retry::Safe && matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect)
}

/// Sends `request` on the connection that there is, and if that turns out to be dead once more on the next one.
pub(super) fn open(live: &Arc<Live>, request: Request) -> Result<ResponseStream> {
    let Some(view) = live.current() else { return Ok(live.open_later(request)) };
    let Some(again) = request.try_clone() else { return view.connection.open(request) };
    match view.connection.open(request) {
        Ok(stream) => {
            let state = Mutex::new(State { first: Some((again, view)), stream });
            Ok(ResponseStream::new(Arc::new(Attempt { live: live.clone(), state }), 0))
        }
        Err(error) if is_lost(&error) => {
            live.lost(&view);
            Ok(live.open_later(again))
        }
        Err(error) => Err(error),
    }
}

struct Attempt {
    live: Arc<Live>,
    state: Mutex<State>,
}

struct State {
    /// The request and where it was sent, as long as nothing has come for it.
    first: Option<(Request, View)>,
    stream: ResponseStream,
}

impl Attempt {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Source for Attempt {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.state();
        let event = ready!(state.stream.poll_event(cx));
        let Some((request, view)) = state.first.take() else { return Poll::Ready(event) };
        match &event {
            Some(Err(error)) if is_lost(error) => {
                self.live.lost(&view);
                state.stream = self.live.open_later(request);
                state.stream.poll_event(cx)
            }
            _ => Poll::Ready(event),
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        self.state().stream.control(message);
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        self.state().stream.forward(inbound);
    }

    fn release(&self, _key: u64) {
        // The stream goes with the last reference to this source, which is the handle that is being dropped.
    }
}
