// SPDX-License-Identifier: Apache-2.0
//! An answer on a link with faults: `delay` and `cut_after`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::time::Sleep;

use super::options::MemOptions;
use crate::connection::Inbound;
use crate::error::{Error, Result};
use crate::message::ControlMessage;
use crate::stream::roster::Roster;
use crate::stream::{Event, ResponseStream, Source};

/// The faults of one link, and how much has crossed it.
pub(super) struct Faults {
    options: MemOptions,
    crossed: AtomicU64,
}

impl Faults {
    pub(super) fn new(options: MemOptions) -> Arc<Self> {
        Arc::new(Self { options, crossed: AtomicU64::new(0) })
    }

    fn is_cut(&self) -> bool {
        self.options.cut_after.is_some_and(|limit| self.crossed.load(Ordering::Acquire) >= limit)
    }

    /// The faults as `stream` meets them. When the link dies, everything on `link` dies with it.
    pub(super) fn apply(
        self: &Arc<Self>,
        stream: ResponseStream,
        deadline: Option<Instant>,
        link: &Arc<Roster>,
    ) -> ResponseStream {
        if self.options.delay.is_none() && self.options.cut_after.is_none() {
            return stream;
        }
        let state = Mutex::new(State { stream: Some(stream), held: None });
        ResponseStream::new(Arc::new(Faulty { faults: self.clone(), link: link.clone(), deadline, state }), 0)
    }
}

struct Faulty {
    faults: Arc<Faults>,
    link: Arc<Roster>,
    deadline: Option<Instant>,
    state: Mutex<State>,
}

struct State {
    stream: Option<ResponseStream>,
    held: Option<(Event, Pin<Box<Sleep>>)>,
}

impl Source for Faulty {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        if self.faults.is_cut() {
            self.release(0);
            self.link.cut();
            return Poll::Ready(Some(Err(Error::peer_closed(0, false))));
        }
        let mut state = self.state.lock();
        if state.held.is_none() {
            let Some(stream) = &mut state.stream else { return Poll::Ready(None) };
            let event = match ready!(stream.poll_event(cx)) {
                Some(Ok(event)) => event,
                ended => return Poll::Ready(ended),
            };
            let Some(delay) = self.faults.options.delay else {
                drop(state);
                return self.cross(event);
            };
            let due = tokio::time::Instant::now() + delay;
            let due = self.deadline.map_or(due, |deadline| due.min(deadline.into()));
            state.held = Some((event, Box::pin(tokio::time::sleep_until(due))));
        }
        if let Some((_, timer)) = &mut state.held {
            ready!(timer.as_mut().poll(cx));
        }
        let Some((event, _)) = state.held.take() else { return Poll::Pending };
        let late = self.deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline.into());
        drop(state);
        if late {
            return Poll::Ready(Some(Err(Error::deadline(0))));
        }
        self.cross(event)
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if let Some(stream) = &self.state.lock().stream {
            stream.control(message);
        }
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        if let Some(stream) = &self.state.lock().stream {
            stream.forward(inbound);
        }
    }

    fn release(&self, _key: u64) {
        let stream = self.state.lock().stream.take();
        drop(stream);
    }
}

impl Faulty {
    /// Lets `event` over the link; the last one that may cross takes the link down behind it.
    fn cross(&self, event: Event) -> Poll<Option<Result<Event>>> {
        self.faults.crossed.fetch_add(1, Ordering::AcqRel);
        if self.faults.is_cut() {
            // Our own state is not locked here: cutting wakes and drops what is on the link, this stream included.
            self.link.cut();
        }
        Poll::Ready(Some(Ok(event)))
    }
}
