// SPDX-License-Identifier: Apache-2.0
//! Streams that this end opens.

use std::time::Instant;

use bytes::Bytes;

use super::stream::Stream;
use super::streams::Streams;
use super::{Key, Mux, Purpose, Role};
use crate::error::{Detail, Error, Result, Retry};
use crate::message::Message;
use crate::proto::frame::{FIN, HEADERS, Kind, MORE, StreamId};
use crate::proto::open::{self, Asking, Open};

impl Mux {
    /// Opens a stream for a request. `more_items` keeps our half open for [`Mux::push`]. The stream has a reader, and a
    /// sender if `more_items`.
    ///
    /// Errors mean that nothing was sent.
    pub fn open_request(
        &mut self,
        open: &Open,
        message: Message,
        more_items: bool,
        now: impl FnOnce() -> Instant,
    ) -> Result<Key> {
        match open {
            Open::Request { subject, context, reply_to } => {
                self.ask(Asking { subject, context, reply_to }, &message, more_items, now)
            }
            Open::CallHome { token } => self.open_call_home(*token),
        }
    }

    /// As [`Mux::open_request`], for who keeps the message: it may have to be sent elsewhere.
    #[inline]
    pub(crate) fn ask(
        &mut self,
        asking: Asking<'_>,
        message: &Message,
        more_items: bool,
        now: impl FnOnce() -> Instant,
    ) -> Result<Key> {
        self.may_open()?;
        asking.validate()?;
        self.check_size("a request", message)?;
        let deadline = asking.context.deadline;
        // The clock is read only for a request that has a deadline; without one the time is not used.
        let now = deadline.map_or(self.last_heard, |_| now());
        if let Some(deadline) = deadline {
            if deadline <= now {
                return Err(overdue());
            }
            self.expect_deadline(deadline);
        }
        let is_plain =
            message.headers.is_empty() && message.body.len() <= self.largest_plain as usize && !self.out.is_full();
        let windows = (self.theirs.stream_window, self.ours.stream_window);
        let (key, stream) = begin(&mut self.streams, self.role, Purpose::Caller, windows);
        stream.reader = true;
        stream.writers = u8::from(more_items);
        stream.deadline = deadline;
        let flags = if more_items { 0 } else { FIN };
        if is_plain && let Some(opened_at) = self.out.request(flags, stream.id, asking, now, &message.body) {
            stream.send.opened_at = opened_at;
            stream.send.sent_to = self.out.position();
            stream.sent_last = !more_items;
            stream.send.ended = !more_items;
        } else {
            self.write_open(key, asking, message.clone(), !more_items, now);
        }
        Ok(key)
    }

    /// Of any size, with headers or without.
    #[inline(never)]
    fn write_open(&mut self, key: Key, asking: Asking<'_>, message: Message, fin: bool, now: Instant) {
        let Message { headers, mut body } = message;
        let room = if self.out.is_full() { 0 } else { self.part() };
        let first = body.split_to(body.len().min(room));
        let mut flags = if headers.is_empty() { 0 } else { HEADERS };
        flags |= if !body.is_empty() { MORE } else { 0 } | if fin && body.is_empty() { FIN } else { 0 };
        let Some(stream) = self.streams.get_mut(key) else { return };
        let head = |out: &mut Vec<u8>| {
            asking.encode(|| now, out);
            if !headers.is_empty() {
                open::encode_headers(&headers, out);
            }
        };
        stream.send.opened_at = self.out.frame(Kind::Open, flags, stream.id, head, first);
        stream.send.sent_to = self.out.position();
        stream.sent_last = fin && body.is_empty();
        stream.send.ended = fin;
        if !body.is_empty() {
            self.queue_parts(key, Bytes::new(), 0, body);
            if fin && let Some(backlog) = self.streams.get_mut(key).and_then(|stream| stream.send.backlog.as_mut()) {
                backlog.last = Some(Ok(()));
            }
            self.resume_senders();
        }
    }

    /// Opens a stream for an answer that the peer asked for elsewhere. The stream has one sender.
    pub fn open_call_home(&mut self, token: [u8; open::TOKEN_LEN]) -> Result<Key> {
        self.may_open()?;
        let windows = (self.theirs.stream_window, self.ours.stream_window);
        let (key, stream) = begin(&mut self.streams, self.role, Purpose::CallHome, windows);
        stream.writers = 1;
        let head = |out: &mut Vec<u8>| open::encode_call_home(&token, out);
        stream.send.opened_at = self.out.frame(Kind::Open, 0, stream.id, head, Bytes::new());
        Ok(key)
    }

    /// Why the peer takes no new stream, if it said so or is gone.
    pub fn refusal(&self) -> Option<Error> {
        // What it said explains why it went.
        self.refused.as_ref().or(self.dead.as_ref()).map(|error| error.duplicate().with_retry(Retry::Safe))
    }

    #[inline]
    fn may_open(&self) -> Result<()> {
        let may = self.is_open() && self.streams.opened_here() < self.theirs.max_streams as usize;
        if may { Ok(()) } else { Err(self.why_not()) }
    }

    #[cold]
    fn why_not(&self) -> Error {
        if let Some(error) = self.refusal() {
            return error;
        }
        if self.farewell.is_some() {
            return Error::closed("this connection was closed").with_retry(Retry::Safe);
        }
        let limit = self.theirs.max_streams;
        Error::overloaded(format!("{limit} streams are open on this link, the most that the peer permits"))
            .with_detail(Detail::ConnectionLimit { limit: limit.into() })
            .with_retry(Retry::Safe)
    }
}

/// A new stream of `role`'s, with what may be sent and what may come on it.
#[inline]
fn begin(streams: &mut Streams, role: Role, purpose: Purpose, windows: (u32, u32)) -> (Key, &mut Stream) {
    let (key, stream) = streams.open();
    let id = StreamId::new(key as u32, role == Role::Acceptor);
    stream.begin(id, purpose, windows.0, windows.1);
    (key, stream)
}

#[cold]
fn overdue() -> Error {
    Error::deadline(0).with_retry(Retry::Safe)
}
