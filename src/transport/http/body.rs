// SPDX-License-Identifier: Apache-2.0
//! The bodies that we send, on both sides.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::idle::Busy;
use super::listen::Events;
use super::live::Claim;
use super::long_stream::Handover;
use super::outbox::Outgoing;
use super::reply::Reply;

/// All at once, or the items of an answer as they come.
pub(super) struct Body {
    kind: Kind,
    /// Says while the body lives that its link is at work.
    _busy: Option<Busy>,
}

enum Kind {
    Full(Option<Bytes>),
    Answer(Claim<Outgoing>),
    Reply(Box<Reply>),
    Events(Handover),
}

impl Body {
    /// A body of known bytes.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty())), _busy: None }
    }

    /// The rest of an answer that was begun.
    pub(super) fn answer(answer: Claim<Outgoing>) -> Self {
        Self { kind: Kind::Answer(answer), _busy: None }
    }

    /// The items of an answer that was held for its reader.
    pub(super) fn reply(reply: Reply) -> Self {
        Self { kind: Kind::Reply(Box::new(reply)), _busy: None }
    }

    /// Events as they come.
    pub(super) fn events(events: Events) -> Self {
        Self { kind: Kind::Events(Handover::new(events)), _busy: None }
    }

    /// The events, for whoever would rather write them itself.
    pub(super) fn handover(&self) -> Option<Handover> {
        match &self.kind {
            Kind::Events(events) => Some(events.clone()),
            Kind::Full(_) | Kind::Answer(_) | Kind::Reply(_) => None,
        }
    }

    /// The bytes, if they are all there.
    pub(super) fn take_full(&mut self) -> Option<Bytes> {
        match &mut self.kind {
            Kind::Full(bytes) => Some(bytes.take().unwrap_or_default()),
            Kind::Answer(_) | Kind::Reply(_) | Kind::Events(_) => None,
        }
    }

    /// The next chunk; `None` after the end.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take()),
            Kind::Answer(answer) => answer.answer().poll_chunk(cx),
            Kind::Reply(reply) => reply.poll_chunk(cx),
            Kind::Events(events) => events.poll_chunk(cx),
        }
    }

    /// Whether the end has been given out.
    pub(super) fn is_over(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Answer(answer) => answer.answer().is_over(),
            Kind::Reply(reply) => reply.is_over(),
            Kind::Events(events) => events.is_over(),
        }
    }

    /// Keeps `busy` as long as the body.
    pub(super) fn with_busy(mut self, busy: Busy) -> Self {
        self._busy = Some(busy);
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_chunk(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Answer(_) | Kind::Reply(_) | Kind::Events(_) => SizeHint::default(),
        }
    }
}
