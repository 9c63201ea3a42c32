// SPDX-License-Identifier: Apache-2.0
//! The responder's side of an answer: items into the chunks of a body.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::body::Body;
use super::live::Claim;
use crate::config::StreamFormat;
use crate::connection::Inbound;
use crate::error::{Error, ErrorKind, PeerError, Result};
use crate::message::{Headers, Message};
use crate::proto::body::{BodyEvent, encode, encode_item, media_type};
use crate::stream::{Event, ResponseStream};

/// The head and the body of an answer that goes on. Proxies and browsers are told to pass items on as they come.
pub(super) fn response(reply: Reply) -> Response<Body> {
    let mut response = whole(reply.format, Body::reply(reply));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The head and the body of an answer that is all there.
pub(super) fn whole(format: StreamFormat, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type(format)));
    response
}

/// Items that are ready are written into one chunk until it has this size: one frame, one flush, many items.
const CHUNK: usize = 64 << 10;

/// Room for a small answer and its end.
const FIRST_ROOM: usize = 512;

/// What an answer has to say at once.
pub(super) struct Beginning {
    pub(super) chunk: BytesMut,
    /// That is all.
    pub(super) over: bool,
}

impl Beginning {
    /// Takes what is ready of `stream`. A refusal by overload is handed back: it can still be told by a status.
    pub(super) fn of(stream: &mut ResponseStream, format: StreamFormat) -> Result<Self> {
        let mut beginning = Self { chunk: BytesMut::with_capacity(FIRST_ROOM), over: false };
        // Nobody to wake: whoever reads on asks again.
        let mut cx = Context::from_waker(Waker::noop());
        while !beginning.over && beginning.chunk.len() < CHUNK {
            match stream.poll_event(&mut cx) {
                Poll::Ready(Some(Err(error))) if stream.items_seen() == 0 && error.kind() == ErrorKind::Overloaded => {
                    return Err(error);
                }
                Poll::Ready(event) => beginning.over = write(event, format, &mut beginning.chunk),
                Poll::Pending => break,
            }
        }
        Ok(beginning)
    }
}

/// An answer as chunks of a body. Dropping it drops the stream, which cancels the handler.
pub(super) struct Reply {
    claim: Claim,
    format: StreamFormat,
    /// What was read before the head was sent.
    begun: BytesMut,
    over: bool,
}

impl Reply {
    /// The answer whose one reader is `claim`.
    pub(super) fn new(claim: Claim, format: StreamFormat) -> Self {
        Self { claim, format, begun: BytesMut::new(), over: false }
    }

    /// The rest of an answer that began with `chunk`.
    pub(super) fn begun_with(mut self, chunk: BytesMut) -> Self {
        self.begun = chunk;
        self
    }

    /// Whether the end has been written.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The next chunk; `None` after the end.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut chunk = std::mem::take(&mut self.begun);
        let mut stream = self.claim.stream();
        while !self.over && chunk.len() < CHUNK {
            match stream.poll_event(cx) {
                Poll::Ready(event) => self.over = write(event, self.format, &mut chunk),
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Some(chunk.freeze()))
    }
}

/// Appends an event, and says whether it was the last.
fn write(event: Option<Result<Event>>, format: StreamFormat, out: &mut BytesMut) -> bool {
    let event = match event {
        None => BodyEvent::Done,
        Some(Err(error)) => BodyEvent::Error(PeerError::from(error)),
        Some(Ok(Event::Item(item))) => match checked(&item) {
            Ok(()) => {
                encode_item(format, &item, out);
                return false;
            }
            Err(error) => BodyEvent::Error(error),
        },
        Some(Ok(Event::Inbound(Inbound::Notification(subject, message)))) => {
            checked(&message).map_or_else(BodyEvent::Error, |()| BodyEvent::Notification(subject, message))
        }
        Some(Ok(Event::Inbound(Inbound::Request(request, answer)))) => {
            let error = Error::unsupported(format!("an answer over http carries no requests (to {})", request.subject));
            answer.fail(error);
            return false;
        }
    };
    encode(format, &event, out);
    event.is_end()
}

/// The decoder's limit on headers, told by the side that can name the culprit.
fn checked(message: &Message) -> Result<(), PeerError> {
    let count = message.headers.len();
    if count <= Headers::MAX_COUNT {
        return Ok(());
    }
    Err(Error::too_large("an item's list of headers", Headers::MAX_COUNT as u64, count as u64).into())
}
