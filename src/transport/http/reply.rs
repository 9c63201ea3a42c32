// SPDX-License-Identifier: Apache-2.0
//! The responder's side of an answer: items into the chunks of a body.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::body::Body;
use super::live::Claim;
use crate::config::StreamFormat;
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{Headers, Message};
use crate::proto::body::{BodyEvent, encode, media_type};
use crate::stream::Event;

/// The head and the body of an answer. Proxies and browsers are told to pass items on as they come.
pub(super) fn response(reply: Reply) -> Response<Body> {
    let content_type = HeaderValue::from_static(media_type(reply.format));
    let mut response = Response::new(Body::reply(reply));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Items that are ready are written into one chunk until it has this size: one frame, one flush, many items.
const CHUNK: usize = 64 << 10;

/// An answer as chunks of a body. Dropping it drops the stream, which cancels the handler.
pub(super) struct Reply {
    claim: Claim,
    format: StreamFormat,
    /// What was read before the head was sent, to see whether the request was refused.
    first: Option<Option<Result<Event>>>,
    over: bool,
}

impl Reply {
    /// The answer whose one reader is `claim`.
    pub(super) fn new(claim: Claim, format: StreamFormat) -> Self {
        Self { claim, format, first: None, over: false }
    }

    /// Puts back what was read of the stream already.
    pub(super) fn with_first(mut self, first: Option<Option<Result<Event>>>) -> Self {
        self.first = first;
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
        let mut chunk = BytesMut::new();
        while !self.over && chunk.len() < CHUNK {
            let next = match self.first.take() {
                Some(first) => Poll::Ready(first),
                None => self.claim.poll_event(cx),
            };
            match next {
                Poll::Ready(event) => self.write(event, &mut chunk),
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Some(chunk.freeze()))
    }

    fn write(&mut self, event: Option<Result<Event>>, out: &mut BytesMut) {
        let event = match event {
            None => BodyEvent::Done,
            Some(Err(error)) => BodyEvent::Error(PeerError::from(error)),
            Some(Ok(Event::Item(item))) => checked(&item).map_or_else(BodyEvent::Error, |()| BodyEvent::Item(item)),
            Some(Ok(Event::Inbound(Inbound::Notification(subject, message)))) => {
                checked(&message).map_or_else(BodyEvent::Error, |()| BodyEvent::Notification(subject, message))
            }
            Some(Ok(Event::Inbound(Inbound::Request(request, answer)))) => {
                let error =
                    Error::unsupported(format!("an answer over http carries no requests (to {})", request.subject));
                return answer.fail(error);
            }
        };
        self.over = event.is_end();
        encode(self.format, &event, out);
    }
}

/// The decoder's limit on headers, told by the side that can name the culprit.
fn checked(message: &Message) -> Result<(), PeerError> {
    let count = message.headers.len();
    if count <= Headers::MAX_COUNT {
        return Ok(());
    }
    Err(Error::too_large("an item's list of headers", Headers::MAX_COUNT as u64, count as u64).into())
}
