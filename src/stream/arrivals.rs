// SPDX-License-Identifier: Apache-2.0
//! Items on their way from a link to their reader.
//!
//! A link's lock is taken once for all that has come: the reader takes the queue whole, leaves its own empty one for it,
//! and goes through it on its own. Credit is for what was read, not for what was taken.

use std::collections::VecDeque;

use super::Event;
use crate::connection::Inbound;
use crate::message::{Message, Subject};

/// Bytes of credit that a reader gathers before it gives them back in the middle of its queue. A quarter of a stream's
/// window, so that a sender never waits for a reader to come to the end.
const WORTH_GIVING: u32 = 64 << 10;

/// What has come for one reader, in order, and what the reader owes for what it has read.
#[derive(Default)]
pub struct Arrivals {
    queue: Queue,
    owed: u32,
}

/// Absent until a stream has more than one item waiting, and then kept.
pub(crate) type Queue = Option<Box<VecDeque<(Arrival, u32)>>>;

/// One of them. The usual one is small, since it is moved a few times on its way.
pub(crate) enum Arrival {
    Item(Message),
    Notification(Box<(Subject, Message)>),
}

impl Arrivals {
    /// The next one, on the reader's account.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Arrival> {
        let (arrival, cost) = self.queue.as_mut()?.pop_front()?;
        self.owed += cost;
        Some(arrival)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.is_empty())
    }

    /// Credit that is worth giving back now.
    #[inline]
    pub(super) fn worth_giving(&mut self) -> Option<u32> {
        (self.owed >= WORTH_GIVING).then(|| self.take_owed())
    }

    /// Credit for all that was read.
    #[inline]
    pub(crate) fn take_owed(&mut self) -> u32 {
        std::mem::take(&mut self.owed)
    }

    /// Adds an item that costs no credit.
    #[cfg(feature = "http")]
    pub(crate) fn put(&mut self, item: Message) {
        self.queue.get_or_insert_default().push_back((Arrival::Item(item), 0));
    }

    /// Forgets what is left, and says what it and all before had cost.
    pub(crate) fn discard(&mut self) -> u32 {
        let unread: u32 = self.queue.take().map_or(0, |queue| queue.iter().map(|(_, cost)| cost).sum());
        unread + self.take_owed()
    }

    /// What is queued had cost so much. It is settled by that, and owed no more.
    pub(crate) fn settle(&mut self) -> u32 {
        let Some(queue) = &mut self.queue else { return 0 };
        queue.iter_mut().map(|(_, cost)| std::mem::take(cost)).sum()
    }

    /// Takes the link's queue, leaving the empty one.
    #[inline]
    pub(crate) fn swap(&mut self, queue: &mut Queue) {
        debug_assert!(self.is_empty());
        std::mem::swap(&mut self.queue, queue);
    }
}

impl From<Arrival> for Event {
    fn from(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Item(message) => Self::Item(message),
            Arrival::Notification(notification) => {
                let (subject, message) = *notification;
                Self::Inbound(Inbound::Notification(subject, message))
            }
        }
    }
}
