// SPDX-License-Identifier: Apache-2.0
//! Requests that can be passed on where they come in: the server they go to is known and connected, and whoever writes to
//! the client reads the answer itself.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use biplane::stream::{Source, pipe};
use biplane::{
    Answerer, Connection, ControlMessage, Error, Event, Inbound, PeerError, Request, ResponseStream, Result,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::is_modern;
use super::relay::admit;
use super::session::Opening;
use crate::core::{Core, Counted};
use crate::view::Era;

/// Answers what the face of one connection would answer in a task of its own.
pub(super) struct InPlace {
    pub(super) core: Arc<Core>,
    pub(super) session: watch::Receiver<Opening>,
}

impl InPlace {
    /// Where a request goes, if it need not wait for that.
    fn target(&self, request: &Request, era: Era) -> Option<Arc<dyn Connection>> {
        if era == Era::Modern {
            return Some(self.core.modern_now().ok()?.connection);
        }
        match (request.subject.as_str(), &*self.session.borrow()) {
            // Both are answered by the face.
            ("initialize" | "ping", _) => None,
            (_, Opening::Open(session)) => Some(session.view.connection.clone()),
            _ => None,
        }
    }
}

impl Answerer for InPlace {
    fn answer(&self, request: Request) -> std::result::Result<ResponseStream, Box<Request>> {
        let era = if is_modern(&request) { Era::Modern } else { Era::Legacy };
        let Some(to) = self.target(&request, era) else { return Err(Box::new(request)) };
        self.core.count_request(era);
        Ok(relayed(&*to, request, &self.core))
    }
}

/// Passes `request` on, counted until its answer has been read or given up.
fn relayed(to: &dyn Connection, mut request: Request, core: &Arc<Core>) -> ResponseStream {
    let counted = match admit(&mut request, core) {
        Ok(counted) => counted,
        Err(error) => return failed(PeerError::from(&error)),
    };
    match to.open(request) {
        Ok(stream) => {
            let state = Mutex::new(Some((stream, counted)));
            ResponseStream::new(Arc::new(Relayed { core: core.clone(), state }), 0)
        }
        Err(error) => {
            core.count_error();
            failed(PeerError::from(&error).started())
        }
    }
}

/// An answer that is an error.
fn failed(error: PeerError) -> ResponseStream {
    let (reply, stream) = pipe(0, 0);
    reply.refuse(error);
    stream
}

struct Relayed {
    core: Arc<Core>,
    /// Absent once the answer is there, or given up.
    state: Mutex<Option<(ResponseStream, Counted)>>,
}

impl Relayed {
    fn state(&self) -> MutexGuard<'_, Option<(ResponseStream, Counted)>> {
        self.state.lock()
    }
}

impl Source for Relayed {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.state();
        let Some((stream, _)) = &mut *state else { return Poll::Ready(None) };
        let event = ready!(stream.poll_event(cx));
        if let Some(Ok(Event::Inbound(_))) = &event {
            return Poll::Ready(event);
        }
        // One item is the whole answer.
        let over = state.take();
        drop(state);
        drop(over);
        let error = match event {
            Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
            Some(Err(error)) => error,
            None => Error::protocol("the server's answer has no result"),
        };
        self.core.count_error();
        Poll::Ready(Some(Err(Error::from(PeerError::from(error).started()))))
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if let Some((stream, _)) = &*self.state() {
            stream.control(message);
        }
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        if let Some((stream, _)) = &*self.state() {
            stream.forward(inbound);
        }
    }

    fn release(&self, _key: u64) {
        let given_up = self.state().take();
        drop(given_up);
    }
}
