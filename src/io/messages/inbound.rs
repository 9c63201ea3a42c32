// SPDX-License-Identifier: Apache-2.0
//! What the peer sent unasked and nobody has received yet.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::connection::Inbound;

/// A request beyond these is refused. A notification pushes out the oldest one: whoever keeps this many waiting has no
/// receiver, and neither answers nor memory may depend on there being one.
const MAX_WAITING: usize = 1024;

#[derive(Default)]
pub(crate) struct Inbox {
    queue: VecDeque<Inbound>,
    receiver: Option<Waker>,
    is_closed: bool,
    has_warned: bool,
}

impl Inbox {
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < MAX_WAITING
    }

    /// What has no place any more, and whom to wake.
    pub(crate) fn put(&mut self, inbound: Inbound) -> (Option<Inbound>, Option<Waker>) {
        if self.is_closed {
            return (Some(inbound), None);
        }
        let oldest = if self.has_room() { None } else { self.queue.pop_front() };
        if oldest.is_some() && !self.has_warned {
            self.has_warned = true;
            tracing::warn!(target: "biplane::messages", "{MAX_WAITING} messages wait for a receiver; the oldest are let go");
        }
        self.queue.push_back(inbound);
        (oldest, self.receiver.take())
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        if let Some(inbound) = self.queue.pop_front() {
            return Poll::Ready(Some(inbound));
        }
        if self.is_closed {
            return Poll::Ready(None);
        }
        self.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What waits can still be received, requests of a peer that is gone excepted.
    pub(crate) fn close(&mut self) -> (VecDeque<Inbound>, Option<Waker>) {
        self.is_closed = true;
        let (notifications, requests) =
            self.queue.drain(..).partition(|inbound| matches!(inbound, Inbound::Notification(..)));
        self.queue = notifications;
        (requests, self.receiver.take())
    }

    /// Nobody will receive.
    pub(crate) fn abandon(&mut self) -> VecDeque<Inbound> {
        self.is_closed = true;
        std::mem::take(&mut self.queue)
    }
}
