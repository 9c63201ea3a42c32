// SPDX-License-Identifier: Apache-2.0
//! One stream's slot.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Purpose;
use crate::error::{Error, PeerError};
use crate::message::{ControlMessage, Headers, Message, Subject};
use crate::proto::frame::{LINK, StreamId};
use crate::proto::open::Open;
use crate::proto::run::Run;
use crate::stream::{Arrival, Arrivals, Queue, Waiting};

/// Everything about one stream. Two halves: what we receive and what we send.
pub(super) struct Stream {
    /// The slot has a stream. Without one it has none of what streams own.
    pub(super) is_present: bool,
    pub(super) id: StreamId,
    pub(super) purpose: Purpose,
    /// Our last frame is out (or queued): FIN, END or RESET.
    pub(super) sent_last: bool,
    /// We gave the stream up with a RESET of our own.
    pub(super) sent_reset: bool,
    /// The peer's last frame is in.
    pub(super) got_last: bool,
    /// A local [`ResponseStream`](crate::ResponseStream) reads this.
    pub(super) reader: bool,
    /// Local senders and supervisors.
    pub(super) writers: u8,
    /// An answer that came in and that nobody has claimed or refused yet.
    pub(super) unclaimed: bool,
    pub(super) recv: Receiving,
    pub(super) send: Sending,
    pub(super) stopped: Option<ControlMessage>,
    pub(super) stop_waiter: Option<Waker>,
    pub(super) kill_waiter: Option<Waker>,
    pub(super) deadline: Option<Instant>,
    /// Dropped when the slot is freed: a pool's lease.
    pub(super) attachment: Option<Box<dyn Send>>,
}

/// The half that we receive.
pub(super) struct Receiving {
    /// The one item of most answers needs no queue.
    first: Option<Waiting>,
    rest: Queue,
    /// The link's count of reads when the first of them came.
    since: u32,
    /// How it ends after what is queued.
    pub(super) outcome: Option<Result<(), Error>>,
    /// Whatever still arrives is dropped.
    pub(super) discard: bool,
    pub(super) partial: Option<Box<Partial>>,
    /// Credit of the partial message that was not given back yet.
    pub(super) withheld: u32,
    /// Credit to give back.
    pub(super) owed: u32,
    /// What the peer may still send.
    pub(super) credit: i64,
    pub(super) waiter: Option<Waker>,
}

/// A message of which more is to come.
pub(super) struct Partial {
    /// Set while the opening message of a stream is incomplete.
    pub(super) open: Option<Open>,
    pub(super) subject: Option<Subject>,
    pub(super) headers: Headers,
    pub(super) body: BytesMut,
}

/// The half that we send.
pub(super) struct Sending {
    pub(super) credit: i64,
    /// What waits for credit. Never empty.
    pub(super) backlog: Option<Box<Backlog>>,
    /// No more may be pushed.
    pub(super) ended: bool,
    /// The mux's list of streams to resume names this one.
    pub(super) queued: bool,
    /// A sender has a parcel of its items, before which nothing may go out.
    pub(super) is_lent: bool,
    /// The position of the opening frame in the link's output.
    pub(super) opened_at: u64,
    /// The position behind the last frame.
    pub(super) sent_to: u64,
    pub(super) waiter: Option<Waker>,
}

/// Frames of data that wait for credit: flags, header block, body.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) frames: VecDeque<(u8, Bytes, Bytes)>,
    /// The end that waits behind them.
    pub(super) last: Option<Result<(), PeerError>>,
}

impl Stream {
    /// A slot without a stream.
    pub(super) const fn vacant() -> Self {
        Self {
            is_present: false,
            id: LINK,
            purpose: Purpose::Caller,
            sent_last: false,
            sent_reset: false,
            got_last: false,
            reader: false,
            writers: 0,
            unclaimed: false,
            recv: Receiving {
                first: None,
                rest: None,
                since: 0,
                outcome: None,
                discard: false,
                partial: None,
                withheld: 0,
                owed: 0,
                credit: 0,
                waiter: None,
            },
            send: Sending {
                credit: 0,
                backlog: None,
                ended: false,
                queued: false,
                is_lent: false,
                opened_at: 0,
                sent_to: 0,
                waiter: None,
            },
            stopped: None,
            stop_waiter: None,
            kill_waiter: None,
            deadline: None,
            attachment: None,
        }
    }

    /// Makes the slot that of a new stream. It is as [`Stream::vacant`].
    #[inline]
    pub(super) fn begin(&mut self, id: StreamId, purpose: Purpose, send_credit: u32, recv_credit: u32) {
        (self.id, self.purpose) = (id, purpose);
        (self.send.credit, self.recv.credit) = (send_credit.into(), recv_credit.into());
    }

    /// Makes it as [`Stream::vacant`], dropping what it holds: one field after the other, since hardly any is in use by then.
    #[inline]
    pub(super) fn clear(&mut self) {
        let Self { recv, send, stop_waiter, kill_waiter, attachment, .. } = self;
        empty(&mut recv.first);
        empty(&mut recv.rest);
        empty(&mut recv.outcome);
        empty(&mut recv.partial);
        empty(&mut recv.waiter);
        empty(&mut send.backlog);
        empty(&mut send.waiter);
        empty(stop_waiter);
        empty(kill_waiter);
        empty(attachment);
        (recv.since, recv.discard, recv.withheld, recv.owed) = (0, false, 0, 0);
        (send.ended, send.queued, send.is_lent) = (false, false, false);
        (send.opened_at, send.sent_to) = (0, 0);
        (self.is_present, self.reader, self.writers, self.unclaimed) = (false, false, 0, false);
        (self.sent_last, self.sent_reset, self.got_last) = (false, false, false);
        (self.stopped, self.deadline) = (None, None);
    }

    /// Whether the local end waits for the answer, rather than gives it.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.purpose, Purpose::Caller | Purpose::Receiver)
    }

    /// Whether a frame beside the items may still go out. The opener's always may: a peer that is done ignores it. The other
    /// end's may not follow its last frame, after which the opener uses the number again.
    pub(super) fn may_speak(&self) -> bool {
        matches!(self.purpose, Purpose::Caller | Purpose::CallHome) || !self.sent_last
    }

    /// Neither end will say anything more about this stream.
    pub(super) fn is_settled(&self) -> bool {
        self.sent_last && self.got_last
    }

    /// The one item that is the whole answer, and what it had cost, if it has come and nobody else holds the stream: its slot
    /// is to be freed then.
    #[inline]
    pub(super) fn take_answer(&mut self) -> Option<(Message, u32)> {
        let recv = &mut self.recv;
        let is_over = self.sent_last && self.got_last && self.writers == 0 && matches!(recv.outcome, Some(Ok(())));
        let is_all = recv.withheld == 0 && recv.rest.as_ref().is_none_or(|rest| rest.is_empty());
        match recv.first.take_if(|first| is_over && is_all && matches!(first, Waiting::One(Arrival::Item(_), _)))? {
            Waiting::One(Arrival::Item(message), spent) => Some((message, spent)),
            _ => None,
        }
    }

    pub(super) fn is_unheld(&self) -> bool {
        !self.reader && self.writers == 0
    }
}

/// `field.take()` for what is mostly empty: looks before it writes.
#[inline]
fn empty<T>(field: &mut Option<T>) {
    if field.is_some() {
        *field = None;
    }
}

impl Receiving {
    /// `feeds` is the link's count of reads.
    #[inline]
    pub(super) fn push(&mut self, waiting: Waiting, feeds: u32) {
        if !self.is_empty() {
            self.rest.get_or_insert_default().push_back(waiting);
            return;
        }
        self.since = feeds;
        self.first = Some(waiting);
    }

    /// The first arrival and what it had cost.
    pub(super) fn pop(&mut self) -> Option<(Arrival, u32)> {
        let (arrival, cost, rest) = self.take_first()?;
        self.first = rest.map(Waiting::Run);
        Some((arrival, cost))
    }

    /// The first arrival, what it had cost, and the rest of its run.
    #[inline]
    fn take_first(&mut self) -> Option<(Arrival, u32, Option<Run>)> {
        match self.first.take().or_else(|| self.rest.as_mut()?.pop_front())? {
            Waiting::One(arrival, cost) => Some((arrival, cost, None)),
            Waiting::Run(run) => {
                let mut run = Some(run);
                let item = Run::pop(&mut run)?;
                let cost = Run::cost_of(&item);
                Some((Arrival::Item(Message::new(item)), cost, run))
            }
        }
    }

    /// The first arrival and what it had cost. What is behind an item goes to `queue`, which is empty.
    #[inline]
    pub(super) fn take_all(&mut self, queue: &mut Arrivals) -> Option<(Arrival, u32)> {
        let (first, cost, run) = self.take_first()?;
        if matches!(first, Arrival::Item(_)) && self.rest.as_ref().is_some_and(|rest| !rest.is_empty()) {
            queue.swap(&mut self.rest);
        }
        queue.continue_run(run);
        Some((first, cost))
    }

    /// For how many of the link's reads something has waited here.
    pub(super) fn waits_for(&self, feeds: u32) -> u32 {
        if self.is_empty() { 0 } else { feeds.wrapping_sub(self.since) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    /// Drops what nobody read, and says what it had cost.
    #[inline]
    pub(super) fn discard(&mut self) -> u32 {
        if self.first.is_none() && self.rest.is_none() {
            return 0;
        }
        let first = self.first.take().map_or(0, |first| first.cost());
        first + self.rest.take().map_or(0, |rest| rest.iter().map(Waiting::cost).sum())
    }
}
