// SPDX-License-Identifier: Apache-2.0
//! A response whose body is a stream of events.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::incoming::Incoming;
use super::link::Hold;
use super::links::Exchange;
use crate::error::{Error, Result};
use crate::proto::events::{EventParser, ServerEvent};

/// From the last event to the end of its HTTP message, which is on its way if the server does as it should.
const TAIL_TIMEOUT: Duration = Duration::from_millis(100);

/// Dropping it ends the response: an HTTP/2 stream is reset, an HTTP/1.1 link closed.
pub(super) struct EventStream {
    body: Incoming,
    hold: Hold,
    parser: EventParser,
}

impl EventStream {
    /// The events of a response whose head was looked at.
    pub(super) fn new(exchange: Exchange, max_message: usize) -> Self {
        let Exchange { response, hold } = exchange;
        // A line has its field's name before the data.
        Self { body: response.into_body(), hold, parser: EventParser::new(max_message.saturating_add(16)) }
    }

    /// The next event; `None` at the end of the response. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<ServerEvent>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) as a poll.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ServerEvent>>> {
        loop {
            if let Some(event) = self.parser.next_event()? {
                return Poll::Ready(Ok(Some(event)));
            }
            match ready!(self.body.poll_chunk(cx)) {
                Some(chunk) => self.parser.push(chunk?),
                None => {
                    self.hold.complete();
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    /// Where to resume, and when at the earliest, if the stream said so.
    pub(super) fn mark(&self) -> Mark {
        Mark { last_id: self.parser.last_id().cloned(), retry: self.parser.retry().map(Duration::from_millis) }
    }

    /// Reads what is left, if that is nothing, so that the link can be used again.
    pub(super) async fn finish(mut self) {
        if self.hold.link().is_multiplexed() {
            return;
        }
        let rest = poll_fn(|cx| self.body.poll_chunk(cx));
        if let Ok(None) = tokio::time::timeout(TAIL_TIMEOUT, rest).await {
            self.hold.complete();
        }
    }
}

/// How far a stream has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    pub(super) last_id: Option<bytes::Bytes>,
    pub(super) retry: Option<Duration>,
}

/// How long to wait before a stream is asked for again.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);

    /// What the server asked for; without that, longer each time.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let own = Self::FIRST.saturating_mul(1 << self.0.min(5)).min(Self::LONGEST);
        self.0 = self.0.saturating_add(1);
        // A server that keeps failing is not asked more often than it takes for us to be polite.
        match asked {
            Some(asked) if self.0 <= 3 => asked,
            Some(asked) => asked.max(own),
            None => own,
        }
    }

    /// How often in a row it was needed.
    pub(super) fn failures(&self) -> u32 {
        self.0
    }

    /// The stream works again.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// What is no stream of events where one was asked for.
pub(super) fn is_event_stream(exchange: &Exchange) -> bool {
    media_type(exchange) == "text/event-stream"
}

/// The media type of a response, without its parameters.
pub(super) fn media_type(exchange: &Exchange) -> String {
    let value = exchange.response.headers().get(http::header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The error of a stream that ended before what was waited for.
pub(super) fn ended() -> Error {
    Error::peer_closed(0, true)
}
