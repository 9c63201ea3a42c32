// SPDX-License-Identifier: Apache-2.0
//! A stream that tells when it is over, and into which something can be put that came beside it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use biplane::stream::Source;
use biplane::{ControlMessage, Event, Inbound, ResponseStream, Result};
use parking_lot::{Mutex, MutexGuard};

/// What may wait to be read beside the stream.
const MAX_BESIDE: usize = 1024;

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was read to its result, or to its error.
    Read,
    /// Its reader gave it up.
    Dropped,
}

type OnEnd = Box<dyn FnOnce(Ending) + Send>;
/// Whether a message that came on the stream is its reader's.
pub(super) type Keeps = Box<dyn Fn(&Inbound) -> bool + Send>;

/// The inside of an observed stream.
pub(super) struct Observed(Mutex<State>);

struct State {
    stream: ResponseStream,
    beside: VecDeque<Inbound>,
    reader: Option<Waker>,
    on_end: Option<OnEnd>,
    keeps: Option<Keeps>,
    has_result: bool,
}

/// `stream`, with `on_end` called once when it is over. The other handle puts things into it.
pub(super) fn observe(
    stream: ResponseStream,
    keeps: Option<Keeps>,
    on_end: impl FnOnce(Ending) + Send + 'static,
) -> (ResponseStream, Arc<Observed>) {
    let state = State {
        stream,
        beside: VecDeque::new(),
        reader: None,
        on_end: Some(Box::new(on_end)),
        keeps,
        has_result: false,
    };
    let observed = Arc::new(Observed(Mutex::new(state)));
    (ResponseStream::new(observed.clone(), 0), observed)
}

impl Observed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Puts a message into the stream, before whatever has not been read of it. False if there is no room.
    pub(super) fn put(&self, inbound: Inbound) -> bool {
        let mut state = self.state();
        if state.on_end.is_none() || state.beside.len() >= MAX_BESIDE {
            return false;
        }
        state.beside.push_back(inbound);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        true
    }

    fn end(&self, ending: Ending) {
        let on_end = self.state().on_end.take();
        if let Some(on_end) = on_end {
            on_end(ending);
        }
    }
}

impl Source for Observed {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.state();
        if let Some(inbound) = state.beside.pop_front() {
            return Poll::Ready(Some(Ok(Event::Inbound(inbound))));
        }
        let event = loop {
            match state.stream.poll_event(cx) {
                Poll::Ready(Some(Ok(Event::Inbound(inbound))))
                    if state.keeps.as_ref().is_some_and(|keeps| !keeps(&inbound)) => {}
                event => break event,
            }
        };
        match event {
            Poll::Ready(Some(Ok(event))) => {
                state.has_result |= matches!(event, Event::Item(_));
                Poll::Ready(Some(Ok(event)))
            }
            Poll::Ready(end) => {
                drop(state);
                self.end(Ending::Read);
                Poll::Ready(end)
            }
            Poll::Pending => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        self.state().stream.control(message);
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        self.state().stream.forward(inbound);
    }

    fn release(&self, _key: u64) {
        // Whoever has the result need not wait for the end behind it.
        let ending = if self.state().has_result { Ending::Read } else { Ending::Dropped };
        self.end(ending);
        // Whoever can put things into it may hold it longer; the request is given up now.
        let mut state = self.state();
        let stream = std::mem::replace(&mut state.stream, ResponseStream::deferred(std::future::pending()));
        let beside = std::mem::take(&mut state.beside);
        drop(state);
        drop((stream, beside));
    }
}
