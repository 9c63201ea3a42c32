// SPDX-License-Identifier: Apache-2.0
//! How a link's driver and everyone else take turns: who writes, who wakes whom, and what the driver does next.

use std::task::Waker;
use std::time::Instant;

use ::bytes::BytesMut;
use parking_lot::MutexGuard;

use super::MuxLink;
use crate::error::{Error, Result};
use crate::io::socket::Writer;
use crate::proto::mux::{After, Batch, Incoming, LazyQueue, Mux};

pub(super) struct State {
    pub(super) mux: Mux,
    /// The driver, to be woken when there is output or an earlier deadline while it is parked.
    driver: Option<Waker>,
    parked: bool,
    /// When the parked driver's timer fires.
    timer: Option<Instant>,
    /// The parked driver waits for the socket to take more: further output is no reason to wake it.
    blocked: bool,
    /// The socket's writing half, from when the driver parked until it runs, if the socket takes bytes from anyone.
    writer: Option<Writer>,
    /// What somebody began to write in the driver's place. The driver writes the rest before anything else.
    begun: Option<Box<Batch>>,
    pub(super) flush_waiters: LazyQueue<Waker>,
    pub(super) closing: bool,
    pub(super) finished: bool,
}

/// What the driver is to do next.
pub(in crate::io) enum Park {
    /// Nothing, until woken or until this time.
    Until(Option<Instant>),
    /// There is output.
    Busy,
    /// Everything is done and flushed: shut the socket down.
    Finish,
}

/// How the driver sleeps.
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Asleep {
    /// The socket takes no bytes.
    pub(in crate::io) is_blocked: bool,
    /// When its timer fires as it is set now. A timer that fires too early costs less than one set anew each time.
    pub(in crate::io) timer: Option<Instant>,
    /// There is so little to do that the link need not keep room for it.
    pub(in crate::io) is_quiet: bool,
}

/// What there is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Step {
    /// Nothing, or what the batch holds.
    Write,
    /// Something, to which other streams may yet add in this turn of the scheduler.
    GiveWay,
}

impl State {
    pub(super) fn new(mux: Mux) -> Self {
        Self {
            mux,
            driver: None,
            parked: false,
            timer: None,
            blocked: false,
            writer: None,
            begun: None,
            flush_waiters: LazyQueue::default(),
            closing: false,
            finished: false,
        }
    }

    /// The driver's waker, if it is parked and there is something for it to do.
    fn call_driver(&mut self) -> Option<Waker> {
        if self.parked && self.needs_driver() { self.summon() } else { None }
    }

    fn summon(&mut self) -> Option<Waker> {
        if std::mem::replace(&mut self.parked, false) { self.driver.clone() } else { None }
    }

    #[inline]
    fn needs_driver(&self) -> bool {
        (self.mux.has_output() && !self.blocked)
            || self.mux.is_due_before(self.timer)
            || (self.closing && self.mux.is_drained())
    }

    /// Whether a change concerns nobody: the driver runs, and will see it, and no one else is to be woken.
    #[inline]
    fn is_unconcerned(&self) -> bool {
        let writes = self.writer.is_some() && self.mux.open_streams() <= 1;
        !self.parked && !writes && !self.mux.has_after()
    }

    fn has_begun(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| !begun.is_empty())
    }

    /// Writes in the place of a driver that does not run what a stream said that is alone on its link: nobody else has
    /// anything to add, and it need not wait for the driver. What the socket does not take is left to the driver, and so is
    /// every error: it meets the same one. So are those who wait to hear from it what was written.
    fn write_in_place(&mut self) {
        let Some(writer) = &self.writer else { return };
        if self.blocked || self.mux.open_streams() > 1 || self.has_begun() || !self.flush_waiters.is_empty() {
            return;
        }
        let begun = self.begun.get_or_insert_default();
        self.mux.swap_output(begun);
        if let Some(written) = writer.try_write(begun) {
            begun.advance(written);
            self.mux.wrote(written);
        }
    }

    /// There is no more to say for now: it may go out at once. The driver's waker, if it has the rest to do.
    fn say_all(&mut self) -> Option<Waker> {
        if self.writer.is_some() && self.mux.has_output() {
            self.write_in_place();
        }
        if self.has_begun() { self.summon() } else { self.call_driver() }
    }
}

/// Calls the driver if there is something for it to do, and settles the rest.
#[inline(never)]
fn conclude(mut state: MutexGuard<'_, State>) {
    let driver = state.call_driver();
    settle(state, driver);
}

/// As [`conclude`] after a change that says all there is to say for now.
#[inline(never)]
fn conclude_all(mut state: MutexGuard<'_, State>) {
    let driver = state.say_all();
    settle(state, driver);
}

/// Lets go of the lock, then wakes whom the change concerns.
fn settle(mut state: MutexGuard<'_, State>, driver: Option<Waker>) {
    let after = if state.mux.has_after() { Some(state.mux.take_after()) } else { None };
    drop(state);
    if let Some(mut after) = after {
        after.run();
    }
    if let Some(driver) = driver {
        driver.wake();
    }
}

impl MuxLink {
    /// Changes the mux, then wakes whom the change concerns.
    #[inline]
    pub(in crate::io) fn with<R>(&self, change: impl FnOnce(&mut Mux) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.mux);
        if (state.parked && state.needs_driver()) || state.mux.has_after() {
            conclude(state);
        }
        result
    }

    /// As [`MuxLink::with`] for a change that adds at most to the output: it concerns nobody but a parked driver.
    #[inline]
    pub(super) fn with_output<R>(&self, change: impl FnOnce(&mut Mux) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.mux);
        if state.parked {
            conclude(state);
        }
        result
    }

    /// As [`MuxLink::with`] for a change that says all there is to say for now: it may go out at once.
    #[inline]
    pub(super) fn with_all<R>(&self, change: impl FnOnce(&mut Mux) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.mux);
        if !state.is_unconcerned() {
            conclude_all(state);
        }
        result
    }

    /// The same if the opening of a stream `says_all`, otherwise as [`MuxLink::with`].
    #[inline]
    pub(super) fn with_opening<R>(&self, says_all: bool, open: impl FnOnce(&mut Mux) -> R) -> R {
        let mut state = self.state();
        let result = open(&mut state.mux);
        if !state.is_unconcerned() {
            if says_all { conclude_all(state) } else { conclude(state) }
        }
        result
    }

    /// The same if `change` says that it was the last of its stream.
    #[inline]
    pub(super) fn with_last(&self, change: impl FnOnce(&mut Mux) -> bool) {
        let mut state = self.state();
        let is_last = change(&mut state.mux);
        if state.is_unconcerned() {
            return;
        }
        let driver = if is_last { state.say_all() } else { state.call_driver() };
        settle(state, driver);
    }

    pub(super) fn wake_driver(&self) {
        let driver = self.state().summon();
        driver.into_iter().for_each(Waker::wake);
    }

    /// The driver runs: nobody need wake it. It gets the socket's writing half, and what somebody began to write. True if
    /// the peer may be heard: it reads what we say.
    pub(in crate::io) fn unpark(&self, writer: &mut Option<Writer>, batch: &mut Batch) -> bool {
        let mut state = self.state();
        state.parked = false;
        if let Some(own) = state.writer.take() {
            *writer = Some(own);
        }
        if let Some(begun) = state.begun.as_deref_mut()
            && !begun.is_empty()
        {
            // The driver parks only with an empty batch, or with a socket that takes nothing from anyone.
            std::mem::swap(begun, batch);
        }
        !state.mux.is_choked()
    }

    /// Hands the whole frames of `input` to the mux and takes what the peer wants, a portion at a time: `serve` gets each,
    /// in `incoming`, and empties it. True if the peer may be heard further.
    pub(in crate::io) fn feed(
        &self,
        now: Instant,
        input: &mut BytesMut,
        incoming: &mut LazyQueue<Incoming>,
        after: &mut After,
        mut serve: impl FnMut(&mut LazyQueue<Incoming>),
    ) -> Result<bool> {
        let mut state = self.state();
        let mut intake = state.mux.take_in(input, now);
        loop {
            let fed = state.mux.feed_some(&mut intake);
            let is_last = !matches!(fed, Ok(true));
            let fed = fed.and_then(|_| if is_last { state.mux.check_rest(input) } else { Ok(()) });
            state.mux.swap_incoming(incoming);
            state.mux.swap_after(after);
            let may_hear = !state.mux.is_choked();
            drop(state);
            after.run();
            serve(incoming);
            if is_last {
                return fed.map(|()| may_hear);
            }
            state = self.state();
        }
    }

    /// Takes what is to be written next. With `give_way`, only if no other stream could add to it.
    pub(in crate::io) fn collect(&self, batch: &mut Batch, give_way: bool) -> Step {
        let mut state = self.state();
        if !state.mux.has_output() {
            return Step::Write;
        }
        if give_way && state.mux.open_streams() > 1 {
            return Step::GiveWay;
        }
        state.mux.swap_output(batch);
        Step::Write
    }

    /// The driver wrote `bytes`; if that was all of `batch`, it gets the next. True if the peer may be heard.
    pub(in crate::io) fn wrote(&self, bytes: usize, batch: &mut Batch) -> bool {
        let mut state = self.state();
        state.mux.wrote(bytes);
        let mut waiters = std::mem::take(&mut state.flush_waiters);
        let after = if state.mux.has_after() { Some(state.mux.take_after()) } else { None };
        if batch.is_empty() && state.mux.has_output() {
            state.mux.swap_output(batch);
        }
        let may_hear = !state.mux.is_choked();
        drop(state);
        if let Some(mut after) = after {
            after.run();
        }
        std::iter::from_fn(|| waiters.pop_front()).for_each(Waker::wake);
        may_hear
    }

    /// The driver has nothing to do: parks it, unless something came up meanwhile.
    pub(in crate::io) fn park(&self, waker: &Waker, asleep: Asleep, writer: &mut Option<Writer>) -> Park {
        let Asleep { is_blocked, timer, is_quiet } = asleep;
        let mut state = self.state();
        if state.mux.has_output() && !is_blocked {
            return Park::Busy;
        }
        let is_done = state.mux.dead().is_some() || (state.closing && state.mux.is_drained());
        if is_done && state.mux.is_flushed() {
            return Park::Finish;
        }
        let wanted = state.mux.poll_timeout();
        state.timer = match (wanted, timer) {
            (Some(wanted), Some(timer)) => Some(wanted.min(timer)),
            (wanted, timer) => wanted.or(timer),
        };
        state.blocked = is_blocked;
        state.parked = true;
        if !is_blocked {
            state.writer = writer.take();
        }
        match &mut state.driver {
            Some(driver) => driver.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
        if is_quiet {
            state.mux.shrink();
            state.begun.take_if(|begun| begun.is_empty());
        }
        Park::Until(wanted)
    }

    /// The driver is gone, by its end or by the runtime's.
    pub(in crate::io) fn finish(&self, error: Error) {
        let mut state = self.state();
        state.mux.fail(error);
        state.finished = true;
        // Half a socket is an open socket.
        let writer = state.writer.take();
        state.begun = None;
        let mut after = state.mux.take_after();
        let mut waiters = std::mem::take(&mut state.flush_waiters);
        drop(state);
        drop(writer);
        after.run();
        std::iter::from_fn(|| waiters.pop_front()).for_each(Waker::wake);
        self.fixed.ended.notify_waiters();
    }
}
