// SPDX-License-Identifier: Apache-2.0
//! Items on their way from a link to their reader.
//!
//! A link's lock is taken once for all that has come: the reader takes the queue whole, leaves its own empty one for it,
//! and goes through it on its own. Credit is for what was read, not for what was taken.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Event;
use crate::connection::Inbound;
use crate::message::{Message, Subject};
use crate::proto::run::Run;

/// Bytes of credit that a reader gathers before it gives them back in the middle of its queue. A quarter of a stream's
/// window, so that a sender never waits for a reader to come to the end.
const WORTH_GIVING: u32 = 64 << 10;

/// What has come for one reader, in order, and what the reader owes for what it has read.
#[derive(Default)]
pub struct Arrivals {
    /// Comes before the queue.
    run: Option<Run>,
    queue: Queue,
    owed: u32,
    /// Everything here is paid for.
    is_settled: bool,
}

/// Absent until more than one of them waits for a stream, and then kept.
pub(crate) type Queue = Option<Box<VecDeque<Waiting>>>;

/// What takes one place in a queue.
pub(crate) enum Waiting {
    /// With what it had cost.
    One(Arrival, u32),
    Run(Run),
}

/// One of them. The usual one is small, since it is moved a few times on its way.
pub(crate) enum Arrival {
    Item(Message),
    Notification(Box<(Subject, Message)>),
}

impl Arrivals {
    pub(super) const fn new() -> Self {
        Self { run: None, queue: None, owed: 0, is_settled: false }
    }

    /// The next one, on the reader's account.
    pub(crate) fn pop(&mut self) -> Option<Arrival> {
        if self.run.is_none() {
            match self.queue.as_mut()?.pop_front()? {
                Waiting::One(arrival, cost) => {
                    self.owe(cost);
                    return Some(arrival);
                }
                Waiting::Run(run) => self.run = Some(run),
            }
        }
        let item = Run::pop(&mut self.run)?;
        self.owe(Run::cost_of(&item));
        Some(Arrival::Item(Message::new(item)))
    }

    /// The next one, if it is an item of a run and others of that run are behind it.
    #[inline]
    pub(super) fn pop_before_last(&mut self) -> Option<Bytes> {
        let item = self.run.as_mut()?.pop_before_last()?;
        self.owe(Run::cost_of(&item));
        Some(item)
    }

    #[inline]
    fn owe(&mut self, cost: u32) {
        if !self.is_settled {
            self.owed += cost;
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_none() && self.is_items()
    }

    /// Whether it is known without a look at each that nothing here is to be forwarded.
    #[inline]
    pub(crate) fn is_items(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.is_empty())
    }

    /// Credit that is worth giving back now.
    #[inline]
    pub(super) fn worth_giving(&mut self) -> Option<u32> {
        if self.owed >= WORTH_GIVING { Some(self.take_owed()) } else { None }
    }

    /// Credit for all that was read.
    #[inline]
    pub(crate) fn take_owed(&mut self) -> u32 {
        std::mem::take(&mut self.owed)
    }

    /// Room for so many that cost no credit, where more than a few come together.
    #[cfg(feature = "http")]
    pub(crate) fn reserve(&mut self, count: usize) {
        self.queue.get_or_insert_default().reserve(count);
    }

    /// Adds an item that costs no credit.
    #[cfg(feature = "http")]
    pub(crate) fn put(&mut self, item: Message) {
        self.queue.get_or_insert_default().push_back(Waiting::One(Arrival::Item(item), 0));
    }

    /// Forgets what is left, and says what it and all before had cost.
    pub(crate) fn discard(&mut self) -> u32 {
        let unread = if self.is_settled { 0 } else { self.cost() };
        (self.run, self.queue) = (None, None);
        unread + self.take_owed()
    }

    /// What is queued had cost so much. It is settled by that, and owed no more.
    #[inline]
    pub(crate) fn settle(&mut self) -> u32 {
        self.is_settled = true;
        if self.is_empty() { 0 } else { self.cost() }
    }

    fn cost(&self) -> u32 {
        let queued: u32 = self.queue.iter().flat_map(|queue| queue.iter()).map(Waiting::cost).sum();
        queued + self.run.as_ref().map_or(0, Run::cost)
    }

    /// Takes the link's queue, leaving the empty one.
    #[inline]
    pub(crate) fn swap(&mut self, queue: &mut Queue) {
        debug_assert!(self.is_empty());
        std::mem::swap(&mut self.queue, queue);
    }

    /// Takes the rest of a run of which the first item is read.
    #[inline]
    pub(crate) fn continue_run(&mut self, run: Option<Run>) {
        debug_assert!(self.run.is_none());
        self.run = run;
    }
}

impl Waiting {
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Self::One(_, cost) => *cost,
            Self::Run(run) => run.cost(),
        }
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
