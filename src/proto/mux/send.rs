// SPDX-License-Identifier: Apache-2.0
//! The half of a stream that we send.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};

use super::stream::Stream;
use super::{Key, Mux, cost, wait};
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message};
use crate::proto::frame::{FIN, HEADERS, INBOUND, Kind, MORE, StreamId};
use crate::proto::open;
use crate::proto::prologue::Prologue;
use crate::stream::Unended;

/// Bytes of a body in one frame. Larger bodies go in parts, so that neighbours get their turn.
const PART: usize = 128 << 10;

impl Mux {
    /// Ready when [`Mux::push`] would send at once.
    pub fn poll_ready(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(Err(gone())) };
        if let Err(error) = stream.may_push() {
            return Poll::Ready(Err(error));
        }
        let has_room = !self.out.is_full() && self.link_credit > 0;
        if stream.send.backlog.is_none() && !stream.send.is_lent && stream.send.credit > 0 && has_room {
            return Poll::Ready(Ok(()));
        }
        wait(&mut stream.send.waiter, cx);
        if stream.send.credit > 0 && !stream.send.queued {
            // The stream has credit, so no WINDOW for it will come: the link must remember it.
            stream.send.queued = true;
            self.resume.push_back(key);
        }
        Poll::Pending
    }

    /// Sends what most items are: bytes that go out whole, since there is room and credit. Otherwise nothing is done. What
    /// is left of the item may be dropped.
    #[inline]
    pub(crate) fn push_plain(&mut self, key: Key, message: &mut Message) -> bool {
        let Message { headers, body } = message;
        let len = body.len();
        if !headers.is_empty() || len > self.largest_plain as usize || self.out.is_full() {
            return false;
        }
        let Some(stream) = self.streams.get_mut(key) else { return false };
        let spent = i64::from(cost(len));
        if !stream.is_open_to_send() || spent > stream.send.credit.min(self.link_credit) {
            return false;
        }
        self.out.item(stream.id, body);
        stream.send.sent_to = self.out.position();
        stream.send.credit -= spent;
        self.link_credit -= spent;
        true
    }

    /// Sends an item, or queues what there is no credit for.
    pub fn push(&mut self, key: Key, message: Message) -> Result<()> {
        self.push_with(key, 0, |_| {}, message)
    }

    /// Sends a notification on account of the stream.
    pub fn push_notification(&mut self, key: Key, subject: &crate::message::Subject, message: Message) -> Result<()> {
        self.push_with(key, INBOUND, |out| open::encode_subject(subject, out), message)
    }

    fn push_with(&mut self, key: Key, mut flags: u8, head: impl FnOnce(&mut Vec<u8>), message: Message) -> Result<()> {
        self.check_size("an item", &message)?;
        let part = self.part();
        let room = !self.out.is_full() && self.link_credit > 0;
        let Some(stream) = self.streams.get_mut(key) else { return Err(gone()) };
        stream.may_push()?;
        let Message { headers, body } = message;
        let head = |out: &mut Vec<u8>| {
            head(out);
            if !headers.is_empty() {
                open::encode_headers(&headers, out);
            }
        };
        flags |= if headers.is_empty() { 0 } else { HEADERS };
        let credit = stream.send.credit.min(self.link_credit);
        let fits = body.len() <= part && (body.is_empty() || i64::from(cost(body.len())) <= credit);
        if fits && room && credit > 0 && stream.send.backlog.is_none() && !stream.send.is_lent {
            let before = self.out.frame(Kind::Data, flags, stream.id, head, body);
            stream.send.sent_to = self.out.position();
            let spent = i64::try_from(stream.send.sent_to - before).unwrap_or(i64::MAX);
            stream.send.credit -= spent;
            self.link_credit -= spent;
            return Ok(());
        }
        let mut block = Vec::new();
        head(&mut block);
        self.queue_parts(key, block.into(), flags, body);
        self.resume_senders();
        Ok(())
    }

    pub(super) fn queue_parts(&mut self, key: Key, mut block: Bytes, flags: u8, mut body: Bytes) {
        let part = self.part();
        let Some(stream) = self.streams.get_mut(key) else { return };
        let mut flags = flags;
        let backlog = stream.send.backlog.get_or_insert_default();
        loop {
            let piece = body.split_to(body.len().min(part));
            let more = if body.is_empty() { 0 } else { MORE };
            backlog.frames.push_back((flags | more, std::mem::take(&mut block), piece));
            // The block and what announces it stand in the first part only.
            flags = 0;
            if more == 0 {
                break;
            }
        }
        if !stream.send.queued {
            stream.send.queued = true;
            self.resume.push_back(key);
        }
    }

    /// The stream's end: after the backlog, then nothing may be pushed. Only the first call counts.
    pub fn end(&mut self, key: Key, outcome: Result<(), PeerError>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.send.ended {
            return;
        }
        stream.send.ended = true;
        if stream.sent_last {
            return;
        }
        if stream.send.is_lent {
            stream.send.backlog.get_or_insert_default();
        }
        if let Some(backlog) = &mut stream.send.backlog {
            backlog.last = Some(outcome);
            return;
        }
        self.finish(key, &outcome);
    }

    /// The end goes out: nothing is left before it.
    pub(super) fn finish(&mut self, key: Key, outcome: &Result<(), PeerError>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.sent_last = true;
        if outcome.is_err() || !self.out.finish(stream.send.sent_to) {
            let id = stream.id;
            self.write_end(id, outcome);
        }
        self.free_if_done(key);
    }

    /// Says something beside the items.
    pub fn control(&mut self, key: Key, message: ControlMessage) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.got_last && !stream.sent_reset && stream.may_speak() {
            let byte = match message {
                ControlMessage::Stop => 1,
                ControlMessage::Kill => 2,
            };
            self.out.frame(Kind::Control, 0, stream.id, |out| out.put_u8(byte), Bytes::new());
        }
    }

    /// Ready when the peer wants no more.
    pub fn poll_stopped(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(ControlMessage::Kill) };
        match stream.stopped {
            Some(message) => Poll::Ready(message),
            None => {
                wait(&mut stream.stop_waiter, cx);
                Poll::Pending
            }
        }
    }

    /// Ready when the peer is gone or wants the handler dropped.
    pub fn poll_killed(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(()) };
        if stream.stopped == Some(ControlMessage::Kill) {
            return Poll::Ready(());
        }
        wait(&mut stream.kill_waiter, cx);
        Poll::Pending
    }

    /// Adds a holder of the sending half.
    pub fn retain_writer(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.writers += 1;
        }
    }

    /// Takes a holder of the sending half away. Whether it was the last one, and nothing more will be said on the stream.
    pub fn release_writer(&mut self, key: Key, unended: Unended) -> bool {
        self.release_writers(key, 1, unended)
    }

    /// The handler of a request is done: so ends its answer, if that has no end yet, once `holders` less hold it. Returns
    /// what [`Mux::release_writer`] does.
    pub fn settle(&mut self, key: Key, outcome: Result<(), PeerError>, holders: u8) -> bool {
        match outcome {
            Ok(()) => self.release_writers(key, holders, Unended::Close),
            Err(error) => {
                self.end(key, Err(error));
                self.release_writers(key, holders, Unended::Abandon)
            }
        }
    }

    fn release_writers(&mut self, key: Key, holders: u8, unended: Unended) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return false };
        stream.writers = stream.writers.saturating_sub(holders);
        let was_last = stream.writers == 0;
        if was_last {
            if stream.send.ended || stream.sent_last {
                self.free_if_done(key);
            } else {
                // Which frees it, if that is all.
                self.end(key, unended.outcome());
            }
        }
        was_last
    }

    /// Whether everything that was pushed on the stream was handed to the system.
    pub fn is_stream_flushed(&self, key: Key) -> bool {
        let flushed = |stream: &Stream| {
            stream.send.backlog.is_none() && !stream.send.is_lent && self.out.has_written_to(stream.send.sent_to)
        };
        self.streams.get(key).is_none_or(flushed)
    }

    pub(super) fn stop_writers(&mut self, key: Key, message: ControlMessage) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.stopped = stream.stopped.max(Some(message));
        self.after.wakers.extend(stream.stop_waiter.take());
        if message == ControlMessage::Kill {
            self.after.wakers.extend(stream.kill_waiter.take());
            self.after.wakers.extend(stream.send.waiter.take());
        }
    }

    /// Goes on where room or credit was missing, one part per stream and turn.
    pub(super) fn resume_senders(&mut self) {
        while !self.out.is_full() && self.link_credit > 0 {
            let Some(key) = self.resume.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.send.queued = false;
            if stream.send.is_lent {
                // Who has the parcel brings it back before long, and puts the stream back here.
                continue;
            }
            let Some(backlog) = &mut stream.send.backlog else {
                self.after.wakers.extend(stream.send.waiter.take());
                continue;
            };
            if stream.send.credit <= 0 {
                // A WINDOW puts it back.
                continue;
            }
            let Some((mut flags, block, mut body)) = backlog.frames.pop_front() else { continue };
            // A body never goes beyond the credit, so that stalled readers never take more of the link than their windows.
            let credit = stream.send.credit.min(self.link_credit);
            let room = usize::try_from(credit - i64::from(cost(block.len()))).unwrap_or(0).max(1);
            if body.len() > room {
                let rest = body.split_off(room);
                backlog.frames.push_front((flags & MORE, Bytes::new(), rest));
                flags |= MORE;
            }
            let is_last = backlog.frames.is_empty() && matches!(backlog.last, Some(Ok(())));
            if is_last {
                // One frame fewer, and the receiver of a request sees at once that no items follow.
                flags |= FIN;
                backlog.last = None;
                stream.sent_last = true;
            }
            let is_behind = !backlog.frames.is_empty();
            let spent = i64::from(cost(block.len() + body.len()));
            self.out.frame(Kind::Data, flags, stream.id, |out| out.extend_from_slice(&block), body);
            stream.send.sent_to = self.out.position();
            stream.send.credit -= spent;
            self.link_credit -= spent;
            if is_behind {
                stream.send.queued = true;
                self.resume.push_back(key);
                continue;
            }
            self.after.wakers.extend(stream.send.waiter.take());
            if let Some(outcome) = stream.send.backlog.take().and_then(|backlog| backlog.last) {
                stream.sent_last = true;
                let id = stream.id;
                self.write_end(id, &outcome);
            }
            self.free_if_done(key);
        }
    }

    /// Credit came for a stream.
    pub(super) fn add_credit(&mut self, key: Key, bytes: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.send.credit = stream.send.credit.saturating_add(bytes.into());
        if stream.send.credit > 0
            && (stream.send.waiter.is_some() || stream.send.backlog.is_some())
            && !stream.send.queued
        {
            stream.send.queued = true;
            self.resume.push_back(key);
        }
        self.resume_senders();
    }

    fn write_end(&mut self, id: StreamId, outcome: &Result<(), PeerError>) {
        let head = |out: &mut Vec<u8>| {
            if let Err(error) = outcome {
                open::encode_error(error, out);
            }
        };
        self.out.frame(Kind::End, 0, id, head, Bytes::new());
    }

    pub(super) fn write_reset(&mut self, id: StreamId, error: Option<&PeerError>) {
        let head = |out: &mut Vec<u8>| {
            if let Some(error) = error {
                open::encode_error(error, out);
            }
        };
        self.out.frame(Kind::Reset, 0, id, head, Bytes::new());
    }

    pub(super) fn part(&self) -> usize {
        part(&self.theirs)
    }
}

/// Bytes of a body in one frame to `peer`.
pub(super) fn part(peer: &Prologue) -> usize {
    // The rest of the peer's largest frame is for what precedes a body.
    PART.min(peer.max_frame as usize / 2)
}

impl Stream {
    /// Nothing stands against sending: an end of either half, or what waits to be sent before.
    #[inline]
    pub(super) fn is_open_to_send(&self) -> bool {
        let has_before = self.send.backlog.is_some() || self.send.is_lent;
        !self.send.ended && !has_before && self.is_wanted()
    }

    /// The peer still reads what goes out, and it may go out.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        !self.sent_last
            && !self.sent_reset
            && self.stopped != Some(ControlMessage::Kill)
            && !matches!(self.recv.outcome, Some(Err(_)))
    }

    fn may_push(&self) -> Result<()> {
        if let Some(Err(error)) = &self.recv.outcome
            && !self.is_asking()
        {
            return Err(error.duplicate());
        }
        if self.stopped == Some(ControlMessage::Kill) || self.sent_reset {
            return Err(Error::cancelled("the peer wants no further item"));
        }
        if self.send.ended || self.sent_last {
            return Err(Error::closed("this stream has been ended"));
        }
        Ok(())
    }
}

fn gone() -> Error {
    Error::closed("this stream is over")
}
