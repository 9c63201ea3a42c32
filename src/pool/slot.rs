// SPDX-License-Identifier: Apache-2.0
//! One target of a pool: its [`Core`] behind a lock, and the hands that carry out what the core asks for.
//!
//! A lease that is there at once takes the lock and counts one reference; it is given back likewise. What it adds to the
//! metrics is written under the same lock, so that nothing else is counted atomically.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::core::{Cause, Core, Counts, Effects, FIRST, Grant, Origin, Refusal, Ticket};
use super::lease::Lease;
use super::shared::Common;
use super::{LOG, Link, PoolKey, dial};
use crate::error::{Detail, Error, Phase, Result, Retry};
use crate::telemetry::PoolMetrics;

pub(super) struct Slot<L: Link> {
    key: PoolKey,
    metrics: PoolMetrics,
    common: Arc<Common<L>>,
    state: Mutex<State<L>>,
}

struct State<L: Link> {
    core: Core<Pooled<L>, Waiter<L>>,
    /// Where the last checkout ran. A lease may come back on a thread that has no runtime, and the next waiter's dial
    /// must start somewhere.
    runtime: Option<Handle>,
}

/// A lease that nobody collects returns itself: dropping a checkout at any point needs no further care.
type Waiter<L> = oneshot::Sender<Result<Lease<L>>>;

/// A link with the slot that keeps it: what a lease refers to. Slot and link refer to each other until the link is let go
/// of, which a slot that nobody knows any more has done with all of its links: it was closed.
pub(super) struct Pooled<L: Link> {
    link: Arc<L>,
    slot: Arc<Slot<L>>,
}

impl<L: Link> Pooled<L> {
    #[inline]
    pub(super) fn link(&self) -> &Arc<L> {
        &self.link
    }

    #[inline]
    pub(super) fn slot(&self) -> &Arc<Slot<L>> {
        &self.slot
    }
}

impl<L: Link> Link for Pooled<L> {
    fn is_usable(&self) -> bool {
        self.link.is_usable()
    }

    fn has_room(&self) -> bool {
        self.link.has_room()
    }

    fn takes_lease(&self) -> bool {
        self.link.takes_lease()
    }

    fn capacity(&self) -> Option<usize> {
        self.link.capacity()
    }

    fn ping(&self) {
        self.link.ping();
    }

    fn close(&self) {
        self.link.close();
    }
}

impl<L: Link> Slot<L> {
    pub(super) fn new(key: PoolKey, common: Arc<Common<L>>) -> Self {
        let metrics = (common.metrics)(&key);
        let core = Core::new(common.limits.clone());
        Self { key, metrics, common, state: Mutex::new(State { core, runtime: None }) }
    }

    /// In line, all that is rare apart: a lease costs little more than what it has to write.
    #[inline(always)]
    pub(super) fn try_checkout(self: &Arc<Self>) -> Option<Lease<L>> {
        // No clock is read here: what the histogram's first bucket holds is "at once".
        let mut state = self.state();
        let Some(pooled) = state.core.try_first() else {
            drop(state);
            return self.try_any();
        };
        self.show(&state.core);
        self.metrics.set_reused_at_once(state.core.at_once());
        drop(state);
        Some(Lease::new(pooled, FIRST, Origin::Reused))
    }

    #[cold]
    #[inline(never)]
    fn try_any(self: &Arc<Self>) -> Option<Lease<L>> {
        let Grant { link, index, origin } = self.act(Core::try_checkout)?;
        Some(Lease::new(link, index, origin))
    }

    /// Waits in line. `joined` is called once the slot has a reason to be looked after.
    pub(super) async fn checkout(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        joined: impl FnOnce(),
    ) -> Result<Lease<L>> {
        let runtime = Handle::try_current()
            .map_err(|error| Error::unexpected("a lease was asked for outside a Tokio runtime").with_source(error))?;
        let started = tokio::time::Instant::now();
        let until = deadline.map_or_else(|| self.common.until(started), tokio::time::Instant::from_std);
        if until <= started {
            return Err(self.too_late(true));
        }
        let (sender, receiver) = oneshot::channel();
        self.state().runtime = Some(runtime);
        let ticket = self.act(|core| core.checkout(sender)).map_err(|refusal| self.refused(refusal))?;
        let place = Place { slot: self, ticket };
        joined();
        match tokio::time::timeout_at(until, receiver).await {
            Ok(Ok(outcome)) => {
                self.metrics.acquired(started.elapsed());
                outcome
            }
            Ok(Err(_)) => Err(self.refused(Refusal::Closed)),
            Err(_) => Err(self.too_late(place.leave())),
        }
    }

    #[inline]
    pub(super) fn checkin(self: &Arc<Self>, index: usize, discarded: bool) {
        let mut state = self.state();
        if discarded || !state.core.try_checkin(index) {
            drop(state);
            return self.checkin_any(index, discarded);
        }
        self.show(&state.core);
    }

    #[cold]
    #[inline(never)]
    fn checkin_any(self: &Arc<Self>, index: usize, discarded: bool) {
        self.act(|core| core.checkin(index, discarded));
    }

    pub(super) fn connected(self: &Arc<Self>, link: L) {
        // Without randomness lifetimes are not jittered; nothing else depends on it.
        let random = getrandom::u64().unwrap_or(0);
        let now = tokio::time::Instant::now().into_std();
        self.metrics.created();
        let pooled = Pooled { link: Arc::new(link), slot: Arc::clone(self) };
        self.act(|core| core.connected(Arc::new(pooled), now, random));
    }

    pub(super) fn failed(self: &Arc<Self>, error: &Error) {
        let victims = self.act(Core::failed);
        tracing::debug!(target: LOG, key = %self.name(), waiters = victims.len(), %error, "dial failed");
        self.fail(victims, error);
    }

    /// Evicts, serves, pings, refills. Returns whether somebody waits.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) -> bool {
        self.act(|core| {
            core.expire(now);
            core.has_waiters()
        })
    }

    pub(super) fn close(self: &Arc<Self>) {
        let victims = self.act(Core::close);
        self.fail(victims, &self.refused(Refusal::Closed));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().core.is_empty()
    }

    /// Whether nobody uses the slot, or refers to it but `known` and its own links.
    ///
    /// References are counted before links: one that comes or goes in between is that of a lease or a dial, and then the
    /// slot is not dormant, or it has one reference more than links.
    pub(super) fn is_abandoned(self: &Arc<Self>, known: usize) -> bool {
        let references = Arc::strong_count(self);
        let state = self.state();
        state.core.is_dormant() && references <= known + state.core.links()
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().core.counts()
    }

    pub(super) fn gauges(&self) -> (usize, usize) {
        self.state().core.gauges()
    }

    pub(super) fn common(&self) -> &Arc<Common<L>> {
        &self.common
    }

    pub(super) fn key(&self) -> &PoolKey {
        &self.key
    }

    /// For logs: who and where, never the session.
    pub(super) fn name(&self) -> impl fmt::Display {
        Name(&self.key)
    }

    #[inline]
    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock()
    }

    /// Changes the core, shows the gauges, and carries out what follows after the lock is gone: links, wakers and dials
    /// are other people's code.
    fn act<R>(self: &Arc<Self>, change: impl FnOnce(&mut Core<Pooled<L>, Waiter<L>>) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.core);
        self.show(&state.core);
        self.metrics.set_reused_at_once(state.core.at_once());
        if state.core.has_effects() {
            self.carry_out(state);
        }
        result
    }

    /// Under the lock, or an older figure could overwrite a newer one.
    #[inline(always)]
    fn show(&self, core: &Core<Pooled<L>, Waiter<L>>) {
        let (active, idle) = core.gauges();
        self.metrics.set(active, idle);
    }

    #[cold]
    #[inline(never)]
    fn carry_out(self: &Arc<Self>, mut state: MutexGuard<'_, State<L>>) {
        let Some(effects) = state.core.take_effects() else { return };
        let runtime = state.runtime.clone();
        drop(state);
        let Effects { evicted, grants, pings, dials } = *effects;
        for (link, cause) in evicted {
            self.evict(&link, cause);
        }
        for (waiter, grant) in grants {
            // A waiter that is leaving at this moment drops the lease, which thereby goes to the next in line: by way of
            // this function again, but no deeper than there are threads on which a waiter can be leaving.
            let _ = waiter.send(Ok(self.lease(grant)));
        }
        for link in pings {
            link.ping();
        }
        for _ in 0..dials {
            dial::start(self, runtime.as_ref());
        }
    }

    fn evict(&self, link: &Pooled<L>, cause: Cause) {
        if cause == Cause::Unusable {
            self.metrics.validation_failure();
        }
        tracing::debug!(target: LOG, key = %self.name(), ?cause, "evict");
        link.close();
    }

    #[inline]
    fn lease(&self, grant: Grant<Pooled<L>>) -> Lease<L> {
        if grant.origin != Origin::Dialled {
            self.metrics.reused();
        }
        Lease::new(grant.link, grant.index, grant.origin)
    }

    fn fail(&self, waiters: Vec<Waiter<L>>, error: &Error) {
        for waiter in waiters {
            let _ = waiter.send(Err(error.duplicate()));
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Closed => self.about(Error::closed("the pool of links is closed")),
            Refusal::TooManyWaiting => self.exhausted(format!(
                "all {} links are in use and {} leases wait for them",
                self.common.limits.max_links, self.common.limits.max_waiting
            )),
        }
    }

    /// The deadline passed, during a dial or in line behind the limit.
    fn too_late(&self, dialling: bool) -> Error {
        if dialling {
            return self.about(
                Error::timeout("the deadline passed before a link was established")
                    .with_detail(Detail::DeadlineExceeded { items_seen: 0 }),
            );
        }
        self.exhausted(format!("all {} links were in use until the deadline", self.common.limits.max_links))
    }

    fn exhausted(&self, message: String) -> Error {
        let limit = self.common.limits.max_links as u64;
        let error = Error::overloaded(message).with_hint(self.common.exhausted_hint);
        self.about(error.with_detail(Detail::ConnectionLimit { limit }))
    }

    /// What all errors of a checkout say. None of them sent anything.
    fn about(&self, error: Error) -> Error {
        error
            .with_retry(Retry::Safe)
            .with_phase(Phase::Connect)
            .with_transport(&self.key.transport)
            .with_target(&self.key.authority)
    }
}

/// A place in line, left when it is dropped.
struct Place<'a, L: Link> {
    slot: &'a Arc<Slot<L>>,
    ticket: Ticket,
}

impl<L: Link> Place<'_, L> {
    /// Returns whether a dial was under way for this place, or a lease on its way to it.
    fn leave(&self) -> bool {
        self.slot.act(|core| core.cancel(self.ticket)).is_none_or(|(_, covered)| covered)
    }
}

impl<L: Link> Drop for Place<'_, L> {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Name<'a>(&'a PoolKey);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.transport, self.0.authority)
    }
}
