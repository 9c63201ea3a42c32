// SPDX-License-Identifier: Apache-2.0
//! What the peer opens a stream for: a request, or an answer that was asked for elsewhere.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::feed::Intake;
use super::recv::violation;
use super::stream::{Partial, Stream};
use super::{Incoming, IncomingRequest, Key, Mux, Purpose, Role};
use crate::error::{PeerError, Result};
use crate::message::{Headers, Message};
use crate::plane::ReplyTo;
use crate::proto::frame::{FIN, HEADERS, Header, MORE};
use crate::proto::open::{self, Open, RequestHead};

impl Mux {
    /// The payload begins at `at`.
    #[inline]
    pub(super) fn on_open(&mut self, header: Header, intake: &mut Intake, at: usize) -> Result<()> {
        let id = header.stream;
        let slot = id.slot();
        if id.by_acceptor() == (self.role == Role::Acceptor) || slot >= self.ours.max_streams {
            return Err(violation("an OPEN with a number that is not the peer's to use"));
        }
        if self.streams.numbered(slot).is_some() {
            return Err(violation("an OPEN for a stream that is open"));
        }
        let end = at + header.len;
        let is_plain = header.flags & (MORE | HEADERS) == 0
            && self.farewell.is_none()
            && RequestHead::is_in(intake.payload(at, end));
        if is_plain
            && header.len <= self.limits.max_message
            && let Ok(head) = RequestHead::read(intake.now, intake.payload(at, end))
            && let Some(subject) = intake.subject(at + head.subject_at, head.subject_len)
        {
            // The common case: a whole request, without headers.
            let RequestHead { context, reply_to, len, .. } = head;
            let (key, stream) = self.streams.accept(slot);
            stream.begin(id, Purpose::Responder, self.theirs.stream_window, self.ours.stream_window);
            stream.got_last = header.flags & FIN != 0;
            let has_items = stream.begin_answer(self.holders, !stream.got_last, &reply_to);
            let message = Message::new(intake.slice(at + len, end));
            let request = IncomingRequest { key, subject, context, reply_to, message, has_items };
            self.incoming.push_back(Incoming::Request(request));
            return Ok(());
        }
        self.on_other_open(header, intake.slice(at, end), intake.now)
    }

    /// Parts of requests, requests with headers, answers to what was asked elsewhere, and what is refused.
    #[inline(never)]
    fn on_other_open(&mut self, header: Header, mut payload: Bytes, now: Instant) -> Result<()> {
        let id = header.stream;
        if header.flags & MORE != 0 && header.flags & FIN != 0 {
            return Err(violation("an OPEN whose message goes on after its last frame"));
        }
        let opened = Open::decode(now, &mut payload).and_then(|open| {
            let headers =
                if header.flags & HEADERS != 0 { open::decode_headers(&mut payload)? } else { Headers::new() };
            Ok((open, headers))
        });
        let goes_on = header.flags & MORE != 0;
        let refusal = match (&opened, &self.farewell) {
            (_, Some(farewell)) => Some(PeerError::clone(farewell)),
            (Err(error), _) => Some(PeerError::from(error)),
            (Ok((_, headers)), None) => self.too_much(headers.size() + payload.len(), goes_on).map(PeerError::from),
        };
        let (open, headers) = match (opened, refusal) {
            (Ok(opened), None) => opened,
            (_, refusal) => {
                // No slot is taken: the frames that may follow for this number are ignored.
                self.write_reset(id, refusal.as_ref());
                return Ok(());
            }
        };
        let purpose = if matches!(open, Open::CallHome { .. }) { Purpose::Receiver } else { Purpose::Responder };
        let (key, stream) = self.streams.accept(id.slot());
        stream.begin(id, purpose, self.theirs.stream_window, self.ours.stream_window);
        stream.got_last = header.flags & FIN != 0 && purpose == Purpose::Responder;
        stream.unclaimed = purpose == Purpose::Receiver;
        if goes_on && purpose == Purpose::Responder {
            self.opening += payload.len();
            let partial = Partial { open: Some(open), subject: None, headers, body: BytesMut::from(payload) };
            stream.recv.partial = Some(Box::new(partial));
            return Ok(());
        }
        self.deliver_open(key, open, Message { headers, body: payload }, header.flags & FIN == 0);
        // The empty answer to a request that was made elsewhere.
        if purpose == Purpose::Receiver { self.on_fin(header) } else { Ok(()) }
    }

    pub(super) fn deliver_open(&mut self, key: Key, open: Open, message: Message, has_items: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let incoming = match open {
            Open::CallHome { token } => {
                // Held from here on: the whole answer may be in before anyone claims it.
                stream.reader = true;
                Incoming::CallHome { key, token }
            }
            Open::Request { subject, context, reply_to } => {
                let has_items = stream.begin_answer(self.holders, has_items, &reply_to);
                Incoming::Request(IncomingRequest { key, subject, context, reply_to, message, has_items })
            }
        };
        self.incoming.push_back(incoming);
    }
}

impl Stream {
    /// A request came in whole. It `goes_on` if its stream is still open: then it has items, or its FIN is under way. Whether
    /// there is somebody to read those.
    #[inline]
    fn begin_answer(&mut self, holders: u8, goes_on: bool, reply_to: &ReplyTo) -> bool {
        self.writers = holders;
        if !goes_on {
            self.recv.outcome = Some(Ok(()));
        }
        self.reader = goes_on && *reply_to != ReplyTo::Nothing;
        self.reader
    }
}
