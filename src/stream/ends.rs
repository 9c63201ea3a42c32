// SPDX-License-Identifier: Apache-2.0
//! How the two ends of a stream that is on no multiplexed link stand to each other: who still sends, who is waited for, and
//! how it ended.

use std::task::{Context, Poll, Waker};

use crate::error::{Error, PeerError, Result};
use crate::message::ControlMessage;

/// The part of such a stream's state that is not its items.
#[derive(Default)]
pub(crate) struct Ends {
    outcome: Option<Result<(), Box<PeerError>>>,
    stopped: Option<ControlMessage>,
    /// The sender, and while a handler runs its supervisor.
    holders: u8,
    writer: Option<Waker>,
    stop_waiter: Option<Waker>,
    kill_waiter: Option<Waker>,
}

impl Ends {
    /// A stream that nobody has ended, with so many holders.
    pub(crate) fn new(holders: u8) -> Self {
        Self { holders, ..Self::default() }
    }

    /// How the handler ended it, if it did.
    pub(crate) fn outcome(&self) -> Option<&Result<(), Box<PeerError>>> {
        self.outcome.as_ref()
    }

    /// Ends it, unless it had ended before.
    pub(crate) fn end(&mut self, outcome: Result<(), PeerError>) {
        self.outcome.get_or_insert(outcome.map_err(Box::new));
    }

    /// An error once nobody takes a further item.
    pub(crate) fn check_wanted(&self) -> Result<()> {
        if self.stopped == Some(ControlMessage::Kill) || self.outcome.is_some() {
            return Err(Error::cancelled("the caller wants no further item"));
        }
        Ok(())
    }

    /// Ready when a further item may be sent. Who waits for room is woken through [`Self::take_writer`].
    pub(crate) fn poll_ready(&mut self, has_room: bool, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check_wanted()?;
        if has_room {
            return Poll::Ready(Ok(()));
        }
        match &mut self.writer {
            Some(writer) => writer.clone_from(cx.waker()),
            writer => *writer = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Who waits for room.
    pub(crate) fn take_writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }

    /// The caller's word. Whom to wake, once the state is no longer locked.
    pub(crate) fn stop(&mut self, message: ControlMessage) -> [Option<Waker>; 3] {
        self.stopped = self.stopped.max(Some(message));
        match message {
            ControlMessage::Stop => [self.stop_waiter.take(), None, None],
            ControlMessage::Kill => [self.stop_waiter.take(), self.kill_waiter.take(), self.writer.take()],
        }
    }

    /// As [`Sink::poll_stopped`](super::Sink::poll_stopped).
    pub(crate) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        match self.stopped {
            Some(message) => Poll::Ready(message),
            None => {
                self.stop_waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// As [`Sink::poll_killed`](super::Sink::poll_killed).
    pub(crate) fn poll_killed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stopped == Some(ControlMessage::Kill) {
            return Poll::Ready(());
        }
        self.kill_waiter = Some(cx.waker().clone());
        Poll::Pending
    }

    /// One holder more.
    pub(crate) fn retain(&mut self) {
        self.holders += 1;
    }

    /// So many holders fewer. Whether none is left.
    pub(crate) fn release(&mut self, holders: u8) -> bool {
        self.holders = self.holders.saturating_sub(holders);
        self.holders == 0
    }
}
