// SPDX-License-Identifier: Apache-2.0
//! A stream that is not there yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};

use super::{Arrivals, Event, ResponseStream, Source, Taken};
use crate::connection::Inbound;
use crate::error::Result;
use crate::message::ControlMessage;

type Opening = Pin<Box<dyn Future<Output = Result<ResponseStream>> + Send>>;

enum Stage {
    /// The control message waits for the stream that it is meant for.
    Opening(Opening, Option<ControlMessage>),
    Open(ResponseStream),
    Over,
}

pub(super) struct Deferred(Mutex<Stage>);

impl Deferred {
    pub(super) fn new(opening: impl Future<Output = Result<ResponseStream>> + Send + 'static) -> Self {
        Self(Mutex::new(Stage::Opening(Box::pin(opening), None)))
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock()
    }
}

impl Stage {
    /// Goes on until `read` has something from the stream.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut ResponseStream, &mut Context<'_>) -> Poll<Option<Result<T>>>,
    ) -> Poll<Option<Result<T>>> {
        loop {
            match self {
                Self::Opening(opening, control) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(stream) => {
                        if let Some(message) = control.take() {
                            stream.control(message);
                        }
                        *self = Self::Open(stream);
                    }
                    Err(error) => {
                        *self = Self::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Self::Open(stream) => return read(stream, cx),
                Self::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Source for Deferred {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.stage().poll(cx, ResponseStream::poll_event)
    }

    fn poll_item(&self, _key: u64, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        let taken = ready!(self.stage().poll(cx, |stream, cx| stream.poll_taken(queue, cx)));
        // The stream may be over; the handle on this is its reader's, who gives it back.
        Poll::Ready(taken.map(|taken| taken.map(|taken| Taken { is_last: false, ..taken })))
    }

    fn give_back(&self, _key: u64, credit: u32) {
        if let Stage::Open(stream) = &*self.stage() {
            stream.give_back(credit);
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        match &mut *self.stage() {
            Stage::Opening(_, waiting) => *waiting = (*waiting).max(Some(message)),
            Stage::Open(stream) => stream.control(message),
            Stage::Over => {}
        }
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        if let Stage::Open(stream) = &*self.stage() {
            stream.forward(inbound);
        }
    }

    fn release(&self, _key: u64) {
        let stage = std::mem::replace(&mut *self.stage(), Stage::Over);
        drop(stage);
    }
}
