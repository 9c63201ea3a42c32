// SPDX-License-Identifier: Apache-2.0
//! Events of any origin as an answer.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use parking_lot::Mutex;

use super::{Event, Source};
use crate::error::{Error, Result};
use crate::message::ControlMessage;

type EventStream = Pin<Box<dyn Stream<Item = Result<Event>> + Send>>;

pub(super) struct Events(Mutex<Reading>);

enum Reading {
    /// The waker is of who waits for the next event.
    Open(EventStream, Option<Waker>),
    Killed,
    Over,
}

impl Events {
    pub(super) fn new(stream: impl Stream<Item = Result<Event>> + Send + 'static) -> Self {
        Self(Mutex::new(Reading::Open(Box::pin(stream), None)))
    }

    fn replace(&self, state: Reading) {
        let before = std::mem::replace(&mut *self.0.lock(), state);
        // Outside the lock: both are other people's code.
        if let Reading::Open(stream, reader) = before {
            drop(stream);
            reader.into_iter().for_each(Waker::wake);
        }
    }
}

impl Source for Events {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.0.lock();
        match &mut *state {
            Reading::Open(stream, reader) => {
                let polled = stream.as_mut().poll_next(cx);
                if polled.is_pending() {
                    *reader = Some(cx.waker().clone());
                }
                polled
            }
            Reading::Killed => {
                *state = Reading::Over;
                Poll::Ready(Some(Err(Error::cancelled("the caller killed the request"))))
            }
            Reading::Over => Poll::Ready(None),
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if message == ControlMessage::Kill {
            self.replace(Reading::Killed);
        }
    }

    fn release(&self, _key: u64) {
        self.replace(Reading::Over);
    }
}
