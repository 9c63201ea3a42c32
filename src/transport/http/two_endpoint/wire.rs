// SPDX-License-Identifier: Apache-2.0
//! Whole messages over a stream of events and posts.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, StatusCode};

use super::super::endpoint::{Carriage, Endpoint};
use super::super::event_stream::EventStream;
use super::super::links::decorate;
use super::super::verdict::read_whole;
use crate::error::{Error, Result, Retry};
use crate::io::messages::{MessageWire, Received};
use crate::proto::json;

/// Posts at once: each is answered at once by 202. More wait in line, which is a short one.
const MAX_POSTS: usize = 16;

/// Messages that wait for a post.
const MAX_WAITING: usize = 64;

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 << 10;

type Post = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(super) struct Wire {
    stream: EventStream,
    endpoint: Endpoint,
    waiting: VecDeque<Bytes>,
    posts: FuturesUnordered<Post>,
    /// The post that is under way, if there is one, is to be the only one.
    posting_alone: bool,
}

impl Wire {
    pub(super) fn new(stream: EventStream, endpoint: Endpoint) -> Self {
        Self { stream, endpoint, waiting: VecDeque::new(), posts: FuturesUnordered::new(), posting_alone: false }
    }

    /// Requests may overtake each other. A notification stands where it stands: `notifications/initialized` must have
    /// arrived before the request that follows it.
    fn may_post(&self) -> bool {
        let next_is_alone = self.waiting.front().is_some_and(is_notification);
        let limit = if self.posting_alone || next_is_alone { 1 } else { MAX_POSTS };
        self.posts.len() < limit
    }

    /// Goes on with the posts. A post that is refused ends the link: whose message it was is not known any more, and whoever
    /// waits for its answer must not wait for ever.
    fn poll_posts(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            while self.may_post()
                && let Some(message) = self.waiting.pop_front()
            {
                self.posting_alone = is_notification(&message);
                self.posts.push(Box::pin(post(self.endpoint.clone(), message)));
            }
            match self.posts.poll_next_unpin(cx) {
                Poll::Ready(Some(outcome)) => outcome?,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn is_notification(message: &Bytes) -> bool {
    json::get(message, &["id"]).is_none()
}

async fn post(endpoint: Endpoint, message: Bytes) -> Result<()> {
    let deadline = Instant::now() + endpoint.config().limits.write_timeout;
    let exchange = endpoint.post(HeaderMap::new(), message, Carriage::Shared, deadline).await?;
    if exchange.response.status().is_success() {
        endpoint.put_aside(exchange, deadline).await;
        return Ok(());
    }
    let whole = read_whole(exchange, MAX_REFUSAL, deadline).await?;
    if whole.status == StatusCode::NOT_FOUND {
        // The session is over; its stream, which says so too, may only be a little later.
        let error = Error::closed("the server has ended the session").with_retry(Retry::Safe);
        return Err(decorate(error, endpoint.place()));
    }
    Err(decorate(whole.into_error(), endpoint.place()))
}

impl MessageWire for Wire {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        loop {
            match ready!(self.stream.poll_next(cx))? {
                Some(event) if event.data.is_empty() || !(event.kind.is_empty() || event.kind == "message") => {}
                Some(event) => return Poll::Ready(Ok(Some(Received::Message(event.data)))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.poll_posts(cx) {
            Poll::Pending if self.waiting.len() < MAX_WAITING => Poll::Ready(Ok(())),
            polled => polled,
        }
    }

    fn send(&mut self, message: Bytes) -> Result<()> {
        self.waiting.push_back(message);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_posts(cx)
    }

    /// The stream is closed by dropping it.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_posts(cx)
    }
}
