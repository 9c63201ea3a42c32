// SPDX-License-Identifier: Apache-2.0
//! What a stream's reader takes, and the credit that the peer gets back for it.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{BufMut, Bytes};

use super::{Key, Mux, wait};
use crate::error::Result;
use crate::proto::frame::{Kind, LINK};
use crate::stream::{Arrival, Arrivals, Event};

/// The first that a reader takes, and when the last of it had come if the stream ends cleanly with what was taken.
type Taken = (Arrival, Option<Instant>);

impl Mux {
    /// The next event of a stream; `None` after its end.
    pub fn poll_recv(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.poll_arrival(key, cx).map(|next| next.map(|arrived| arrived.map(Event::from)))
    }

    /// As [`Mux::poll_recv`], with what came behind an item in `queue`, which is empty. If the stream ends cleanly with
    /// that, the reader is released already. A notification comes alone.
    #[inline]
    pub(crate) fn poll_arrivals(
        &mut self,
        key: Key,
        queue: &mut Arrivals,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Taken>>> {
        let owed = queue.take_owed();
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(None) };
        if let Some((message, spent)) = stream.take_answer() {
            // The common case: one item, and the stream is over for everyone.
            queue.settle();
            self.free(key);
            self.give_back_to_link(owed + spent);
            return Poll::Ready(Some(Ok((Arrival::Item(message), Some(self.last_heard)))));
        }
        self.poll_other_arrivals(key, queue, owed, cx)
    }

    #[inline(never)]
    fn poll_other_arrivals(
        &mut self,
        key: Key,
        queue: &mut Arrivals,
        owed: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Taken>>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(None) };
        let Some((arrival, spent)) = stream.recv.take_all(queue) else {
            if owed > 0 {
                self.give_back(key, owed);
            }
            return self.poll_end(key, cx);
        };
        let withheld = if stream.recv.is_empty() { std::mem::take(&mut stream.recv.withheld) } else { 0 };
        let is_last = stream.recv.is_empty() && matches!(stream.recv.outcome, Some(Ok(())));
        // The stream is over for the link, and nobody gives back on its account after that.
        let settled = if is_last { queue.settle() } else { 0 };
        self.give_back(key, owed + spent + withheld + settled);
        if is_last {
            self.release_reader(key);
        }
        Poll::Ready(Some(Ok((arrival, is_last.then_some(self.last_heard)))))
    }

    fn poll_arrival(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Option<Result<Arrival>>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(None) };
        let Some((arrival, spent)) = stream.recv.pop() else { return self.poll_end(key, cx) };
        let drained = stream.recv.is_empty();
        let withheld = if drained { std::mem::take(&mut stream.recv.withheld) } else { 0 };
        self.give_back(key, spent + withheld);
        Poll::Ready(Some(Ok(arrival)))
    }

    fn poll_end<T>(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let Some(stream) = self.streams.get_mut(key) else { return Poll::Ready(None) };
        match &stream.recv.outcome {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.duplicate()))),
            None => {
                wait(&mut stream.recv.waiter, cx);
                Poll::Pending
            }
        }
    }

    /// Credit for what a reader had taken with others, and has read by now.
    pub(crate) fn give_back_read(&mut self, key: Key, bytes: u32) {
        self.give_back(key, bytes);
    }

    /// The reader is gone. At the asking end that cancels the request; at the answering end it only means that further
    /// items of the request are not wanted.
    pub fn release_reader(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.reader = false;
        stream.recv.discard = true;
        stream.recv.waiter = None;
        let owing = stream.recv.discard() + std::mem::take(&mut stream.recv.withheld);
        let is_asking = stream.is_asking();
        // Without a reader a partial message is an item of which the rest is dropped: no stream has a reader before its
        // opening message is whole.
        self.drop_partial(key);
        if is_asking {
            self.cancel(key);
        }
        if owing > 0 {
            self.give_back(key, owing);
        }
        self.free_if_done(key);
    }

    /// Gives credit back to the stream and the link once it is worth a frame.
    #[inline]
    pub(super) fn give_back(&mut self, key: Key, bytes: u32) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.recv.owed += bytes;
            if stream.recv.owed >= self.ours.stream_window / 2 && !stream.got_last && stream.may_speak() {
                let owed = std::mem::take(&mut stream.recv.owed);
                stream.recv.credit += i64::from(owed);
                let id = stream.id;
                self.out.frame(Kind::Window, 0, id, |out| out.put_u32_le(owed), Bytes::new());
            }
        }
        self.give_back_to_link(bytes);
    }

    #[inline]
    pub(super) fn give_back_to_link(&mut self, bytes: u32) {
        self.link_owed += bytes;
        if self.link_owed >= self.ours.link_window / 4 && self.dead.is_none() {
            let owed = std::mem::take(&mut self.link_owed);
            self.link_recv_credit += i64::from(owed);
            self.out.frame(Kind::Window, 0, LINK, |out| out.put_u32_le(owed), Bytes::new());
        }
    }
}
