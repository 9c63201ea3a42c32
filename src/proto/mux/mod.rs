// SPDX-License-Identifier: Apache-2.0
//! Many streams on one link, as a state machine: bytes in ([`Mux::feed`]), bytes out ([`Mux::take_output`]), time in
//! ([`Mux::handle_timeout`]). No sockets, no tasks, no clock; wakers are kept, and called by whoever holds the lock, after
//! it was let go ([`Mux::take_after`]).
//!
//! The rules that keep it small:
//!
//! - Each end sends exactly one last frame per stream: a FIN flag, END or RESET. A slot number is used again only when
//!   both last frames have passed, so a late frame can never reach a later stream.
//! - A RESET is answered by the other end's own last frame, if that is not out yet.
//! - Credit is counted in bytes of data frames with their headers. It is given back when the reader takes an item, so a
//!   slow reader stalls its own sender. A message larger than a frame is sent in parts as credit comes; the receiver gives
//!   back the credit of its parts at once if the reader has nothing else to read, since it could not read on otherwise.
//! - Nothing is kept per message: no task, no channel, no timer. A deadline is a field that one scan per tick looks at.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use slab::Slab;

use self::out::Out;
use self::stream::Stream;
use super::frame::{self, Kind, LINK, StreamId};
use super::open::{self, Open};
use super::prologue::Prologue;
use crate::error::{Detail, Error, PeerError, Result, Retry};
use crate::message::{ControlMessage, Message, RequestContext, Subject};
use crate::plane::ReplyTo;

mod out;
mod recv;
mod send;
mod stream;
#[cfg(test)]
mod tests;

/// A stream's name on this end: its slot.
pub type Key = usize;

/// Which end of the link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opened the socket.
    Dialer,
    /// Accepted it.
    Acceptor,
}

/// What a stream is for, as seen from this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// We asked; the answer comes back here.
    Caller,
    /// The peer asked; we answer here.
    Responder,
    /// The peer asked elsewhere; we opened this to answer.
    CallHome,
    /// We asked elsewhere; the peer opened this to answer.
    Receiver,
}

/// How long silence is borne, and how large a message may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one message, headers included.
    pub max_message: usize,
    /// Silence after which the peer is pinged.
    pub heartbeat_interval: Duration,
    /// Silence after which the peer is dead.
    pub silence_limit: Duration,
}

/// Something that the peer wants of this end.
#[derive(Debug)]
pub enum Incoming {
    /// A request: hand it to a handler, its answer to the stream's sender.
    Request(IncomingRequest),
    /// The answer to a request that was made elsewhere: claim it with [`Mux::claim`] or [`Mux::refuse`] it.
    CallHome {
        /// The stream.
        key: Key,
        /// What names the request.
        token: [u8; open::TOKEN_LEN],
    },
}

/// A request as it came off the wire.
#[derive(Debug)]
pub struct IncomingRequest {
    /// The stream. Its sender has one holder, and its reader one if `has_items`.
    pub key: Key,
    /// Where to.
    pub subject: Subject,
    /// Id, deadline, trace.
    pub context: RequestContext,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// The first message.
    pub message: Message,
    /// Further items follow on the same stream.
    pub has_items: bool,
}

/// What to do once the lock on the mux is gone: wake tasks, drop what may call back.
#[derive(Default)]
pub struct After {
    wakers: Vec<Waker>,
    dropped: Vec<Box<dyn Send>>,
}

impl After {
    /// Does it.
    pub fn run(self) {
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// One end of a multiplexed link.
pub struct Mux {
    role: Role,
    ours: Prologue,
    theirs: Prologue,
    limits: Limits,
    streams: Slab<Stream>,
    /// The peer's slot numbers → our keys.
    peers: Vec<Option<Key>>,
    opened_here: usize,
    out: Out,
    link_credit: i64,
    link_owed: u32,
    link_recv_credit: i64,
    /// Streams with a backlog or a waiting sender, to be resumed when there is room.
    resume: VecDeque<Key>,
    incoming: VecDeque<Incoming>,
    after: After,
    /// We said GOAWAY.
    draining: bool,
    /// The peer said GOAWAY, and why.
    refused: Option<Error>,
    dead: Option<Error>,
    last_heard: Instant,
    last_ping: Option<Instant>,
    next_deadline: Option<Instant>,
}

impl Mux {
    /// A link whose prologues have been exchanged.
    pub fn new(role: Role, ours: Prologue, theirs: Prologue, limits: Limits, now: Instant) -> Self {
        Self {
            role,
            ours,
            theirs,
            limits,
            streams: Slab::new(),
            peers: Vec::new(),
            opened_here: 0,
            out: Out::default(),
            link_credit: theirs.link_window.into(),
            link_owed: 0,
            link_recv_credit: ours.link_window.into(),
            resume: VecDeque::new(),
            incoming: VecDeque::new(),
            after: After::default(),
            draining: false,
            refused: None,
            dead: None,
            last_heard: now,
            last_ping: None,
            next_deadline: None,
        }
    }

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
        self.may_open()?;
        open.validate()?;
        self.check_size("a request", &message)?;
        let deadline = match open {
            Open::Request { context, .. } => context.deadline,
            Open::CallHome { .. } => None,
        };
        // The clock is read only for a request that has a deadline; without one the time is not used.
        let now = deadline.map_or(self.last_heard, |_| now());
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Error::deadline(0).with_retry(Retry::Safe));
        }
        let key = self.insert(Purpose::Caller);
        self.streams[key].reader = true;
        self.streams[key].writers = u8::from(more_items);
        self.set_deadline(key, deadline);
        self.write_open(key, open, message, !more_items, now);
        Ok(key)
    }

    /// Opens a stream for an answer that the peer asked for elsewhere. The stream has one sender.
    pub fn open_call_home(&mut self, token: [u8; open::TOKEN_LEN]) -> Result<Key> {
        self.may_open()?;
        let key = self.insert(Purpose::CallHome);
        self.streams[key].writers = 1;
        let id = self.streams[key].id;
        let at = self.out.frame(
            Kind::Open,
            0,
            id,
            // The token carries no clock reading; `encode` does not ask for one.
            |out| {
                out.put_u8(2);
                out.put_slice(&token);
            },
            Bytes::new(),
        );
        self.streams[key].send.opened_at = at;
        Ok(key)
    }

    fn may_open(&self) -> Result<()> {
        if let Some(error) = self.dead.as_ref().or(self.refused.as_ref()) {
            return Err(error.duplicate().with_retry(Retry::Safe));
        }
        if self.draining {
            return Err(Error::closed("this connection was closed").with_retry(Retry::Safe));
        }
        if self.opened_here >= self.theirs.max_streams as usize {
            let limit = self.theirs.max_streams;
            return Err(Error::overloaded(format!(
                "{limit} streams are open on this link, the most that the peer permits"
            ))
            .with_detail(Detail::ConnectionLimit { limit: limit.into() })
            .with_retry(Retry::Safe));
        }
        Ok(())
    }

    fn insert(&mut self, purpose: Purpose) -> Key {
        let entry = self.streams.vacant_entry();
        let key = entry.key();
        let id = StreamId::new(key as u32, self.role == Role::Acceptor);
        entry.insert(Stream::new(id, purpose, self.theirs.stream_window, self.ours.stream_window));
        self.opened_here += 1;
        key
    }

    /// Keeps `attachment` until the stream's slot is free.
    pub fn attach(&mut self, key: Key, attachment: Box<dyn Send>) {
        match self.streams.get_mut(key) {
            Some(stream) => stream.attachment = Some(attachment),
            None => self.after.dropped.push(attachment),
        }
    }

    /// Fails the stream's reader once `deadline` has passed.
    pub fn set_deadline(&mut self, key: Key, deadline: Option<Instant>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.deadline = deadline;
        if let Some(deadline) = deadline {
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        }
    }

    /// The next thing that the peer wants.
    pub fn next_incoming(&mut self) -> Option<Incoming> {
        self.incoming.pop_front()
    }

    /// Takes an incoming answer, whose stream has had a reader since it came in.
    pub fn claim(&mut self, key: Key, deadline: Option<Instant>) {
        self.set_deadline(key, deadline);
    }

    /// Turns a stream down that nobody has taken yet.
    pub fn refuse(&mut self, key: Key, error: &PeerError) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.reader = false;
        stream.recv.discard = true;
        if !stream.sent_last {
            stream.sent_last = true;
            stream.sent_reset = true;
            let id = stream.id;
            self.write_reset(id, Some(error));
        }
        self.free_if_done(key);
    }

    /// When [`Mux::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.dead.is_some() {
            return None;
        }
        let silent = self.last_heard + self.limits.silence_limit;
        let ping = self.last_ping.unwrap_or(self.last_heard).max(self.last_heard) + self.limits.heartbeat_interval;
        let heartbeat = silent.min(ping);
        Some(self.next_deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat)))
    }

    /// Fails what is overdue, pings a silent peer, gives up on a dead one.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.dead.is_some() {
            return;
        }
        let silent_for = now.saturating_duration_since(self.last_heard);
        if silent_for >= self.limits.silence_limit {
            let error = Error::closed(format!("the peer was silent for {} s", silent_for.as_secs_f32().round()))
                .with_detail(Detail::PeerTimeout { silent_for })
                .with_hint("the peer hangs or the network drops packets");
            self.fail(error);
            return;
        }
        let quiet_since = self.last_ping.unwrap_or(self.last_heard).max(self.last_heard);
        if now.saturating_duration_since(quiet_since) >= self.limits.heartbeat_interval {
            self.ping(now);
        }
        if self.next_deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
    }

    /// Sends a ping; any byte from the peer is its answer.
    pub fn ping(&mut self, now: Instant) {
        self.last_ping = Some(now);
        self.out.frame(Kind::Ping, 0, LINK, |_| {}, Bytes::from_static(&[0; 8]));
    }

    fn expire(&mut self, now: Instant) {
        let mut next = None;
        let mut overdue = Vec::new();
        for (key, stream) in &self.streams {
            match stream.deadline {
                Some(deadline) if stream.recv.outcome.is_none() && stream.is_asking() => {
                    if deadline <= now {
                        overdue.push(key);
                    } else {
                        next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
                    }
                }
                _ => {}
            }
        }
        self.next_deadline = next;
        for key in overdue {
            self.give_up(key, Error::deadline(0));
        }
    }

    /// The reader of `key` gets `error` after what is queued; the peer is told to stop.
    fn give_up(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.recv.outcome.get_or_insert(Err(error));
        stream.recv.discard = true;
        self.after.wakers.extend(stream.recv.waiter.take());
        self.cancel(key);
    }

    /// Tells the peer that the answer is no longer wanted.
    fn cancel(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.got_last || stream.sent_reset {
            return;
        }
        stream.sent_last = true;
        stream.sent_reset = true;
        stream.send.backlog.clear();
        let id = stream.id;
        self.write_reset(id, None);
        self.stop_writers(key, ControlMessage::Kill);
    }

    /// Frees the slot once the wire and all holders are done with it.
    fn free_if_done(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.is_settled() {
            return;
        }
        let opened_here = stream.id.by_acceptor() == (self.role == Role::Acceptor);
        if !opened_here
            && let Some(entry) = self.peers.get_mut(stream.id.slot() as usize)
            && *entry == Some(key)
        {
            // From here on the peer may use the number again, even while our own holders still read.
            *entry = None;
        }
        if !stream.is_unheld() {
            return;
        }
        let mut stream = self.streams.remove(key);
        self.opened_here -= usize::from(opened_here);
        self.after.dropped.extend(stream.attachment.take());
        let unread: u32 = std::iter::from_fn(|| stream.recv.pop()).map(|(_, cost)| cost).sum();
        self.give_back_to_link(unread + stream.recv.withheld);
    }

    /// Refuses new streams from now on and tells the peer; those that run go on.
    pub fn go_away(&mut self, error: &PeerError) {
        if !self.draining && self.dead.is_none() {
            self.draining = true;
            self.out.frame(Kind::GoAway, 0, LINK, |out| open::encode_error(error, out), Bytes::new());
        }
    }

    /// The link is gone: every stream ends, once, with `error` or as cut off.
    pub fn fail(&mut self, error: Error) {
        if self.dead.is_some() {
            return;
        }
        let keys: Vec<Key> = self.streams.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if stream.recv.outcome.is_none() || !stream.is_asking() {
                let retry = if self.out.has_written(stream.send.opened_at) { Retry::Never } else { Retry::Safe };
                let retry = if stream.purpose == Purpose::Caller { retry } else { Retry::Never };
                stream.recv.outcome = Some(Err(error.duplicate().with_retry(retry)));
                stream.recv.discard = true;
            }
            stream.sent_last = true;
            stream.got_last = true;
            stream.send.backlog.clear();
            self.after.wakers.extend(stream.recv.waiter.take());
            self.stop_writers(key, ControlMessage::Kill);
            self.free_if_done(key);
        }
        self.incoming.clear();
        self.out.clear();
        self.dead = Some(error);
    }

    /// Why the link is dead, if it is.
    pub fn dead(&self) -> Option<&Error> {
        self.dead.as_ref()
    }

    /// Whether a new stream may be opened.
    pub fn is_open(&self) -> bool {
        self.dead.is_none() && self.refused.is_none() && !self.draining
    }

    /// Whether a new stream would find room in the output.
    pub fn has_room(&self) -> bool {
        !self.out.is_full() && self.link_credit > 0 && self.opened_here < self.theirs.max_streams as usize
    }

    /// Streams that either end may still speak on.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// No stream is open on either end, though local readers may still hold what has arrived.
    pub fn is_settled(&self) -> bool {
        self.streams.iter().all(|(_, stream)| stream.is_settled())
    }

    /// More waits to be written than data can explain: a peer that asks (pings, opens) faster than it reads.
    pub fn is_choked(&self) -> bool {
        self.out.is_choked()
    }

    /// Moves what is to be written to `writing`.
    pub fn take_output(&mut self, writing: &mut VecDeque<Bytes>) {
        self.out.take(writing);
    }

    /// Whether [`Mux::take_output`] would move anything.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether all output was handed to the system.
    pub fn is_flushed(&self) -> bool {
        self.out.is_flushed()
    }

    /// `bytes` were handed to the system: senders that waited for room go on.
    pub fn wrote(&mut self, bytes: usize) {
        let was_full = self.out.is_full();
        self.out.wrote(bytes as u64);
        if !self.resume.is_empty() && (was_full || !self.out.is_full()) {
            self.resume_senders();
        }
    }

    /// What to do once the lock is gone.
    pub fn take_after(&mut self) -> After {
        std::mem::take(&mut self.after)
    }

    fn check_size(&self, what: &str, message: &Message) -> Result<()> {
        let size = message.size();
        if size > self.limits.max_message {
            return Err(Error::too_large(what, self.limits.max_message as u64, size as u64)
                .with_hint("raise BIPLANE_MAX_MESSAGE_SIZE on both sides, or send it as a stream of items"));
        }
        open::validate_headers(&message.headers)
    }
}

/// What a data frame counts against credit.
const fn cost(payload: usize) -> u32 {
    (frame::HEADER_LEN + payload) as u32
}
