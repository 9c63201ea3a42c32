// SPDX-License-Identifier: Apache-2.0
//! The half of a stream that we receive, and what the peer says about the link.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};

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
                    self.link_credit += i64::from(bytes);
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
            Kind::Pong => Ok(()),
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
        let slot = id.slot() as usize;
        if id.by_acceptor() == (self.role == Role::Acceptor) {
            return match self.streams.get(slot) {
                Some(stream) if stream.id == id && !stream.got_last => Ok(Some(slot)),
                _ => Err(violation("a frame for a stream that is not open")),
            };
        }
        Ok(self.peers.get(slot).copied().flatten())
    }

    fn on_open(&mut self, header: Header, mut payload: Bytes, now: Instant) -> Result<()> {
        let id = header.stream;
        let slot = id.slot();
        if id.by_acceptor() == (self.role == Role::Acceptor) || slot >= self.ours.max_streams {
            return Err(violation("an OPEN with a number that is not the peer's to use"));
        }
        if self.peers.len() <= slot as usize {
            self.peers.resize(slot as usize + 1, None);
        }
        if self.peers[slot as usize].is_some() {
            return Err(violation("an OPEN for a stream that is open"));
        }
        let opened = Open::decode(now, &mut payload).and_then(|open| {
            let headers =
                if header.flags & HEADERS != 0 { open::decode_headers(&mut payload)? } else { Headers::new() };
            Ok((open, headers))
        });
        let (open, headers) = match opened {
            Ok(opened) if !self.draining => opened,
            // No slot is taken: the frames that may follow for this number are ignored.
            Ok(_) => {
                self.write_reset(
                    id,
                    Some(&PeerError::from(Error::overloaded("this instance is shutting down").with_retry(Retry::Safe))),
                );
                return Ok(());
            }
            Err(error) => {
                self.write_reset(id, Some(&PeerError::from(error)));
                return Ok(());
            }
        };
        let purpose = if matches!(open, Open::CallHome { .. }) { Purpose::Receiver } else { Purpose::Responder };
        let mut stream = Stream::new(id, purpose, self.theirs.stream_window, self.ours.stream_window);
        stream.got_last = header.flags & FIN != 0;
        if header.flags & MORE != 0 && purpose == Purpose::Responder {
            stream.recv.partial =
                Some(Partial { open: Some(open), subject: None, headers, body: BytesMut::from(payload) });
            let key = self.streams.insert(stream);
            self.peers[slot as usize] = Some(key);
            return Ok(());
        }
        let key = self.streams.insert(stream);
        self.peers[slot as usize] = Some(key);
        self.deliver_open(key, open, Message { headers, body: payload }, header.flags & FIN == 0);
        Ok(())
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
        let max_message = self.limits.max_message;
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
        let continued = stream.recv.partial.take();
        let mut partial = match continued {
            Some(partial) => partial,
            None => {
                let subject =
                    if header.flags & INBOUND != 0 { Some(open::decode_subject(&mut payload)?) } else { None };
                let headers =
                    if header.flags & HEADERS != 0 { open::decode_headers(&mut payload)? } else { Headers::new() };
                if header.flags & MORE == 0 {
                    // The common case: a whole message in one frame, which shares the read buffer's memory.
                    self.deliver(key, event(subject, Message { headers, body: payload }), spent);
                    return self.on_fin(header);
                }
                Partial { open: None, subject, headers, body: BytesMut::new() }
            }
        };
        let size = partial.body.len() + payload.len();
        if size > max_message {
            let error = Error::too_large("a message", max_message as u64, size as u64);
            self.give_back(key, spent);
            self.overflow(key, partial.open.is_some(), error);
            return Ok(());
        }
        partial.body.extend_from_slice(&payload);
        let stream = &mut self.streams[key];
        if header.flags & MORE != 0 {
            let is_opening = partial.open.is_some();
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
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.got_last {
            return Err(violation("a second end of a stream"));
        }
        stream.got_last = true;
        let cut = stream.recv.partial.take().is_some_and(|partial| partial.open.is_some());
        stream.recv.outcome.get_or_insert(outcome);
        self.after.wakers.extend(stream.recv.waiter.take());
        match stream.purpose {
            // The responder is done while we still send items: they are of no use to anyone.
            Purpose::Caller if !stream.sent_last => {
                stream.sent_last = true;
                stream.sent_reset = true;
                stream.send.backlog.clear();
                self.write_reset(id, None);
                self.stop_writers(key, ControlMessage::Kill);
            }
            // Confirms to the opener that its number is free.
            Purpose::Receiver if !stream.sent_last => {
                stream.sent_last = true;
                self.out.frame(Kind::End, 0, id, |_| {}, Bytes::new());
            }
            Purpose::Responder if cut => {
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
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.got_last = true;
        stream.recv.discard = true;
        stream.recv.partial = None;
        match &mut stream.recv.outcome {
            // A request's complete body says nothing about the answer that is given up now.
            Some(Ok(())) if stream.purpose == Purpose::Responder => stream.recv.outcome = Some(Err(reason)),
            outcome => {
                outcome.get_or_insert(Err(reason));
            }
        }
        stream.send.backlog.clear();
        stream.send.last = None;
        self.after.wakers.extend(stream.recv.waiter.take());
        if !stream.sent_last {
            stream.sent_last = true;
            stream.sent_reset = true;
            self.write_reset(id, None);
        }
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
        stream.recv.partial = stream.recv.partial.take().filter(|partial| partial.open.is_some());
        let unread: u32 = std::iter::from_fn(|| stream.recv.pop()).map(|(_, cost)| cost).sum();
        let owing = unread + std::mem::take(&mut stream.recv.withheld);
        if stream.is_asking() {
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
