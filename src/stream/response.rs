// SPDX-License-Identifier: Apache-2.0
//! The caller's end of an answer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use parking_lot::Mutex;

use super::events::Events;
use super::origin::Opening;
use super::unread::Unread;
use super::{Arrival, Arrivals, Event, Origin, Overseer, Source, Taken};
use crate::connection::Inbound;
use crate::error::{Error, Result};
use crate::message::{ControlMessage, Message};

/// The items of an answer.
///
/// Cancel-safe: dropping the future of [`next`](Self::next) loses nothing; dropping the stream cancels the request.
pub struct ResponseStream {
    origin: Origin,
    key: u64,
    seen: u64,
    /// Taken from the source already.
    queue: Arrivals,
    overseer: Option<Box<dyn Overseer>>,
    /// What the caller said before there was a source to say it to.
    unsaid: Mutex<Option<ControlMessage>>,
    ended: bool,
    /// The key is no longer ours: what is queued is all.
    released: bool,
}

impl ResponseStream {
    /// The stream `key` of `source`.
    pub fn new(source: Arc<dyn Source>, key: u64) -> Self {
        Self::of(Origin::Source(source), key)
    }

    /// A stream that is not there yet. `opening` is polled by whoever reads, and dropped with the stream.
    pub fn deferred(opening: impl Future<Output = Result<ResponseStream>> + Send + 'static) -> Self {
        Self::of(Origin::Opening(Opening::new(opening)), 0)
    }

    /// Events of any other origin; dropping `stream` must cancel it.
    pub fn from_events(stream: impl Stream<Item = Result<Event>> + Send + 'static) -> Self {
        Self::new(Arc::new(Events::new(stream)), 0)
    }

    /// A stream that `overseer` is going to find.
    pub(crate) fn found_by(overseer: Box<dyn Overseer>) -> Self {
        let mut stream = Self::of(Origin::Nowhere, 0);
        stream.overseer = Some(overseer);
        stream
    }

    /// From now on this stream is read on behalf of `overseer`.
    #[inline]
    pub(crate) fn oversee(&mut self, overseer: Box<dyn Overseer>) {
        if !self.is_fresh() {
            let inner = mem::replace(self, Self::of(Origin::Nowhere, 0));
            *self = inner.enclosed(None);
        }
        self.overseer = Some(overseer);
    }

    /// The same stream with `event`, which was taken from its front, put back.
    pub fn with_unread(self, event: Event) -> Self {
        self.enclosed(Some(event))
    }

    fn enclosed(self, unread: Option<Event>) -> Self {
        Self::new(Arc::new(Unread::new(unread, self)), 0)
    }

    const fn of(origin: Origin, key: u64) -> Self {
        Self {
            origin,
            key,
            seen: 0,
            queue: Arrivals::new(),
            overseer: None,
            unsaid: Mutex::new(None),
            ended: false,
            released: false,
        }
    }

    /// Whether its origin is all that there is to it.
    #[inline]
    fn is_fresh(&self) -> bool {
        self.overseer.is_none() && self.seen == 0 && self.queue.is_empty() && !self.ended && !self.released
    }

    /// The next item, `None` after a clean end. An [`Inbound`] that comes in between goes to
    /// [`Connection::receive`](crate::Connection::receive). After an error the stream is over.
    #[expect(clippy::should_implement_trait, reason = "what every stream's future of the next item is called")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Message>>> + Send {
        poll_fn(|cx| self.poll_item(cx))
    }

    /// The next item or inbound message, in the order in which the responder sent them.
    pub async fn next_event(&mut self) -> Option<Result<Event>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Asks the responder to finish: [`ControlMessage::Stop`] early, [`ControlMessage::Kill`] at once.
    pub fn control(&self, message: ControlMessage) {
        if self.ended || self.released {
            return;
        }
        match self.origin.source() {
            Some(source) => source.control(self.key, message),
            None => {
                let mut unsaid = self.unsaid.lock();
                *unsaid = (*unsaid).max(Some(message));
            }
        }
    }

    /// Hands an [`Inbound`] that came as an event to [`Connection::receive`](crate::Connection::receive). For a
    /// [`Source`] that reads this stream on behalf of another: what its own reader did not ask for ends here.
    pub fn forward(&self, inbound: Inbound) {
        if let Some(source) = self.origin.source() {
            source.forward(self.key, inbound);
        }
    }

    /// Items that have been read.
    pub fn items_seen(&self) -> u64 {
        self.seen
    }

    /// Whether it is known that nothing more comes: after an error, after `None`, and often with the last item already.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// [`Self::next`] as a poll.
    #[inline]
    pub fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        match self.queue.pop_before_last() {
            Some(item) => {
                self.seen += 1;
                self.give_if_worth();
                Poll::Ready(Some(Ok(Message::new(item))))
            }
            // After the last item of most answers.
            None if self.ended => Poll::Ready(None),
            None => self.poll_any_item(cx),
        }
    }

    fn poll_any_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        while !self.queue.is_empty() {
            match self.queued() {
                Some(Arrival::Item(message)) => {
                    self.seen += 1;
                    self.ended = self.released && self.queue.is_empty();
                    return Poll::Ready(Some(Ok(message)));
                }
                Some(notification) => {
                    if let Event::Inbound(inbound) = notification.into() {
                        self.forward(inbound);
                    }
                }
                None => break,
            }
        }
        if self.ended || self.released {
            self.ended = true;
            return Poll::Ready(None);
        }
        self.poll_taking(cx).map(|taken| taken.map(|taken| taken.map(|taken| taken.message)))
    }

    /// The next item from the origin, and into the queue what came with it.
    #[inline(always)]
    fn poll_taking(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        loop {
            let polled = match &self.origin {
                Origin::Source(source) => source.poll_item(self.key, &mut self.queue, cx),
                Origin::Opening(_) | Origin::Nowhere => Poll::Pending,
            };
            let failed = match polled {
                Poll::Ready(Some(Ok(taken))) => {
                    self.seen += 1;
                    if taken.is_last {
                        self.released = true;
                        self.ended = self.queue.is_empty();
                        if let Some(overseer) = self.overseer.take() {
                            overseer.ended(taken.arrived);
                        }
                    } else if self.seen == 1
                        && let Some(overseer) = &mut self.overseer
                    {
                        overseer.came();
                    }
                    return Poll::Ready(Some(Ok(taken)));
                }
                Poll::Ready(None) => {
                    self.finished();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => self.failed(error),
                Poll::Pending => ready!(self.poll_pending(cx)),
            };
            if let Some(error) = failed {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// [`Source::poll_item`] for a source that reads this stream on behalf of another and adds nothing to its items: what
    /// waits goes into the other's `queue`, and its credit comes back by [`Self::give_back`].
    pub(crate) fn poll_taken(&mut self, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        if !self.queue.is_empty() {
            let item = ready!(self.poll_item(cx));
            return Poll::Ready(
                item.map(|item| item.map(|message| Taken { is_last: self.ended, ..Taken::item(message) })),
            );
        }
        if self.ended || self.released {
            self.ended = true;
            return Poll::Ready(None);
        }
        mem::swap(&mut self.queue, queue);
        let polled = self.poll_taking(cx);
        mem::swap(&mut self.queue, queue);
        self.ended |= self.released;
        polled
    }

    /// [`Self::next_event`] as a poll.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        if let Some(arrival) = self.queued() {
            let event = Event::from(arrival);
            self.seen += u64::from(matches!(event, Event::Item(_)));
            return Poll::Ready(Some(Ok(event)));
        }
        if self.ended || self.released {
            self.ended = true;
            return Poll::Ready(None);
        }
        let owed = self.queue.take_owed();
        if owed > 0 {
            self.give_back(owed);
        }
        loop {
            let polled = match &self.origin {
                Origin::Source(source) => source.poll_next(self.key, cx),
                Origin::Opening(_) | Origin::Nowhere => Poll::Pending,
            };
            // Looked at and passed on as it is: an event is large, and every layer of a stream would move it once more.
            let failed = match &polled {
                Poll::Ready(Some(Ok(event))) => {
                    self.seen += u64::from(matches!(event, Event::Item(_)));
                    if let Some(overseer) = &mut self.overseer {
                        overseer.came();
                    }
                    return polled;
                }
                Poll::Ready(None) => {
                    self.finished();
                    return polled;
                }
                Poll::Ready(Some(Err(_))) => {
                    let Poll::Ready(Some(Err(error))) = polled else { return polled };
                    self.failed(error)
                }
                Poll::Pending => ready!(self.poll_pending(cx)),
            };
            if let Some(error) = failed {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    #[inline]
    fn queued(&mut self) -> Option<Arrival> {
        let arrival = self.queue.pop()?;
        self.give_if_worth();
        Some(arrival)
    }

    #[inline]
    fn give_if_worth(&mut self) {
        if let Some(owed) = self.queue.worth_giving() {
            self.give_back(owed);
        }
    }

    /// Gives back the credit of what [`Self::poll_taken`] handed on and its reader has read.
    pub(crate) fn give_back(&self, credit: u32) {
        if !self.released
            && let Some(source) = self.origin.source()
        {
            source.give_back(self.key, credit);
        }
    }

    /// Nothing came: there may be no stream yet, and the overseer may not want to wait longer. Ready if there is a stream to
    /// read, or the last error.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        if let Origin::Opening(opening) = &mut self.origin
            && let Poll::Ready(opened) = opening.poll(cx)
        {
            self.origin = Origin::Nowhere;
            return Poll::Ready(match opened {
                Ok(stream) => self.adopt(stream),
                Err(error) => self.failed(error),
            });
        }
        let Some(overseer) = &mut self.overseer else { return Poll::Pending };
        Poll::Ready(match ready!(overseer.poll_pending(self.seen, cx)) {
            Ok(stream) => self.adopt(stream),
            Err(error) => Some(self.over(error)),
        })
    }

    /// From now on this is `stream`.
    #[cold]
    fn adopt(&mut self, mut stream: ResponseStream) -> Option<Error> {
        if !stream.is_fresh() {
            stream = stream.enclosed(None);
        }
        self.origin = mem::replace(&mut stream.origin, Origin::Nowhere);
        self.key = stream.key;
        let unsaid = stream.unsaid.get_mut().take().max(self.unsaid.get_mut().take());
        unsaid.into_iter().for_each(|message| self.control(message));
        None
    }

    #[cold]
    fn failed(&mut self, error: Error) -> Option<Error> {
        let error = match &mut self.overseer {
            Some(overseer) => overseer.failed(error),
            None => Some(error),
        };
        if error.is_none() {
            self.let_go();
        }
        error.map(|error| self.over(error))
    }

    fn over(&mut self, error: Error) -> Error {
        self.ended = true;
        if self.overseer.is_some() {
            self.let_go();
            self.overseer = None;
        }
        error.at_item(self.seen)
    }

    fn finished(&mut self) {
        self.ended = true;
        if let Some(overseer) = self.overseer.take() {
            self.let_go();
            overseer.ended(None);
        }
    }

    /// Nothing more is read from its origin.
    fn let_go(&mut self) {
        if let Origin::Source(source) = mem::replace(&mut self.origin, Origin::Nowhere)
            && !self.released
        {
            let owed = self.queue.discard();
            if owed > 0 {
                source.give_back(self.key, owed);
            }
            source.release(self.key);
        }
    }
}

impl Stream for ResponseStream {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        if !self.released {
            self.let_go();
        }
    }
}

impl fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ResponseStream(key {}, {} items seen{})",
            self.key,
            self.seen,
            if self.ended { ", ended" } else { "" }
        )
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
