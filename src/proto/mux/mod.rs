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
//!   slow reader stalls its own sender. A message larger than a frame, or than the credit, is sent in parts as credit
//!   comes; the receiver gives back the credit of its parts at once if the reader has nothing else to read, since it could
//!   not read on otherwise.
//! - Who says GOAWAY pings after it. What the peer had opened before it knew has arrived when the pong comes, and was
//!   answered: so no request is lost between two ends of which one is leaving.
//! - Nothing is kept per message: no task, no channel, no timer. A deadline is a field that one scan per tick looks at.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::batch::Batch;
pub(crate) use self::lazy::LazyQueue;
use self::out::Out;
use self::streams::Streams;
use super::frame;
use super::open;
use super::prologue::Prologue;
use crate::error::{Error, PeerError, Result};
use crate::message::{Message, RequestContext, Subject};
use crate::plane::ReplyTo;

mod ask;
mod batch;
mod feed;
mod lazy;
mod lend;
mod life;
mod opening;
mod out;
mod read;
mod recv;
mod send;
mod stream;
mod streams;
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

/// [`Limits`] in half the room: every link has them, and most links idle.
#[derive(Clone, Copy)]
struct Bounds {
    max_message: usize,
    heartbeat_millis: u32,
    silence_millis: u32,
}

impl Bounds {
    fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_millis.into())
    }

    fn silence_limit(&self) -> Duration {
        Duration::from_millis(self.silence_millis.into())
    }
}

impl From<Limits> for Bounds {
    fn from(limits: Limits) -> Self {
        // Seven weeks are as good as never, and less than a millisecond is as good as one.
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        Self {
            max_message: limits.max_message,
            heartbeat_millis: millis(limits.heartbeat_interval),
            silence_millis: millis(limits.silence_limit),
        }
    }
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
    dropped: LazyQueue<Box<dyn Send>>,
}

impl After {
    /// Whether there is anything to do, as there mostly is not.
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.dropped.is_empty()
    }

    /// Does it, and keeps the room for the next time.
    pub fn run(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
        self.dropped.clear();
    }
}

/// One end of a multiplexed link.
pub struct Mux {
    role: Role,
    ours: Prologue,
    theirs: Prologue,
    limits: Bounds,
    streams: Streams,
    out: Out,
    /// Bytes of a body that is sent in one frame if there is credit for it.
    largest_plain: u32,
    link_credit: i64,
    link_owed: u32,
    link_recv_credit: i64,
    /// Streams with a backlog or a waiting sender, to be resumed when there is room.
    resume: LazyQueue<Key>,
    incoming: LazyQueue<Incoming>,
    after: After,
    /// Bytes of requests of which only a part has come: no credit bounds those.
    opening: usize,
    /// We said GOAWAY: what a stream that still comes is told.
    farewell: Option<Box<PeerError>>,
    /// The peer knows of our GOAWAY: whatever it opened before that has arrived.
    farewell_heard: bool,
    /// The peer said GOAWAY, and why.
    refused: Option<Error>,
    dead: Option<Error>,
    last_heard: Instant,
    /// How often bytes came in, roughly: a clock of the peer's messages.
    feeds: u32,
    last_ping: Option<Instant>,
    next_deadline: Option<Instant>,
    /// How many hold the answer to a request that comes in.
    holders: u8,
}

impl Mux {
    /// A link whose prologues have been exchanged.
    pub fn new(role: Role, ours: Prologue, theirs: Prologue, limits: Limits, now: Instant) -> Self {
        Self {
            role,
            ours,
            theirs,
            limits: limits.into(),
            streams: Streams::default(),
            out: Out::default(),
            // A part is far below 4 GiB.
            largest_plain: send::part(&theirs).min(limits.max_message) as u32,
            link_credit: theirs.link_window.into(),
            link_owed: 0,
            link_recv_credit: ours.link_window.into(),
            resume: LazyQueue::default(),
            incoming: LazyQueue::default(),
            after: After::default(),
            opening: 0,
            farewell: None,
            farewell_heard: false,
            refused: None,
            dead: None,
            last_heard: now,
            feeds: 0,
            last_ping: None,
            next_deadline: None,
            holders: 1,
        }
    }

    /// The sender of an answer has two holders from the beginning: requests go to handlers that are supervised.
    pub(crate) fn with_supervisors(mut self) -> Self {
        self.holders = 2;
        self
    }

    /// Keeps `attachment` until the stream's slot is free.
    pub fn attach(&mut self, key: Key, attachment: Box<dyn Send>) {
        match self.streams.get_mut(key) {
            Some(stream) => stream.attachment = Some(attachment),
            None => self.after.dropped.push_back(attachment),
        }
    }

    /// The next thing that the peer wants.
    pub fn next_incoming(&mut self) -> Option<Incoming> {
        self.incoming.pop_front()
    }

    /// Gives all that the peer wants to `taken`, which is empty.
    pub(crate) fn swap_incoming(&mut self, taken: &mut LazyQueue<Incoming>) {
        std::mem::swap(&mut self.incoming, taken);
    }

    /// Why the link is dead, if it is.
    pub fn dead(&self) -> Option<&Error> {
        self.dead.as_ref()
    }

    /// Whether a new stream may be opened.
    pub fn is_open(&self) -> bool {
        self.dead.is_none() && self.refused.is_none() && self.farewell.is_none()
    }

    /// Whether a new stream would find room in the output.
    pub fn has_room(&self) -> bool {
        !self.out.is_full() && self.link_credit > 0 && self.streams.opened_here() < self.theirs.max_streams as usize
    }

    /// Streams that either end may still speak on.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// We said GOAWAY, the peer knows, and no stream is open on either end any more, though local readers may still hold
    /// what has arrived.
    pub fn is_drained(&self) -> bool {
        self.farewell_heard && self.streams.iter().all(|(_, stream)| stream.is_settled())
    }

    /// More waits to be written than data can explain: a peer that asks (pings, opens) faster than it reads.
    pub fn is_choked(&self) -> bool {
        self.out.is_choked()
    }

    /// Moves what is to be written to `writing`.
    pub fn take_output(&mut self, writing: &mut VecDeque<Bytes>) {
        self.out.take(writing);
    }

    /// Gives what is to be written to a writer whose batch is empty, and keeps the batch to fill it next.
    pub fn swap_output(&mut self, written: &mut Batch) {
        self.out.swap(written);
    }

    /// Gives back what only a busy link needs.
    pub(crate) fn shrink(&mut self) {
        self.out.shrink();
        if self.after.is_empty() {
            self.after = After::default();
        }
        self.incoming.shrink();
        self.resume.shrink();
        self.streams.shrink();
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

    /// Whether there is something to do once the lock is gone.
    pub(crate) fn has_after(&self) -> bool {
        !self.after.is_empty()
    }

    /// What to do once the lock is gone.
    pub fn take_after(&mut self) -> After {
        std::mem::take(&mut self.after)
    }

    /// Gives what is to be done to `after`, which is empty.
    pub(crate) fn swap_after(&mut self, after: &mut After) {
        std::mem::swap(&mut self.after, after);
    }

    #[inline]
    fn check_size(&self, what: &str, message: &Message) -> Result<()> {
        let size = message.size();
        if size > self.limits.max_message {
            return Err(over_size(what, self.limits.max_message, size));
        }
        if message.headers.is_empty() { Ok(()) } else { open::validate_headers(&message.headers) }
    }
}

#[cold]
fn over_size(what: &str, limit: usize, size: usize) -> Error {
    Error::too_large(what, limit as u64, size as u64)
        .with_hint("raise BIPLANE_MAX_MESSAGE_SIZE on both sides, or send it as a stream of items")
}

/// Has `waiter` wake `cx`'s task.
fn wait(waiter: &mut Option<Waker>, cx: &Context<'_>) {
    match waiter {
        // Mostly the same task again, of which no further handle is needed.
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// What a data frame counts against credit.
const fn cost(payload: usize) -> u32 {
    (frame::HEADER_LEN + payload) as u32
}
