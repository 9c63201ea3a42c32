// SPDX-License-Identifier: Apache-2.0
//! Lines through our own standard input and output, whose end is not the end of what was asked.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;

use super::input::Input;
use super::output::Output;
use crate::error::Result;
use crate::io::messages::{Lines, MessageWire, Received};
use crate::proto::json;

/// For what was asked before standard input ended: `printf '…' | server` still wants its answers.
const LINGER: Duration = Duration::from_secs(5);

pub(super) struct OwnWire {
    lines: Lines<Input, Output>,
    /// Requests that were read and not answered, given up or left open on purpose.
    unanswered: usize,
    /// Since standard input ended.
    ended: Option<Pin<Box<Sleep>>>,
}

impl OwnWire {
    pub(super) fn new(lines: Lines<Input, Output>) -> Self {
        Self { lines, unanswered: 0, ended: None }
    }

    fn count(&mut self, message: &[u8]) {
        match Kind::of(message) {
            Kind::Request => self.unanswered += 1,
            Kind::Cancel => self.unanswered = self.unanswered.saturating_sub(1),
            Kind::Response | Kind::Other => {}
        }
    }
}

enum Kind {
    Request,
    Cancel,
    Response,
    Other,
}

impl Kind {
    fn of(message: &[u8]) -> Self {
        let (mut has_id, mut method) = (false, None);
        for (key, value) in json::members(message) {
            match key {
                b"id" => has_id = true,
                b"method" => method = Some(value),
                _ => {}
            }
        }
        match (has_id, method) {
            // It is answered when it is over, which may be never.
            (true, Some(b"\"subscriptions/listen\"")) => Self::Other,
            (true, Some(_)) => Self::Request,
            (true, None) => Self::Response,
            (false, Some(b"\"notifications/cancelled\"")) => Self::Cancel,
            (false, _) => Self::Other,
        }
    }
}

impl MessageWire for OwnWire {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        if self.ended.is_none() {
            match ready!(self.lines.poll_receive(cx))? {
                Some(received) => {
                    if let Received::Message(message) = &received {
                        self.count(message);
                    }
                    return Poll::Ready(Ok(Some(received)));
                }
                None => self.ended = Some(Box::pin(tokio::time::sleep(LINGER))),
            }
        }
        let is_late = self.ended.as_mut().is_none_or(|ended| ended.as_mut().poll(cx).is_ready());
        if self.unanswered > 0 && !is_late {
            return Poll::Pending;
        }
        if !is_late {
            ready!(self.lines.poll_flush(cx))?;
        }
        Poll::Ready(Ok(None))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.lines.poll_ready(cx)
    }

    fn send(&mut self, message: Bytes) -> Result<()> {
        if matches!(Kind::of(&message), Kind::Response) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.lines.send(message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.lines.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.lines.poll_close(cx)
    }
}
