// SPDX-License-Identifier: Apache-2.0
//! The half of a stream that we receive, and what the peer says about the link.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::life::LAST_CALL;
use super::stream::Partial;
use super::{Key, Mux, Purpose, Role, cost};
use crate::error::{Detail, Error, PeerError, Result, Retry};
use crate::message::{ControlMessage, Headers, Message, Subject};
use crate::proto::frame::{self, FIN, HEADER_LEN, HEADERS, Header, INBOUND, Kind, LINK, MORE, StreamId};
use crate::proto::open;
use crate::proto::run::Run;
use crate::stream::{Arrival, Waiting};

/// A reader that has let so many reads of its link pass does not keep up: its credit bounds the bytes of its messages, but
/// not those of the reads that each of them would hold on to.
const LAG: u32 = 8;

/// A payload of this many bytes holds on to little else.
const SMALL: usize = 4096;

impl Mux {
    /// Frames of which nothing is kept.
    pub(super) fn handle_small(&mut self, header: Header, mut payload: &[u8]) -> Result<()> {
        match header.kind {
            Kind::Open | Kind::Data => Ok(()),
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
                let outcome = if payload.is_empty() { Ok(()) } else { Err(Error::from(peer_error(payload)?)) };
                self.on_last(header.stream, outcome)
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
                let echo = payload.get(..8).unwrap_or(payload);
                self.out.frame(Kind::Pong, 0, LINK, |out| out.put_slice(echo), Bytes::new());
                Ok(())
            }
            Kind::Pong => {
                self.farewell_heard |= self.farewell.is_some() && payload == LAST_CALL;
                Ok(())
            }
            Kind::GoAway => {
                self.refused = Some(Error::from(peer_error(payload)?).with_retry(Retry::Safe));
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

    /// A data frame at `at`, and those behind it that are the next items of its stream. Returns where they end.
    pub(super) fn on_data(&mut self, header: Header, batch: &Bytes, at: usize) -> Result<usize> {
        let payload = at + HEADER_LEN;
        let end = payload + header.len;
        let spent = cost(header.len);
        self.link_recv_credit -= i64::from(spent);
        if self.link_recv_credit < -i64::from(self.ours.max_frame) {
            return Err(violation("more data than the link's credit"));
        }
        let Some(key) = self.find(header.stream)? else {
            self.give_back_to_link(spent);
            return Ok(end);
        };
        let max_frame = self.ours.max_frame;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(end) };
        stream.recv.credit -= i64::from(spent);
        if stream.got_last {
            return Err(violation("data after the end of its stream"));
        }
        if stream.recv.credit < -i64::from(max_frame) {
            return Err(violation("more data than the stream's credit"));
        }
        let is_plain = header.flags & (MORE | HEADERS | INBOUND) == 0 && stream.recv.partial.is_none();
        if !is_plain || !stream.reader || stream.recv.discard || header.len > self.limits.max_message {
            self.on_other_data(header, batch.slice(payload..end), key, spent)?;
            return Ok(end);
        }
        // The common case: whole messages in a frame each, which share the read buffer's memory.
        let lags = stream.recv.waits_for(self.feeds) > LAG;
        let mut is_last = header.flags & FIN != 0;
        let mut others = 0;
        if !is_last && !lags {
            let max_payload = self.limits.max_message.min(max_frame as usize);
            let credit = self.link_recv_credit.min(stream.recv.credit) + i64::from(max_frame);
            (others, is_last) = frame::run(batch.get(end..).unwrap_or_default(), header, max_payload, credit);
        }
        let waiting = if others > 0 {
            self.link_recv_credit -= others as i64;
            stream.recv.credit -= others as i64;
            Waiting::Run(Run::new(batch.slice(at..end + others)))
        } else {
            let body = batch.slice(payload..end);
            let body = if lags && body.len() < SMALL { Bytes::copy_from_slice(&body) } else { body };
            Waiting::One(Arrival::Item(Message::new(body)), spent)
        };
        stream.recv.push(waiting, self.feeds);
        if let Some(waiter) = stream.recv.waiter.take() {
            self.after.wakers.push(waiter);
        }
        if is_last && stream.purpose == Purpose::Caller && stream.sent_last {
            // Its reader has yet to take this, so nothing is freed.
            stream.got_last = true;
            stream.recv.outcome.get_or_insert(Ok(()));
        } else if is_last {
            self.on_last(header.stream, Ok(()))?;
        }
        Ok(end + others)
    }

    /// Parts of messages, messages with headers, notifications, and what nobody wants.
    fn on_other_data(&mut self, header: Header, mut payload: Bytes, key: Key, spent: u32) -> Result<()> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.recv.discard {
            self.give_back(key, spent);
            return self.on_fin(header);
        }
        let partial = if stream.recv.partial.is_some() { self.take_partial(key) } else { None };
        let mut partial = match partial {
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
                    self.deliver(key, arrival(subject, Message { headers, body: payload }), spent);
                    return self.on_fin(header);
                }
                Box::new(Partial { open: None, subject, headers, body: BytesMut::new() })
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
            None => self.deliver(key, arrival(partial.subject, message), owing),
        }
        self.on_fin(header)
    }

    /// Why a message of `size` bytes is not taken, if so. `is_opening`: it is a request's, and incomplete.
    pub(super) fn too_much(&self, size: usize, is_opening: bool) -> Option<Error> {
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

    fn take_partial(&mut self, key: Key) -> Option<Box<Partial>> {
        let partial = self.streams.get_mut(key)?.recv.partial.take()?;
        self.opening -= if partial.open.is_some() { partial.body.len() } else { 0 };
        Some(partial)
    }

    pub(super) fn drop_partial(&mut self, key: Key) {
        drop(self.take_partial(key));
    }

    pub(super) fn on_fin(&mut self, header: Header) -> Result<()> {
        if header.flags & FIN != 0 { self.on_last(header.stream, Ok(())) } else { Ok(()) }
    }

    fn deliver(&mut self, key: Key, arrival: Arrival, spent: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.reader {
            self.give_back(key, spent);
            return;
        }
        stream.recv.push(Waiting::One(arrival, spent), self.feeds);
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
    fn on_reset(&mut self, id: StreamId, payload: &[u8]) -> Result<()> {
        let Some(key) = self.find(id)? else { return Ok(()) };
        let reason = if payload.is_empty() {
            Error::cancelled("the peer gave the request up")
        } else {
            Error::from(peer_error(payload)?)
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
}

fn arrival(subject: Option<Subject>, message: Message) -> Arrival {
    match subject {
        Some(subject) => Arrival::Notification(Box::new((subject, message))),
        None => Arrival::Item(message),
    }
}

fn peer_error(payload: &[u8]) -> Result<PeerError> {
    open::decode_error(Bytes::copy_from_slice(payload))
}

#[cold]
pub(super) fn violation(what: &'static str) -> Error {
    Error::protocol(format!("the peer broke the mux protocol: {what}")).with_detail(Detail::Malformed)
}
