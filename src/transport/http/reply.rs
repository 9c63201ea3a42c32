// SPDX-License-Identifier: Apache-2.0
//! The responder's side of an answer: its head, and for one that was held, its items into the chunks of a body.

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
use crate::proto::body::{BodyEvent, encode, encode_item, media_type};
use crate::stream::{Event, ResponseStream};

/// The head and the body of an answer that goes on. Proxies and browsers are told to pass items on as they come.
pub(super) fn lasting(format: StreamFormat, body: Body) -> Response<Body> {
    let mut response = whole(format, body);
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

/// An answer that was held for its reader, as chunks of a body. Dropping it drops the stream, which cancels the handler.
pub(super) struct Reply {
    claim: Claim<ResponseStream>,
    format: StreamFormat,
    over: bool,
}

impl Reply {
    /// The answer whose one reader is `claim`.
    pub(super) fn new(claim: Claim<ResponseStream>, format: StreamFormat) -> Self {
        Self { claim, format, over: false }
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
        let mut stream = self.claim.answer();
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
