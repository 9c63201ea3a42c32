// SPDX-License-Identifier: Apache-2.0
//! A stream as the source of another: it has more to it than its own source. Its first event was put back, say.

use std::task::{Context, Poll};

use parking_lot::Mutex;

use super::{Event, ResponseStream, Source};
use crate::connection::Inbound;
use crate::error::Result;
use crate::message::ControlMessage;

pub(super) struct Unread(Mutex<(Option<Event>, ResponseStream)>);

impl Unread {
    pub(super) fn new(event: Option<Event>, stream: ResponseStream) -> Self {
        Self(Mutex::new((event, stream)))
    }
}

impl Source for Unread {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let (event, stream) = &mut *self.0.lock();
        event.take().map_or_else(|| stream.poll_event(cx), |event| Poll::Ready(Some(Ok(event))))
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        self.0.lock().1.control(message);
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        let stream = &self.0.lock().1;
        stream.forward(inbound);
    }

    fn release(&self, _key: u64) {
        // The stream goes with the last reference to this source, which is the handle that is being dropped.
    }
}
