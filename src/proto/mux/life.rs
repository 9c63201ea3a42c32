// SPDX-License-Identifier: Apache-2.0
//! How streams and the link come to their ends: claimed or refused, overdue, cancelled, drained, lost.

use std::time::Instant;

use bytes::Bytes;

use super::streams::is_ours;
use super::{Key, Mux, Purpose};
use crate::error::{Detail, Error, PeerError, Retry};
use crate::message::ControlMessage;
use crate::proto::frame::{Kind, LINK};
use crate::proto::open;

/// What a ping after GOAWAY carries, so that its pong is told from others.
pub(super) const LAST_CALL: &[u8; 8] = b"lastcall";

impl Mux {
    /// Takes an incoming answer, whose stream has had a reader since it came in.
    pub fn claim(&mut self, key: Key, deadline: Option<Instant>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.unclaimed = false;
        if stream.got_last {
            self.confirm(key);
            self.free_if_done(key);
        }
        self.set_deadline(key, deadline);
    }

    /// Turns a stream down that nobody has taken yet.
    pub fn refuse(&mut self, key: Key, error: &PeerError) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.unclaimed = false;
        stream.reader = false;
        stream.recv.discard = true;
        self.drop_partial(key);
        self.reset(key, Some(error));
        self.free_if_done(key);
    }

    /// Our last word on an answer that came in whole: its opener's number is free.
    pub(super) fn confirm(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !std::mem::replace(&mut stream.sent_last, true) {
            let id = stream.id;
            self.out.frame(Kind::End, 0, id, |_| {}, Bytes::new());
        }
    }

    /// Gives the stream up, unless our last frame is out: what waits to be sent is forgotten.
    pub(super) fn reset(&mut self, key: Key, error: Option<&PeerError>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.send.backlog = None;
        if !std::mem::replace(&mut stream.sent_last, true) {
            stream.sent_reset = true;
            let id = stream.id;
            self.write_reset(id, error);
        }
    }

    /// Fails the stream's reader once `deadline` has passed.
    pub fn set_deadline(&mut self, key: Key, deadline: Option<Instant>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.deadline = deadline;
        deadline.into_iter().for_each(|deadline| self.expect_deadline(deadline));
    }

    /// A stream has this deadline.
    #[inline]
    pub(super) fn expect_deadline(&mut self, deadline: Instant) {
        self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
    }

    /// When [`Mux::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.dead.is_some() {
            return None;
        }
        let silent = self.last_heard + self.limits.silence_limit();
        let ping = self.quiet_since() + self.limits.heartbeat_interval();
        let heartbeat = silent.min(ping);
        Some(self.next_deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat)))
    }

    /// Whether [`Mux::poll_timeout`], which was not before `set`, is so now, or is no more. Only a deadline or the link's
    /// end does that: what the heartbeat asks for only moves away until bytes come in again.
    #[inline]
    pub(crate) fn is_due_before(&self, set: Option<Instant>) -> bool {
        match set {
            Some(set) => self.dead.is_some() || self.next_deadline.is_some_and(|deadline| deadline < set),
            None => self.dead.is_none(),
        }
    }

    /// Fails what is overdue, pings a silent peer, gives up on a dead one.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.dead.is_some() {
            return;
        }
        let silent_for = now.saturating_duration_since(self.last_heard);
        if silent_for >= self.limits.silence_limit() {
            let error = Error::closed(format!("the peer was silent for {} s", silent_for.as_secs_f32().round()))
                .with_detail(Detail::PeerTimeout { silent_for })
                .with_hint("the peer hangs or the network drops packets");
            self.fail(error);
            return;
        }
        if now.saturating_duration_since(self.quiet_since()) >= self.limits.heartbeat_interval() {
            self.ping(now);
        }
        if self.next_deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
    }

    fn quiet_since(&self) -> Instant {
        self.last_ping.map_or(self.last_heard, |ping| ping.max(self.last_heard))
    }

    /// Sends a ping; any byte from the peer is its answer.
    pub fn ping(&mut self, now: Instant) {
        self.last_ping = Some(now);
        self.out.frame(Kind::Ping, 0, LINK, |_| {}, Bytes::from_static(&[0; 8]));
    }

    fn expire(&mut self, now: Instant) {
        let mut next = None;
        let mut overdue = Vec::new();
        for (key, stream) in self.streams.iter() {
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
    pub(super) fn give_up(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.recv.outcome.get_or_insert(Err(error));
        stream.recv.discard = true;
        self.after.wakers.extend(stream.recv.waiter.take());
        self.cancel(key);
    }

    /// Tells the peer that the answer is no longer wanted.
    pub(super) fn cancel(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.got_last || stream.sent_reset {
            return;
        }
        // Even after our own last frame: the request is complete, its answer is what is given up.
        stream.sent_last = false;
        self.reset(key, None);
        self.stop_writers(key, ControlMessage::Kill);
    }

    /// Frees the slot once the wire and all holders are done with it.
    pub(super) fn free_if_done(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.is_settled() {
            return;
        }
        if stream.is_unheld() {
            self.free(key);
        } else if !is_ours(key) {
            // From here on the peer may use the number again, even while our own holders still read.
            let number = stream.id.slot();
            self.streams.release_number(number, key);
        }
    }

    /// Frees the slot of a stream with which everyone is done.
    #[inline]
    pub(super) fn free(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.recv.partial.is_some() {
            return self.free_with_partial(key);
        }
        if let Some(attachment) = stream.attachment.take() {
            self.after.dropped.push_back(attachment);
        }
        let unread = stream.recv.discard() + stream.recv.withheld;
        let number = stream.id.slot();
        if !is_ours(key) {
            self.streams.release_number(number, key);
        }
        self.streams.vacate(key);
        if unread > 0 {
            self.give_back_to_link(unread);
        }
    }

    #[cold]
    fn free_with_partial(&mut self, key: Key) {
        self.drop_partial(key);
        self.free(key);
    }

    /// Refuses new streams from now on and tells the peer; those that run go on. `reason` is what a request that crosses
    /// the GOAWAY is told, as far as it is one that makes trying elsewhere safe.
    pub fn go_away(&mut self, reason: &PeerError) {
        if self.farewell.is_some() || self.dead.is_some() {
            return;
        }
        let closing = || PeerError::from(Error::overloaded("this end of the link is closing").with_retry(Retry::Safe));
        let told = if reason.is_unstarted() { reason.clone() } else { closing() };
        self.farewell = Some(Box::new(told));
        self.out.frame(Kind::GoAway, 0, LINK, |out| open::encode_error(reason, out), Bytes::new());
        self.out.frame(Kind::Ping, 0, LINK, |_| {}, Bytes::from_static(LAST_CALL));
    }

    /// The link is gone: every stream ends, once, with `error` or as cut off.
    pub fn fail(&mut self, error: Error) {
        if self.dead.is_some() {
            return;
        }
        let error = match &self.refused {
            // A peer that said why before it left.
            Some(reason) => error.with_context("the peer's reason", reason),
            None => error,
        };
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
            stream.send.backlog = None;
            self.after.wakers.extend(stream.recv.waiter.take());
            self.stop_writers(key, ControlMessage::Kill);
            self.free_if_done(key);
        }
        self.incoming.clear();
        self.out.clear();
        self.dead = Some(error);
    }
}
