// SPDX-License-Identifier: Apache-2.0
//! A bounded answer within the process, for transports whose streams are no slots of a multiplexed link.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use super::{Ends, Event, ResponseSender, ResponseStream, Sink, Source, Unended};
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message};

/// Two connected ends with `credit` bytes between them; one item of any size up to `max_item` is taken while credit lasts.
pub fn pipe(credit: usize, max_item: usize) -> (ResponseSender, ResponseStream) {
    let state = State { credit, ends: Ends::new(1), ..State::default() };
    let pipe = Arc::new(Pipe { max_item, state: Mutex::new(state) });
    (ResponseSender::new(pipe.clone(), 0), ResponseStream::new(pipe, 0))
}

struct Pipe {
    max_item: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    credit: usize,
    used: usize,
    ends: Ends,
    reader: Option<Waker>,
}

/// An event in the queue. The usual one is small, since it is moved there and back.
enum Waiting {
    Item(Message),
    Inbound(Box<Inbound>),
}

impl Waiting {
    /// What it counts against credit. A constant stands for its place in the queue, so that empty items are bounded too.
    fn cost(&self) -> usize {
        64 + match self {
            Self::Item(message) => message.size(),
            Self::Inbound(_) => 0,
        }
    }
}

impl State {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.ends.poll_ready(self.used < self.credit, cx)
    }

    /// Whom to wake.
    fn put(&mut self, waiting: Waiting) -> Option<Waker> {
        self.used += waiting.cost();
        if self.queue.capacity() == 0 {
            // Most answers never have two events waiting; a queue left to itself begins with four places.
            self.queue.reserve_exact(1);
        }
        self.queue.push_back(waiting);
        self.reader.take()
    }
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn check_size(&self, item: &Message) -> Result<()> {
        if item.size() > self.max_item {
            return Err(Error::too_large("an item", self.max_item as u64, item.size() as u64));
        }
        Ok(())
    }

    fn stop(&self, message: ControlMessage) {
        let wakers = self.state().ends.stop(message);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Source for Pipe {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.state();
        if let Some(waiting) = state.queue.pop_front() {
            state.used -= waiting.cost();
            let writer = if state.used < state.credit { state.ends.take_writer() } else { None };
            drop(state);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(match waiting {
                Waiting::Item(item) => Event::Item(item),
                Waiting::Inbound(inbound) => Event::Inbound(*inbound),
            })));
        }
        match state.ends.outcome() {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(Error::from(PeerError::clone(error))))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        self.stop(message);
    }

    fn release(&self, _key: u64) {
        self.state().queue.clear();
        self.stop(ControlMessage::Kill);
    }
}

impl Sink for Pipe {
    fn poll_ready(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.state().poll_ready(cx)
    }

    fn poll_send(&self, _key: u64, item: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        std::task::ready!(state.poll_ready(cx))?;
        let Some(item) = item.take() else { return Poll::Ready(Ok(())) };
        self.check_size(&item)?;
        let reader = state.put(Waiting::Item(item));
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }

    fn push(&self, _key: u64, event: Event) -> Result<()> {
        let waiting = match event {
            Event::Item(item) => {
                self.check_size(&item)?;
                Waiting::Item(item)
            }
            Event::Inbound(inbound) => Waiting::Inbound(Box::new(inbound)),
        };
        let mut state = self.state();
        state.ends.check_wanted()?;
        let reader = state.put(waiting);
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn control(&self, _key: u64, _message: ControlMessage) -> Result<()> {
        // `Stop` from a responder announces the end, which `end` brings.
        Ok(())
    }

    fn end(&self, _key: u64, outcome: Result<(), PeerError>) {
        let mut state = self.state();
        state.ends.end(outcome);
        let reader = state.reader.take();
        drop(state);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_then_a_clean_end() {
        let (sender, mut stream) = pipe(1024, 100);
        sender.send("a").await.unwrap();
        sender.send("b").await.unwrap();
        sender.close();
        assert_eq!(stream.next().await.unwrap().unwrap(), Message::new("a"));
        assert_eq!(stream.next().await.unwrap().unwrap(), Message::new("b"));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_sender_is_no_clean_end() {
        let (sender, mut stream) = pipe(1024, 100);
        drop(sender);
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_stream_stops_the_sender() {
        let (sender, stream) = pipe(1024, 100);
        drop(stream);
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
        assert!(sender.send("x").await.is_err());
    }

    #[tokio::test]
    async fn credit_holds_the_sender_until_the_reader_reads() {
        let (sender, mut stream) = pipe(100, 1000);
        sender.send(vec![0; 200]).await.unwrap();
        let mut blocked = tokio::spawn(async move { sender.send("later").await.map(|()| sender.close()) });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), &mut blocked).await.is_err());
        assert!(stream.next().await.unwrap().is_ok());
        blocked.await.unwrap().unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn an_oversize_item_is_refused_and_the_stream_goes_on() {
        let (sender, mut stream) = pipe(100, 10);
        assert_eq!(sender.send(vec![0; 11]).await.unwrap_err().kind(), crate::ErrorKind::TooLarge);
        sender.send(vec![0; 10]).await.unwrap();
        sender.close();
        assert_eq!(stream.next().await.unwrap().unwrap().body.len(), 10);
        assert!(stream.next().await.is_none());
    }
}
