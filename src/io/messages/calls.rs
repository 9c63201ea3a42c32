// SPDX-License-Identifier: Apache-2.0
//! Requests that went out, and what has come for each.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;

use super::peer::Peer;
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message, Subject};
use crate::proto::jsonrpc::ids;
use crate::stream::{Event, Source};

/// What may wait for one reader: messages, and their bytes.
const MAX_BEHIND: (usize, usize) = (1024, 16 << 20);

/// The lower bits of a key are a slot, the others a serial number: a late answer never meets the next user of its slot.
/// Keys are ids on the wire, so they stay within the 53 bits that every peer can read.
const SLOT_BITS: u32 = 20;
const SERIALS: u64 = 1 << 32;

#[derive(Default)]
pub(super) struct Calls {
    slots: Slab<Call>,
    serial: u64,
    /// Not later than the earliest deadline of a call that is open.
    earliest: Option<Instant>,
}

struct Call {
    key: u64,
    method: Method,
    token: Option<Bytes>,
    deadline: Option<Instant>,
    events: VecDeque<Event>,
    bytes: usize,
    /// Behind the events.
    answer: Option<Message>,
    /// Behind the answer.
    outcome: Option<Result<()>>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Initialize,
    Listen,
    Other,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none waits for its answer. One may still be read.
    pub(super) fn are_over(&self) -> bool {
        self.slots.iter().all(|(_, call)| call.outcome.is_some())
    }

    /// `reader` is who waits for it already.
    pub(super) fn begin(
        &mut self,
        method: &Subject,
        token: Option<Bytes>,
        deadline: Option<Instant>,
        reader: Option<&Waker>,
    ) -> u64 {
        self.serial = (self.serial + 1) % SERIALS;
        let entry = self.slots.vacant_entry();
        let key = (self.serial << SLOT_BITS) | entry.key() as u64;
        let method = match method.as_str() {
            ids::INITIALIZE => Method::Initialize,
            ids::LISTEN => Method::Listen,
            _ => Method::Other,
        };
        let events = VecDeque::new();
        let (answer, outcome, reader) = (None, None, reader.cloned());
        entry.insert(Call { key, method, token, deadline, events, bytes: 0, answer, outcome, reader });
        self.earliest = [self.earliest, deadline].into_iter().flatten().min();
        key
    }

    fn get(&mut self, key: u64) -> Option<&mut Call> {
        self.slots.get_mut((key & ((1 << SLOT_BITS) - 1)) as usize).filter(|call| call.key == key)
    }

    fn open(&mut self, key: u64) -> Option<&mut Call> {
        self.get(key).filter(|call| call.outcome.is_none())
    }

    pub(super) fn token(&mut self, key: u64) -> Option<Bytes> {
        self.open(key)?.token.clone()
    }

    pub(super) fn is_listening(&mut self, key: u64) -> bool {
        self.open(key).is_some_and(|call| call.method == Method::Listen)
    }

    /// The one call that waits for an answer, if there is just one; streams of notifications do not count.
    pub(super) fn only_open(&self) -> Option<u64> {
        let open = self.slots.iter().map(|(_, call)| call);
        let mut open = open.filter(|call| call.outcome.is_none() && call.method == Method::Other);
        open.next().filter(|_| open.next().is_none()).map(|call| call.key)
    }

    /// The protocol forbids giving up the request that opens a session.
    pub(super) fn can_be_cancelled(&mut self, key: u64) -> bool {
        self.open(key).is_some_and(|call| call.method != Method::Initialize)
    }

    pub(super) fn answer(&mut self, key: u64, outcome: Result<Message, PeerError>) -> Option<Waker> {
        let call = self.open(key)?;
        match outcome {
            Ok(result) => {
                call.answer = Some(result);
                call.outcome = Some(Ok(()));
            }
            Err(error) => call.outcome = Some(Err(Error::from(error))),
        }
        call.reader.take()
    }

    pub(super) fn event(&mut self, key: u64, inbound: Inbound) -> Option<Waker> {
        let call = self.open(key)?;
        call.bytes += match &inbound {
            Inbound::Notification(_, message) => message.size(),
            Inbound::Request(request, _) => request.message.size(),
        };
        call.events.push_back(Event::Inbound(inbound));
        if call.events.len() > MAX_BEHIND.0 || call.bytes > MAX_BEHIND.1 {
            call.outcome = Some(Err(Error::overloaded(format!(
                "the answer's reader is {} messages behind, which is more than can wait for it",
                call.events.len()
            ))));
        }
        call.reader.take()
    }

    /// The peer itself ended a stream of notifications.
    pub(super) fn cancelled(&mut self, key: u64) -> Option<Waker> {
        let call = self.open(key).filter(|call| call.method == Method::Listen)?;
        call.outcome = Some(Err(Error::closed("the peer ended the subscription")));
        call.reader.take()
    }

    /// `None` if there is no such call.
    pub(super) fn fail(&mut self, key: u64, error: Error) -> Option<Option<Waker>> {
        let call = self.open(key)?;
        call.outcome = Some(Err(error));
        Some(call.reader.take())
    }

    pub(super) fn fail_all(&mut self, error: &Error) -> Vec<Waker> {
        let open = self.slots.iter_mut().map(|(_, call)| call).filter(|call| call.outcome.is_none());
        open.filter_map(|call| {
            call.outcome = Some(Err(error.duplicate()));
            call.reader.take()
        })
        .collect()
    }

    pub(super) fn late(&mut self, now: Instant) -> Vec<u64> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let open = || self.slots.iter().map(|(_, call)| call).filter(|call| call.outcome.is_none());
        let is_late = |call: &&Call| call.deadline.is_some_and(|deadline| deadline <= now);
        let late = open().filter(is_late).map(|call| call.key).collect();
        self.earliest = open().filter(|call| !is_late(call)).filter_map(|call| call.deadline).min();
        late
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    pub(super) fn poll_next(&mut self, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let Some(call) = self.get(key) else { return Poll::Ready(None) };
        if let Some(event) = call.events.pop_front() {
            if let Event::Inbound(Inbound::Notification(_, message)) = &event {
                call.bytes = call.bytes.saturating_sub(message.size());
            }
            return Poll::Ready(Some(Ok(event)));
        }
        if let Some(answer) = call.answer.take() {
            return Poll::Ready(Some(Ok(Event::Item(answer))));
        }
        match &mut call.outcome {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.duplicate()))),
            None => {
                match &mut call.reader {
                    Some(reader) => reader.clone_from(cx.waker()),
                    reader => *reader = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// Whether the peer is still at work on it, and is to be told; and what was not read, to be dropped outside the lock.
    pub(super) fn forget(&mut self, key: u64) -> (bool, VecDeque<Event>) {
        let Some(call) = self.get(key) else { return (false, VecDeque::new()) };
        let tell = call.outcome.is_none() && call.method != Method::Initialize;
        let events = std::mem::take(&mut call.events);
        self.slots.remove((key & ((1 << SLOT_BITS) - 1)) as usize);
        (tell, events)
    }
}

impl Source for Peer {
    fn poll_next(&self, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.state().calls.poll_next(key, cx)
    }

    fn control(&self, key: u64, message: ControlMessage) {
        let waker = self.with(|state| state.control(key, message));
        waker.into_iter().for_each(Waker::wake);
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        self.receive_later(inbound);
    }

    fn release(&self, key: u64) {
        let unread = self.with(|state| {
            let (tell, unread) = state.calls.forget(key);
            if tell {
                state.tell_cancelled(key, "the caller gave up");
            }
            unread
        });
        drop(unread);
    }
}
