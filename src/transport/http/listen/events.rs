// SPDX-License-Identifier: Apache-2.0
//! Answers as a stream of events.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use tokio::time::{Instant, Sleep, sleep};

use super::super::body::Body;
use crate::io::sessions::{Answer, EventId, Outgoing};

/// Where further answers to write come from, once those at hand are written.
pub(super) trait Feed: Send {
    /// The next one; `None` if there will be none.
    fn poll_feed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer>>;
}

/// A body that writes what its answers say, and a sign of life when they are silent.
pub(in crate::transport::http) struct Events {
    answers: Vec<Answer>,
    feed: Option<Box<dyn Feed>>,
    /// Written before anything else is looked at.
    ready: VecDeque<Bytes>,
    named: bool,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    over: bool,
}

impl Events {
    pub(super) fn new(every: Duration) -> Self {
        let timer = Box::pin(sleep(every));
        Self { answers: Vec::new(), feed: None, ready: VecDeque::new(), named: false, every, timer, over: false }
    }

    /// Writes what `answer` says.
    pub(super) fn with(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// Writes answers as they come. The stream lasts as long as the feed.
    pub(super) fn fed(mut self, feed: impl Feed + 'static) -> Self {
        self.feed = Some(Box::new(feed));
        self
    }

    /// Events are named `message`, and have no ids: the form of 2024-11-05.
    pub(super) fn named(mut self) -> Self {
        self.named = true;
        self
    }

    /// Writes this first: a message that was read already.
    pub(super) fn first(mut self, outgoing: Outgoing) -> Self {
        let text = self.event(&outgoing);
        self.ready.push_back(text);
        self
    }

    /// Writes text as it is.
    pub(super) fn raw(mut self, text: impl Into<Bytes>) -> Self {
        self.ready.push_back(text.into());
        self
    }

    /// Tells the client where it stands before the first message, and when to come back for the rest.
    pub(super) fn primed(mut self, at: EventId, retry: Duration) -> Self {
        self.ready.push_front(format!("id: {at}\nretry: {}\ndata: \n\n", retry.as_millis()).into());
        self
    }

    /// The response. Proxies are told to pass events on as they come.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::events(self));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    /// Whether the end has been written.
    pub(in crate::transport::http) fn is_over(&self) -> bool {
        self.over
    }

    /// The next event; `None` at the end.
    pub(in crate::transport::http) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let chunk = self.next_chunk(cx);
        match &chunk {
            Poll::Ready(Some(_)) => {
                let next = Instant::now() + self.every;
                self.timer.as_mut().reset(next);
                self.over = self.ready.is_empty() && self.answers.is_empty() && self.feed.is_none();
            }
            Poll::Ready(None) => self.over = true,
            Poll::Pending => {}
        }
        chunk
    }

    fn next_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(text) = self.ready.pop_front() {
            return Poll::Ready(Some(text));
        }
        while let Some(feed) = &mut self.feed {
            match feed.poll_feed(cx) {
                Poll::Ready(Some(answer)) => self.answers.push(answer),
                Poll::Ready(None) => {
                    self.feed = None;
                    self.answers.clear();
                }
                Poll::Pending => break,
            }
        }
        let mut at = 0;
        while let Some(answer) = self.answers.get_mut(at) {
            match answer.poll_next(cx) {
                Poll::Ready(Some(outgoing)) => {
                    if outgoing.response.is_some() {
                        self.answers.swap_remove(at);
                    }
                    return Poll::Ready(Some(self.event(&outgoing)));
                }
                Poll::Ready(None) => drop(self.answers.swap_remove(at)),
                Poll::Pending => at += 1,
            }
        }
        if self.answers.is_empty() && self.feed.is_none() {
            return Poll::Ready(None);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        // A line that begins with a colon is a comment.
        Poll::Ready(Some(Bytes::from_static(b":\n\n")))
    }

    fn event(&self, outgoing: &Outgoing) -> Bytes {
        let mut out = BytesMut::with_capacity(outgoing.text.len() + 48);
        match outgoing.id {
            _ if self.named => out.put_slice(b"event: message\n"),
            Some(id) => out.put_slice(format!("id: {id}\n").as_bytes()),
            None => {}
        }
        // Line breaks stand between tokens only: a string has none.
        for line in outgoing.text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            out.put_slice(b"data: ");
            out.put_slice(line);
            out.put_slice(b"\n");
        }
        out.put_slice(b"\n");
        out.freeze()
    }
}
