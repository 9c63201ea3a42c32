// SPDX-License-Identifier: Apache-2.0
//! A stream that somebody else looks at while it is read.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};

use crate::connection::Inbound;
use crate::error::{Error, Result};
use crate::message::ControlMessage;
use crate::stream::{Event, ResponseStream, Source};

/// Looks at a stream. Dropped when the stream is over or its reader is gone, whichever comes first.
pub trait Observer: Send + 'static {
    /// An event is about to be handed to the reader. An error takes its place, and cancels what would have followed.
    fn on_event(&mut self, event: &Event) -> Result<()> {
        let _ = event;
        Ok(())
    }

    /// The stream is over: cleanly, or with the error that the reader is about to get. Not called when the reader goes first.
    fn on_end(&mut self, outcome: Result<(), &Error>) {
        let _ = outcome;
    }

    /// In which span the stream is polled.
    fn span(&self) -> Option<&tracing::Span> {
        None
    }
}

/// `stream`, looked at by `observer`. Costs one allocation, and a lock that is contended only by
/// [`control`](ResponseStream::control); so not for nothing.
pub fn observe(stream: ResponseStream, observer: impl Observer) -> ResponseStream {
    ResponseStream::new(Arc::new(Observed(Mutex::new(Some((stream, observer))))), 0)
}

/// Nothing inside once it is over.
struct Observed<O>(Mutex<Option<(ResponseStream, O)>>);

impl<O> Observed<O> {
    fn inner(&self) -> MutexGuard<'_, Option<(ResponseStream, O)>> {
        self.0.lock()
    }
}

impl<O: Observer> Source for Observed<O> {
    fn poll_next(&self, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut inner = self.inner();
        let Some((stream, observer)) = &mut *inner else { return Poll::Ready(None) };
        let polled = {
            let _entered = observer.span().map(tracing::Span::enter);
            ready!(stream.poll_event(cx))
        };
        let seen = match polled {
            Some(Ok(event)) => observer.on_event(&event).map(|()| Some(event)),
            Some(Err(error)) => Err(error),
            None => Ok(None),
        };
        match &seen {
            Ok(Some(_)) => return Poll::Ready(seen.transpose()),
            Ok(None) => observer.on_end(Ok(())),
            Err(error) => observer.on_end(Err(error)),
        }
        drop(inner);
        self.release(key);
        Poll::Ready(seen.transpose())
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if let Some((stream, _)) = &*self.inner() {
            stream.control(message);
        }
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        if let Some((stream, _)) = &*self.inner() {
            stream.forward(inbound);
        }
    }

    fn release(&self, _key: u64) {
        // Dropped outside of the lock: cancelling may run other people's code.
        let gone = self.inner().take();
        drop(gone);
    }
}
