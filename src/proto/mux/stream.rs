// SPDX-License-Identifier: Apache-2.0
//! One stream's slot.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Purpose;
use crate::error::{Error, PeerError};
use crate::message::{ControlMessage, Headers, Subject};
use crate::proto::frame::StreamId;
use crate::proto::open::Open;
use crate::stream::Event;

/// Everything about one stream. Two halves: what we receive and what we send.
pub(super) struct Stream {
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
    first: Option<(Event, u32)>,
    rest: VecDeque<(Event, u32)>,
    /// How it ends after what is queued.
    pub(super) outcome: Option<Result<(), Error>>,
    /// Whatever still arrives is dropped.
    pub(super) discard: bool,
    pub(super) partial: Option<Partial>,
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
    /// Frames of data that wait for credit: flags, header block, body.
    pub(super) backlog: VecDeque<(u8, Bytes, Bytes)>,
    /// The end that waits behind the backlog.
    pub(super) last: Option<Result<(), PeerError>>,
    /// No more may be pushed.
    pub(super) ended: bool,
    /// The mux's list of streams to resume names this one.
    pub(super) queued: bool,
    /// The position of the opening frame in the link's output.
    pub(super) opened_at: u64,
    /// The position behind the last frame.
    pub(super) sent_to: u64,
    pub(super) waiter: Option<Waker>,
}

impl Stream {
    pub(super) fn new(id: StreamId, purpose: Purpose, send_credit: u32, recv_credit: u32) -> Self {
        Self {
            id,
            purpose,
            sent_last: false,
            sent_reset: false,
            got_last: false,
            reader: false,
            writers: 0,
            unclaimed: false,
            recv: Receiving {
                first: None,
                rest: VecDeque::new(),
                outcome: None,
                discard: false,
                partial: None,
                withheld: 0,
                owed: 0,
                credit: recv_credit.into(),
                waiter: None,
            },
            send: Sending {
                credit: send_credit.into(),
                backlog: VecDeque::new(),
                last: None,
                ended: false,
                queued: false,
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

    pub(super) fn is_unheld(&self) -> bool {
        !self.reader && self.writers == 0
    }
}

impl Receiving {
    pub(super) fn push(&mut self, event: Event, cost: u32) {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some((event, cost));
        } else {
            self.rest.push_back((event, cost));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Event, u32)> {
        self.first.take().or_else(|| self.rest.pop_front())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }
}
