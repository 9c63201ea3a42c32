// SPDX-License-Identifier: Apache-2.0
//! The streams of a link, as their readers and senders see them.

use std::task::{Context, Poll};

use super::MuxLink;
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message};
use crate::proto::mux::{Key, Mux};
use crate::stream::{Arrival, Arrivals, Event, Parcel, Sink, Source, Taken, Unended};

impl Source for MuxLink {
    fn poll_next(&self, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let event = std::task::ready!(self.with(|mux| mux.poll_recv(key as Key, cx)));
        Poll::Ready(match event {
            Some(Err(error)) => Some(Err(self.name(error))),
            event => event,
        })
    }

    fn poll_item(&self, key: u64, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        loop {
            return Poll::Ready(match std::task::ready!(self.with(|mux| mux.poll_arrivals(key as Key, queue, cx))) {
                Some(Ok((Arrival::Item(message), arrived))) => {
                    Some(Ok(Taken { message, is_last: arrived.is_some(), arrived }))
                }
                Some(Ok((Arrival::Notification(notification), _))) => {
                    let (subject, message) = *notification;
                    Source::forward(self, key, Inbound::Notification(subject, message));
                    continue;
                }
                Some(Err(error)) => Some(Err(self.name(error))),
                None => None,
            });
        }
    }

    fn give_back(&self, key: u64, credit: u32) {
        self.with(|mux| mux.give_back_read(key as Key, credit));
    }

    fn control(&self, key: u64, message: ControlMessage) {
        self.with(|mux| mux.control(key as Key, message));
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        self.fixed.service.forward(inbound);
    }

    fn release(&self, key: u64) {
        self.with(|mux| mux.release_reader(key as Key));
    }
}

impl MuxLink {
    /// What waits for credit or room, or is more than plain bytes, or may be followed by items in a parcel.
    #[inline(never)]
    fn poll_send_any(
        &self,
        key: Key,
        item: &mut Option<Message>,
        parcel: Option<&mut Parcel>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        self.with(|mux| {
            std::task::ready!(mux.poll_ready(key, cx))?;
            let Some(item) = item.take() else { return Poll::Ready(Ok(())) };
            let parcel = parcel.filter(|_| item.body.len() <= Parcel::LARGEST);
            mux.push(key, item)?;
            if let Some(parcel) = parcel {
                mux.lend(key, parcel);
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl Sink for MuxLink {
    fn poll_ready(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|mux| mux.poll_ready(key as Key, cx))
    }

    fn poll_send(&self, key: u64, item: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(message) = item
            && self.with_output(|mux| mux.push_plain(key as Key, message))
        {
            *item = None;
            return Poll::Ready(Ok(()));
        }
        self.poll_send_any(key as Key, item, None, cx)
    }

    fn poll_send_lending(
        &self,
        key: u64,
        item: &mut Option<Message>,
        parcel: &mut Parcel,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        if parcel.is_lent() {
            self.take_back(key, parcel);
        }
        self.poll_send_any(key as Key, item, Some(parcel), cx)
    }

    fn take_back(&self, key: u64, parcel: &mut Parcel) {
        self.with(|mux| mux.take_back(key as Key, parcel));
    }

    fn push(&self, key: u64, event: Event) -> Result<()> {
        match event {
            Event::Item(message) => self.with(|mux| mux.push(key as Key, message)),
            Event::Inbound(Inbound::Notification(subject, message)) => {
                self.with(|mux| mux.push_notification(key as Key, &subject, message))
            }
            Event::Inbound(Inbound::Request(..)) => {
                Err(Error::unsupported("a mux stream carries notifications back to its caller, not requests")
                    .with_hint("send the request on the connection"))
            }
        }
    }

    fn control(&self, key: u64, message: ControlMessage) -> Result<()> {
        self.with(|mux| mux.control(key as Key, message));
        Ok(())
    }

    fn poll_flush(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        if let Some(error) = state.mux.dead() {
            return Poll::Ready(Err(error.duplicate()));
        }
        std::task::ready!(state.mux.poll_taken_back(key as Key, cx));
        if state.mux.is_stream_flushed(key as Key) {
            return Poll::Ready(Ok(()));
        }
        if !state.flush_waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            state.flush_waiters.push_back(cx.waker().clone());
        }
        Poll::Pending
    }

    fn end(&self, key: u64, outcome: Result<(), PeerError>) {
        self.with_all(|mux| mux.end(key as Key, outcome));
    }

    fn poll_stopped(&self, key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        self.state().mux.poll_stopped(key as Key, cx)
    }

    fn poll_killed(&self, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.state().mux.poll_killed(key as Key, cx)
    }

    fn retain(&self, key: u64) {
        self.with(|mux| mux.retain_writer(key as Key));
    }

    fn release(&self, key: u64, unended: Unended) {
        self.with_last(|mux| mux.release_writer(key as Key, unended));
    }

    fn settle(&self, key: u64, parcel: Option<&mut Parcel>, outcome: Result<(), PeerError>, holders: u8) {
        let is_ok = outcome.is_ok();
        let settle = |mux: &mut Mux| {
            if let Some(parcel) = parcel {
                mux.take_back(key as Key, parcel);
            }
            mux.settle(key as Key, outcome, holders)
        };
        if is_ok {
            return self.with_last(settle);
        }
        // Left to the driver: a handler that is dropped with its whole runtime failed no request, and where there is no
        // driver any more, the caller is to see a lost link.
        self.with(settle);
    }
}
