// SPDX-License-Identifier: Apache-2.0
//! An answer on its way into the body of a response: what its handler says is encoded where it is said, and waits as bytes
//! for whoever writes the body.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};

use super::live::Controlled;
use crate::config::StreamFormat;
use crate::connection::Inbound;
use crate::dispatch::DispatchLimits;
use crate::error::{Error, ErrorKind, PeerError, Result};
use crate::message::{ControlMessage, Headers, Message};
use crate::proto::body::{BodyEvent, encode, encode_item};
use crate::stream::{Ends, Event, Parcel, ResponseSender, Sink, Unended};

/// Room for a small answer and its end.
const FIRST_ROOM: usize = 512;

/// Room for an answer that turns out to be no small one.
const NEXT_ROOM: usize = 8 << 10;

/// The reader's end. Dropping it cancels the handler.
pub(super) struct Outgoing {
    outbox: Arc<Outbox>,
    over: bool,
}

impl Outgoing {
    /// The two ends of an answer in `format`.
    pub(super) fn new(format: StreamFormat, limits: &DispatchLimits) -> (ResponseSender, Self) {
        // The other half of the credit is for the chunk that is being written.
        let (credit, max_item) = (limits.credit / 2, limits.max_message_size);
        // The sender, and the supervisor that there is going to be.
        let state = State { ends: Ends::new(2), ..State::default() };
        let outbox = Arc::new(Outbox { format, credit, max_item, state: Mutex::new(state) });
        (ResponseSender::new(outbox.clone(), 0).with_spare(), Self { outbox, over: false })
    }

    /// The whole answer, if it is over already. A refusal by overload is handed back: it can still be told by a status.
    pub(super) fn whole(&mut self) -> Result<Option<Bytes>> {
        let mut state = self.outbox.state();
        if let Some(Err(error)) = state.ends.outcome()
            && state.bytes.is_empty()
            && error.kind() == ErrorKind::Overloaded
        {
            return Err(Error::from(PeerError::clone(error)));
        }
        self.over = state.finish(self.outbox.format);
        Ok(self.over.then(|| std::mem::take(&mut state.bytes).freeze()))
    }

    /// Whether the end has been given out.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What has been said since; `None` after the end.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut state = self.outbox.state();
        self.over = state.finish(self.outbox.format);
        if state.bytes.is_empty() {
            match &mut state.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                reader => *reader = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let chunk = std::mem::take(&mut state.bytes);
        let writer = state.ends.take_writer();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(chunk.freeze()))
    }
}

impl Controlled for Outgoing {
    fn control(&self, message: ControlMessage) {
        self.outbox.stop(message);
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.outbox.stop(ControlMessage::Kill);
    }
}

/// The handler's end.
struct Outbox {
    format: StreamFormat,
    /// A further item has to wait once so many bytes do.
    credit: usize,
    max_item: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: BytesMut,
    ends: Ends,
    reader: Option<Waker>,
}

impl State {
    fn poll_ready(&mut self, credit: usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.ends.poll_ready(self.bytes.len() < credit, cx)
    }

    /// Makes room for an item of `size` bytes.
    fn make_room(&mut self, size: usize) {
        // In the shortest form. One in a longer form finds its room by itself.
        let needed = size + 16;
        if self.bytes.capacity() - self.bytes.len() < needed {
            let room = if self.bytes.is_empty() { FIRST_ROOM } else { NEXT_ROOM };
            self.bytes.reserve(needed.max(room));
        }
    }

    /// Whom to wake, now that the handler ended the answer in this way, unless it had ended before.
    fn end(&mut self, outcome: Result<(), PeerError>) -> Option<Waker> {
        self.ends.end(outcome);
        self.reader.take()
    }

    /// Writes the end, if the handler came to it.
    fn finish(&mut self, format: StreamFormat) -> bool {
        let end = match self.ends.outcome() {
            None => return false,
            Some(Ok(())) => BodyEvent::Done,
            Some(Err(error)) => BodyEvent::Error(PeerError::clone(error)),
        };
        encode(format, &end, &mut self.bytes);
        true
    }
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What the reader would refuse, told by the side that can name the culprit.
    fn check(&self, message: &Message) -> Result<()> {
        if message.size() > self.max_item {
            return Err(Error::too_large("an item", self.max_item as u64, message.size() as u64));
        }
        let count = message.headers.len();
        if count > Headers::MAX_COUNT {
            return Err(Error::too_large("an item's list of headers", Headers::MAX_COUNT as u64, count as u64));
        }
        Ok(())
    }

    fn put(&self, mut state: MutexGuard<'_, State>, item: &Message) {
        state.make_room(item.body.len());
        encode_item(self.format, item, &mut state.bytes);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn stop(&self, message: ControlMessage) {
        let wakers = self.state().ends.stop(message);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Sink for Outbox {
    fn poll_ready(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.state().poll_ready(self.credit, cx)
    }

    fn poll_send(&self, _key: u64, item: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        std::task::ready!(state.poll_ready(self.credit, cx))?;
        if let Some(item) = item.take() {
            self.check(&item)?;
            self.put(state, &item);
        }
        Poll::Ready(Ok(()))
    }

    fn push(&self, _key: u64, event: Event) -> Result<()> {
        let event = match event {
            Event::Item(item) => {
                self.check(&item)?;
                let state = self.state();
                state.ends.check_wanted()?;
                self.put(state, &item);
                return Ok(());
            }
            Event::Inbound(Inbound::Notification(subject, message)) => {
                self.check(&message)?;
                BodyEvent::Notification(subject, message)
            }
            Event::Inbound(Inbound::Request(request, answer)) => {
                let error =
                    Error::unsupported(format!("an answer over http carries no requests (to {})", request.subject));
                answer.fail(error);
                return Ok(());
            }
        };
        let mut state = self.state();
        state.ends.check_wanted()?;
        encode(self.format, &event, &mut state.bytes);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn control(&self, _key: u64, _message: ControlMessage) -> Result<()> {
        // `Stop` from a responder announces the end, which `end` brings.
        Ok(())
    }

    fn end(&self, _key: u64, outcome: Result<(), PeerError>) {
        let reader = self.state().end(outcome);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll_stopped(&self, _key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        self.state().ends.poll_stopped(cx)
    }

    fn poll_killed(&self, _key: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.state().ends.poll_killed(cx)
    }

    fn retain(&self, _key: u64) {
        self.state().ends.retain();
    }

    fn release(&self, key: u64, unended: Unended) {
        let mut state = self.state();
        if state.ends.release(1) && state.ends.outcome().is_none() {
            drop(state);
            self.end(key, unended.outcome());
        }
    }

    fn settle(&self, _key: u64, _parcel: Option<&mut Parcel>, outcome: Result<(), PeerError>, holders: u8) {
        let mut state = self.state();
        let is_last = state.ends.release(holders);
        // A sender that the handler left alive elsewhere ends what went well.
        let reader = if outcome.is_err() || is_last { state.end(outcome) } else { None };
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::body::{BodyDecoder, BodyLimits};

    const LIMITS: DispatchLimits = DispatchLimits { max_in_flight: 1, max_message_size: 100, credit: 200 };

    fn taken(outgoing: &mut Outgoing) -> Vec<BodyEvent> {
        let mut decoder = BodyDecoder::new(StreamFormat::Sse, BodyLimits::for_items(100));
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(chunk)) = outgoing.poll_chunk(&mut cx) {
            decoder.push(chunk);
        }
        std::iter::from_fn(|| decoder.next_event().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_a_handler_says_waits_as_a_body() {
        let (sender, mut outgoing) = Outgoing::new(StreamFormat::Sse, &LIMITS);
        sender.send("a").await.unwrap();
        sender.send(Message::new("b").with_header("n", "v")).await.unwrap();
        let items = [Message::new("a"), Message::new("b").with_header("n", "v")].map(BodyEvent::Item);
        assert_eq!(taken(&mut outgoing), items);
        assert!(!outgoing.is_over());
        assert_eq!(sender.send(vec![0; 101]).await.unwrap_err().kind(), ErrorKind::TooLarge);
        sender.close();
        assert_eq!(taken(&mut outgoing), [BodyEvent::Done]);
        assert!(outgoing.is_over());
    }

    #[tokio::test]
    async fn a_handler_waits_for_its_reader_and_is_cancelled_with_it() {
        let (sender, mut outgoing) = Outgoing::new(StreamFormat::Sse, &LIMITS);
        sender.send(vec![b'a'; 100]).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sender.poll_ready(&mut cx).is_pending());
        assert_eq!(taken(&mut outgoing).len(), 1);
        assert!(sender.poll_ready(&mut cx).is_ready());
        outgoing.control(ControlMessage::Stop);
        assert_eq!(sender.stopped().await, ControlMessage::Stop);
        sender.send("the last").await.unwrap();
        drop(outgoing);
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
        assert!(sender.send("x").await.is_err());
    }

    #[tokio::test]
    async fn an_answer_ends_as_its_holders_say() {
        let (sender, mut outgoing) = Outgoing::new(StreamFormat::Sse, &LIMITS);
        drop(sender);
        assert!(matches!(&taken(&mut outgoing)[..], [BodyEvent::Error(_)]), "dropped without an end");

        let (mut sender, mut outgoing) = Outgoing::new(StreamFormat::Sse, &LIMITS);
        sender.supervise().settle(Ok(()));
        assert!(taken(&mut outgoing).is_empty(), "its sender lives on");
        sender.send("later").await.unwrap();
        sender.close();
        assert_eq!(taken(&mut outgoing), [BodyEvent::Item(Message::new("later")), BodyEvent::Done]);
    }

    #[tokio::test]
    async fn a_refusal_by_overload_is_handed_back() {
        let (sender, mut outgoing) = Outgoing::new(StreamFormat::Sse, &LIMITS);
        sender.refuse(Error::overloaded("full"));
        assert_eq!(outgoing.whole().unwrap_err().kind(), ErrorKind::Overloaded);
    }
}
