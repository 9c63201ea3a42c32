// SPDX-License-Identifier: Apache-2.0
//! The half of a stream that we receive, and what the peer says about the link.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::life::LAST_CALL;
use super::stream::{Partial, Stream};
use super::{Incoming, IncomingRequest, Key, Mux, Purpose, Role, cost};
use crate::connection::Inbound;
use crate::error::{Detail, Error, PeerError, Result, Retry};
use crate::message::{ControlMessage, Headers, Message};
use crate::plane::ReplyTo;
use crate::proto::frame::{self, FIN, HEADERS, Header, INBOUND, Kind, LINK, MORE, StreamId};
use crate::proto::open::{self, Open};
use crate::stream::Event;

impl Mux {
    /// Takes every whole frame out of `input`. An error is fatal: the caller says GOAWAY with it, then [`Mux::fail`].
    pub fn feed(&mut self, input: &mut BytesMut, now: Instant) -> Result<()> {
        self.last_heard = now;
        while let Some((header, payload)) = frame::decode(input, self.ours.max_frame as usize)? {
            self.handle_frame(header, payload, now)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, header: Header, mut payload: Bytes, now: Instant) -> Result<()> {
        match header.kind {
            Kind::Open => self.on_open(header, payload, now),
            Kind::Data => self.on_data(header, payload),
            Kind::Control => {
                let message = match payload.first() {
                    Some(1) => ControlMessage::Stop,
                    Some(2) => ControlMessage::Kill,
                    // A later version may say more; what is unknown asks for nothing.
                    _ => return Ok(()),
                };
                if let Some(key) = self.find(header.stream)?
                    && self.streams.get(key).is_some_and(|stream| !stream.is_asking())
                {
                    self.stop_writers(key, message);
                }
                Ok(())
            }
            Kind::End => {
                let outcome = if payload.is_empty() { Ok(()) } else { Err(open::decode_error(payload)?) };
                self.on_last(header.stream, outcome.map_err(Error::from))
            }
            Kind::Reset => self.on_reset(header.stream, payload),
            Kind::Window => {
                if payload.len() < 4 {
                    return Err(violation("a WINDOW without its four bytes"));
                }
                let bytes = payload.get_u32_le();
                if header.stream == LINK {
                    self.link_credit = self.link_credit.saturating_add(bytes.into());
                    self.resume_senders();
                } else if let Some(key) = self.find(header.stream)? {
                    self.add_credit(key, bytes);
                }
                Ok(())
            }
            Kind::Ping => {
                // An echo of any size would be an amplifier's tool.
                payload.truncate(8);
                self.out.frame(Kind::Pong, 0, LINK, |out| out.put_slice(&payload), Bytes::new());
                Ok(())
            }
            Kind::Pong => {
                self.farewell_heard |= self.farewell.is_some() && payload == LAST_CALL[..];
                Ok(())
            }
            Kind::GoAway => {
                let reason = open::decode_error(payload)?;
                self.refused = Some(Error::from(reason).with_retry(Retry::Safe));
                Ok(())
            }
        }
    }

    /// The key of a stream that the peer names. `None` for one of its own that is over: the frame was under way when we
    /// ended it. One of ours that does not exist is a violation, since we use a number again only after its last frame.
    fn find(&self, id: StreamId) -> Result<Option<Key>> {
        if id.by_acceptor() == (self.role == Role::Acceptor) {
            let key = id.slot() as Key;
            return match self.streams.get(key) {
                Some(stream) if stream.id == id && !stream.got_last => Ok(Some(key)),
                _ => Err(violation("a frame for a stream that is not open")),
            };
        }
        Ok(self.streams.numbered(id.slot()))
    }

    fn on_open(&mut self, header: Header, mut payload: Bytes, now: Instant) -> Result<()> {
        let id = header.stream;
        let slot = id.slot();
        if id.by_acceptor() == (self.role == Role::Acceptor) || slot >= self.ours.max_streams {
            return Err(violation("an OPEN with a number that is not the peer's to use"));
        }
        if self.streams.numbered(slot).is_some() {
            return Err(violation("an OPEN for a stream that is open"));
        }
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
            (_, Some(farewell)) => Some(farewell.clone()),
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
        let mut stream = Stream::new(id, purpose, self.theirs.stream_window, self.ours.stream_window);
        stream.got_last = header.flags & FIN != 0 && purpose == Purpose::Responder;
        stream.unclaimed = purpose == Purpose::Receiver;
        if goes_on && purpose == Purpose::Responder {
            self.opening += payload.len();
            let partial = Partial { open: Some(open), subject: None, headers, body: BytesMut::from(payload) };
            stream.recv.partial = Some(partial);
            self.streams.accept(slot, stream);
            return Ok(());
        }
        let key = self.streams.accept(slot, stream);
        self.deliver_open(key, open, Message { headers, body: payload }, header.flags & FIN == 0);
        // The empty answer to a request that was made elsewhere.
        if purpose == Purpose::Receiver { self.on_fin(header) } else { Ok(()) }
    }

    fn deliver_open(&mut self, key: Key, open: Open, message: Message, has_items: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let incoming = match open {
            Open::CallHome { token } => {
                // Held from here on: the whole answer may be in before anyone claims it.
                stream.reader = true;
                Incoming::CallHome { key, token }
            }
            Open::Request { subject, context, reply_to } => {
                stream.writers = 1;
                // A request that is still open when its message is complete has items, or its FIN is under way.
                stream.reader = has_items && reply_to != ReplyTo::Nothing;
                if !has_items {
                    stream.recv.outcome = Some(Ok(()));
                }
                let has_items = stream.reader;
                Incoming::Request(IncomingRequest { key, subject, context, reply_to, message, has_items })
            }
        };
        self.incoming.push_back(incoming);
    }

    fn on_data(&mut self, header: Header, mut payload: Bytes) -> Result<()> {
        let spent = cost(payload.len());
        self.link_recv_credit -= i64::from(spent);
        if self.link_recv_credit < -i64::from(self.ours.max_frame) {
            return Err(violation("more data than the link's credit"));
        }
        let Some(key) = self.find(header.stream)? else {
            self.give_back_to_link(spent);
            return Ok(());
        };
        let max_frame = self.ours.max_frame;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.recv.credit -= i64::from(spent);
        if stream.got_last {
            return Err(violation("data after the end of its stream"));
        }
        if stream.recv.credit < -i64::from(max_frame) {
            return Err(violation("more data than the stream's credit"));
        }
        if stream.recv.discard {
            self.give_back(key, spent);
            return self.on_fin(header);
        }
        let mut partial = match self.take_partial(key) {
            Some(partial) => partial,
            None => {
                let subject =
                    if header.flags & INBOUND != 0 { Some(open::decode_subject(&mut payload)?) } else { None };
                let headers =
                    if header.flags & HEADERS != 0 { open::decode_headers(&mut payload)? } else { Headers::new() };
                if header.flags & MORE == 0 {
                    if let Some(error) = self.too_much(headers.size() + payload.len(), false) {
                        self.give_back(key, spent);
                        self.overflow(key, false, error);
                        return self.on_fin(header);
                    }
                    // The common case: a whole message in one frame, which shares the read buffer's memory.
                    self.deliver(key, event(subject, Message { headers, body: payload }), spent);
                    return self.on_fin(header);
                }
                Partial { open: None, subject, headers, body: BytesMut::new() }
            }
        };
        let size = partial.headers.size() + partial.body.len() + payload.len();
        let is_opening = partial.open.is_some();
        if let Some(error) = self.too_much(size, is_opening) {
            self.give_back(key, spent);
            self.overflow(key, is_opening, error);
            return self.on_fin(header);
        }
        partial.body.extend_from_slice(&payload);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if header.flags & MORE != 0 {
            self.opening += if is_opening { partial.body.len() } else { 0 };
            stream.recv.partial = Some(partial);
            if is_opening || stream.recv.is_empty() {
                self.give_back(key, spent);
            } else {
                stream.recv.withheld += spent;
            }
            return self.on_fin(header);
        }
        let owing = spent + std::mem::take(&mut stream.recv.withheld);
        let message = Message { headers: partial.headers, body: partial.body.freeze() };
        match partial.open {
            Some(open) => {
                self.give_back(key, owing);
                self.deliver_open(key, open, message, header.flags & FIN == 0);
            }
            None => self.deliver(key, event(partial.subject, message), owing),
        }
        self.on_fin(header)
    }

    /// Why a message of `size` bytes is not taken, if so. `is_opening`: it is a request's, and incomplete.
    fn too_much(&self, size: usize, is_opening: bool) -> Option<Error> {
        let limit = self.limits.max_message;
        if size > limit {
            return Some(Error::too_large("a message", limit as u64, size as u64));
        }
        // The credit of a request's parts is given back as they come, so this is what bounds them. One is always let in.
        let room = limit.max(self.ours.link_window as usize);
        (is_opening && self.opening > 0 && self.opening + size > room).then(|| {
            Error::overloaded(format!(
                "requests of {room} bytes are under way on this link and none of them is complete"
            ))
            .with_retry(Retry::Safe)
        })
    }

    fn take_partial(&mut self, key: Key) -> Option<Partial> {
        let partial = self.streams.get_mut(key)?.recv.partial.take()?;
        self.opening -= if partial.open.is_some() { partial.body.len() } else { 0 };
        Some(partial)
    }

    pub(super) fn drop_partial(&mut self, key: Key) {
        drop(self.take_partial(key));
    }

    fn on_fin(&mut self, header: Header) -> Result<()> {
        if header.flags & FIN != 0 { self.on_last(header.stream, Ok(())) } else { Ok(()) }
    }

    fn deliver(&mut self, key: Key, event: Event, spent: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.reader {
            self.give_back(key, spent);
            return;
        }
        stream.recv.push(event, spent);
        self.after.wakers.extend(stream.recv.waiter.take());
    }

    /// A message over the limit: a typed error on this stream, and the link goes on.
    fn overflow(&mut self, key: Key, was_opening: bool, error: Error) {
        if was_opening {
            self.refuse(key, &PeerError::from(error));
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.is_asking() {
            self.give_up(key, error);
        } else {
            stream.recv.discard = true;
            stream.recv.outcome.get_or_insert(Err(error.duplicate()));
            self.after.wakers.extend(stream.recv.waiter.take());
            self.end(key, Err(PeerError::from(error)));
        }
    }

    /// The peer's last frame of a stream, in order.
    fn on_last(&mut self, id: StreamId, outcome: Result<(), Error>) -> Result<()> {
        let Some(key) = self.find(id)? else { return Ok(()) };
        let partial = self.take_partial(key);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.got_last {
            return Err(violation("a second end of a stream"));
        }
        stream.got_last = true;
        let is_cut_request = partial.as_ref().is_some_and(|partial| partial.open.is_some());
        let outcome = match partial {
            Some(_) => outcome.and(Err(Error::protocol("the stream ended in the middle of a message"))),
            None => outcome,
        };
        stream.recv.outcome.get_or_insert(outcome);
        self.after.wakers.extend(stream.recv.waiter.take());
        match stream.purpose {
            // The responder is done while we still send items: they are of no use to anyone.
            Purpose::Caller if !stream.sent_last => {
                self.reset(key, None);
                self.stop_writers(key, ControlMessage::Kill);
            }
            // The one who claims it confirms it; until then it can still be refused.
            Purpose::Receiver if !stream.unclaimed => self.confirm(key),
            Purpose::Responder if is_cut_request => {
                let error = Error::protocol("the request ended before its message was complete");
                self.refuse(key, &PeerError::from(error));
            }
            _ => {}
        }
        self.free_if_done(key);
        Ok(())
    }

    /// The peer gave a stream up.
    fn on_reset(&mut self, id: StreamId, payload: Bytes) -> Result<()> {
        let Some(key) = self.find(id)? else { return Ok(()) };
        let reason = if payload.is_empty() {
            Error::cancelled("the peer gave the request up")
        } else {
            Error::from(open::decode_error(payload)?)
        };
        self.drop_partial(key);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.got_last = true;
        stream.recv.discard = true;
        match &mut stream.recv.outcome {
            // A request's complete body says nothing about the answer that is given up now.
            Some(Ok(())) if stream.purpose == Purpose::Responder => stream.recv.outcome = Some(Err(reason)),
            outcome => {
                outcome.get_or_insert(Err(reason));
            }
        }
        self.after.wakers.extend(stream.recv.waiter.take());
        self.reset(key, None);
        self.stop_writers(key, ControlMessage::Kill);
        self.free_if_done(key);
        Ok(())
    }

    /// The next event of a stream; `None` after its end.
    pub fn poll_recv(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(None) };
        if let Some((event, spent)) = stream.recv.pop() {
            let drained = stream.recv.is_empty();
            let withheld = if drained { std::mem::take(&mut stream.recv.withheld) } else { 0 };
            self.give_back(key, spent + withheld);
            return Poll::Ready(Some(Ok(event)));
        }
        match &stream.recv.outcome {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.duplicate()))),
            None => {
                match &mut stream.recv.waiter {
                    Some(waker) => waker.clone_from(cx.waker()),
                    empty => *empty = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The reader is gone. At the asking end that cancels the request; at the answering end it only means that further
    /// items of the request are not wanted.
    pub fn release_reader(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.reader = false;
        stream.recv.discard = true;
        stream.recv.waiter = None;
        let unread: u32 = std::iter::from_fn(|| stream.recv.pop()).map(|(_, cost)| cost).sum();
        let owing = unread + std::mem::take(&mut stream.recv.withheld);
        let is_asking = stream.is_asking();
        // Without a reader a partial message is an item of which the rest is dropped: no stream has a reader before its
        // opening message is whole.
        self.drop_partial(key);
        if is_asking {
            self.cancel(key);
        }
        self.give_back(key, owing);
        self.free_if_done(key);
    }

    /// Gives credit back to the stream and the link once it is worth a frame.
    fn give_back(&mut self, key: Key, bytes: u32) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.recv.owed += bytes;
            if stream.recv.owed >= self.ours.stream_window / 2 && !stream.got_last && stream.may_speak() {
                let owed = std::mem::take(&mut stream.recv.owed);
                stream.recv.credit += i64::from(owed);
                let id = stream.id;
                self.out.frame(Kind::Window, 0, id, |out| out.put_u32_le(owed), Bytes::new());
            }
        }
        self.give_back_to_link(bytes);
    }

    pub(super) fn give_back_to_link(&mut self, bytes: u32) {
        self.link_owed += bytes;
        if self.link_owed >= self.ours.link_window / 4 && self.dead.is_none() {
            let owed = std::mem::take(&mut self.link_owed);
            self.link_recv_credit += i64::from(owed);
            self.out.frame(Kind::Window, 0, LINK, |out| out.put_u32_le(owed), Bytes::new());
        }
    }
}

fn event(subject: Option<crate::message::Subject>, message: Message) -> Event {
    match subject {
        Some(subject) => Event::Inbound(Inbound::Notification(subject, message)),
        None => Event::Item(message),
    }
}

fn violation(what: &'static str) -> Error {
    Error::protocol(format!("the peer broke the mux protocol: {what}")).with_detail(Detail::Malformed)
}
