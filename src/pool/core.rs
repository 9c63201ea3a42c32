// SPDX-License-Identifier: Apache-2.0
//! The pool of one target as a state machine: no sockets, no tasks, no clock, no randomness of its own.
//!
//! What happens goes in through the methods (a lease is wanted, comes back, a dial ended, time passed); what must be done
//! about it comes out of [`Core::take_effects`]: leases to hand to waiters, links to close, dials to start, links to ping.
//! The caller runs effects after it has let go of its lock. Between two calls these hold:
//!
//! - live links and dials together are at most `max_links`;
//! - if somebody waits, no link had room for him, and either a dial will serve him or the limit is reached;
//! - leases are granted in the order in which they were asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Link;

/// What a target is allowed. All of it is fixed for the pool's life.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Leases at once on one link; 1 makes links exclusive.
    pub(super) leases_per_link: usize,
    /// Live links and dials together.
    pub(super) max_links: usize,
    /// Waiters; beyond it a checkout is refused at once.
    pub(super) max_waiting: usize,
    /// Links that could take a lease, kept once the target has been used.
    pub(super) min_idle: usize,
    pub(super) idle_timeout: Duration,
    /// Before jitter.
    pub(super) max_lifetime: Duration,
    pub(super) keepalive: Duration,
    /// Off: a link serves one lease and is closed.
    pub(super) reuse: bool,
}

/// The index of the link that has stood longest in its place.
pub(super) const FIRST: usize = 0;

/// Links, waiters and dials of one target. `W` is whatever the caller needs to reach a waiter.
pub(super) struct Core<L, W> {
    limits: Limits,
    links: Slab<Entry<L>>,
    waiting: VecDeque<(Ticket, W)>,
    next_ticket: u64,
    dialling: usize,
    /// Links that count against `max_links`. A retired link that is shared does not: its streams may last an hour, and
    /// to count it would turn a peer's GOAWAY into an outage. It is bounded by the leases on it. A retired link that is
    /// exclusive counts until its lease comes back.
    occupied: usize,
    /// Links with at least one lease; all others are idle.
    active: usize,
    /// The target has been used, and dialling it did not fail since: `min_idle` applies.
    warm: bool,
    closed: bool,
    /// Leases that were there at once stand apart, in `at_once`.
    counts: Counts,
    at_once: u64,
    /// Made when there is something to do: that there is nothing must be cheap to tell.
    effects: Option<Box<Effects<L, W>>>,
}

struct Entry<L> {
    link: Arc<L>,
    leases: usize,
    /// Why the link is handed out no more.
    retired: Option<Cause>,
    /// It has had a lease.
    served: bool,
    /// `None`: never, because the sum overflows.
    expires: Option<Instant>,
    /// Stamped by the first [`Core::expire`] that finds the link idle, so that returning a lease reads no clock.
    idle_since: Option<Instant>,
    /// Since then.
    pinged: Option<Instant>,
}

impl<L: Link> Entry<L> {
    /// Whether it can take one more lease, of at most so many.
    #[inline]
    fn may_lease(&self, limit: usize) -> bool {
        self.leases < limit && self.retired.is_none() && self.link.takes_lease()
    }

    /// Whether nobody may have it again.
    #[inline]
    fn is_spent(&self) -> bool {
        self.retired.is_some() || !self.link.is_usable()
    }
}

/// Names a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// One lease: goes back through [`Core::checkin`] exactly once.
#[derive(Debug)]
pub(super) struct Grant<L> {
    pub(super) link: Arc<L>,
    pub(super) index: usize,
    pub(super) origin: Origin,
}

/// How a lease came by its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The link was dialled for this lease.
    Dialled,
    /// The link was dialled for another lease, and this one waited for the same dial.
    Joined,
    /// The link was there.
    Reused,
}

/// Why a link was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was found dead or draining.
    Unusable,
    /// It was dead or draining when a lease came back.
    Spent,
    /// A lease was discarded.
    Discarded,
    /// Nobody used it.
    Idle,
    /// It was old.
    Lifetime,
    /// The pool is switched off: a link serves once.
    Unpooled,
    /// The pool was closed.
    Closed,
}

/// Why a waiter was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Closed,
    TooManyWaiting,
}

/// What the caller does next, in this order.
pub(super) struct Effects<L, W> {
    pub(super) evicted: Vec<(Arc<L>, Cause)>,
    pub(super) grants: Vec<(W, Grant<L>)>,
    pub(super) pings: Vec<Arc<L>>,
    /// Dials to start. Each is reported by [`Core::connected`] or [`Core::failed`] exactly once.
    pub(super) dials: usize,
}

impl<L, W> Default for Effects<L, W> {
    fn default() -> Self {
        Self { evicted: Vec::new(), grants: Vec::new(), pings: Vec::new(), dials: 0 }
    }
}

/// Totals since the target was first used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) reused: u64,
}

impl<L: Link, W> Core<L, W> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            links: Slab::new(),
            waiting: VecDeque::new(),
            next_ticket: 0,
            dialling: 0,
            occupied: 0,
            active: 0,
            warm: false,
            closed: false,
            counts: Counts::default(),
            at_once: 0,
            effects: None,
        }
    }

    /// A lease on the least loaded link with room, or nothing. Never overtakes a waiter, never dials, never allocates
    /// unless it comes upon a dead link.
    pub(super) fn try_checkout(&mut self) -> Option<Grant<L>> {
        if let Some(link) = self.try_first() {
            return Some(Grant { link, index: FIRST, origin: Origin::Reused });
        }
        if !self.waiting.is_empty() {
            return None;
        }
        let index = self.least_loaded()?;
        let grant = self.lease(index, Origin::Reused)?;
        self.at_once += 1;
        Some(grant)
    }

    /// What [`try_checkout`](Self::try_checkout) would grant, if that is the [`FIRST`] link for sure: nearly always it is
    /// idle or the only one, and so the least loaded. It has no effects then.
    #[inline(always)]
    pub(super) fn try_first(&mut self) -> Option<Arc<L>> {
        let is_only = self.links.len() == 1;
        let first = self.links.get_mut(FIRST)?;
        let is_least = first.leases == 0 || is_only;
        if !self.waiting.is_empty() || !is_least || !first.may_lease(self.limits.leases_per_link) {
            return None;
        }
        self.active += usize::from(first.leases == 0);
        self.warm = true;
        self.at_once += 1;
        first.leases += 1;
        first.served = true;
        Some(Arc::clone(&first.link))
    }

    /// Queues a waiter. It is served through [`Effects::grants`], perhaps by this very call.
    pub(super) fn checkout(&mut self, waiter: W) -> Result<Ticket, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        if self.waiting.len() >= self.limits.max_waiting {
            return Err(Refusal::TooManyWaiting);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.push_back((ticket, waiter));
        self.pump(Origin::Reused);
        Ok(ticket)
    }

    /// Takes a waiter out of the queue; nothing if it was served. Also tells whether a dial was under way for it; without
    /// one it stood behind the limit. The dial goes on: its link serves the next.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Option<(W, bool)> {
        let position = self.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        let covered = position < self.coverage(self.dialling);
        self.waiting.remove(position).map(|(_, waiter)| (waiter, covered))
    }

    /// A lease came back; `discarded` if its link must not be used again.
    pub(super) fn checkin(&mut self, index: usize, discarded: bool) {
        let is_spent = discarded || !self.limits.reuse || self.links.get(index).is_some_and(Entry::is_spent);
        if self.give_back(index) && is_spent {
            let cause = match self.links.get(index).and_then(|entry| entry.retired) {
                _ if discarded => Cause::Discarded,
                Some(cause) => cause,
                None if !self.limits.reuse => Cause::Unpooled,
                None => Cause::Spent,
            };
            self.retire(index, cause);
        }
        self.pump(Origin::Reused);
    }

    /// [`checkin`](Self::checkin) of a link that others may use again, while nobody waits; otherwise nothing happens, and it
    /// says no. It has no effects.
    #[inline(always)]
    pub(super) fn try_checkin(&mut self, index: usize) -> bool {
        let is_good = |entry: &Entry<L>| !entry.is_spent();
        self.waiting.is_empty()
            && self.limits.reuse
            && self.links.get(index).is_some_and(is_good)
            && self.give_back(index)
    }

    /// Whether there was a lease to give back.
    #[inline(always)]
    fn give_back(&mut self, index: usize) -> bool {
        let Some(entry) = self.links.get_mut(index) else { return false };
        let Some(leases) = entry.leases.checked_sub(1) else { return false };
        entry.leases = leases;
        if leases == 0 {
            self.active -= 1;
            entry.idle_since = None;
        }
        true
    }

    /// A dial brought a link. `random` is uniform and sets the jitter of the link's lifetime.
    pub(super) fn connected(&mut self, link: Arc<L>, now: Instant, random: u64) {
        self.dialling = self.dialling.saturating_sub(1);
        self.counts.created += 1;
        if self.closed || (!self.limits.reuse && self.waiting.is_empty()) {
            let cause = if self.closed { Cause::Closed } else { Cause::Unpooled };
            self.effects().evicted.push((link, cause));
            return;
        }
        // Never while there are links: how they are counted depends on it. A link that serves once has one lease, whatever
        // it could carry.
        if let Some(capacity) = link.capacity().filter(|_| self.links.is_empty() && self.limits.reuse) {
            self.limits.leases_per_link = capacity.max(1);
        }
        let expires = now.checked_add(jittered(self.limits.max_lifetime, random));
        let entry = Entry { link, leases: 0, retired: None, served: false, expires, idle_since: None, pinged: None };
        let index = self.links.insert(entry);
        self.occupied += 1;
        // The first waiter takes the link without asking for room: a link that knows its limits only once the peer has
        // spoken would otherwise be dialled again and again.
        if let Some((_, waiter)) = self.waiting.pop_front()
            && let Some(grant) = self.lease(index, Origin::Dialled)
        {
            self.effects().grants.push((waiter, grant));
        }
        self.pump(Origin::Joined);
    }

    /// A dial failed. Returns those who waited for it: as many as the dials that are left cannot serve.
    pub(super) fn failed(&mut self) -> Vec<W> {
        self.dialling = self.dialling.saturating_sub(1);
        self.warm = false;
        let unserved = self.waiting.len().saturating_sub(self.coverage(self.dialling));
        let joined = unserved.min(self.limits.leases_per_link);
        let victims = self.waiting.drain(..joined).map(|(_, waiter)| waiter).collect();
        self.pump(Origin::Reused);
        victims
    }

    /// Time passed: evicts what is dead, old or idle, serves waiters whom a link without a lease returned has room for
    /// now, pings, and restores `min_idle`.
    pub(super) fn expire(&mut self, now: Instant) {
        self.retire_dead_and_old(now);
        self.retire_idle(now);
        self.pump(Origin::Reused);
        self.ping_idle(now);
        if self.warm && self.limits.reuse && !self.closed {
            while self.ready() + self.dialling < self.limits.min_idle && self.may_dial() {
                self.dial();
            }
        }
    }

    /// Refuses from now on, closes idle links, and the others as their leases come back. Returns all waiters.
    pub(super) fn close(&mut self) -> Vec<W> {
        self.closed = true;
        for index in self.indices() {
            self.retire(index, Cause::Closed);
        }
        self.waiting.drain(..).map(|(_, waiter)| waiter).collect()
    }

    /// Whether there is something to be done.
    #[inline]
    pub(super) fn has_effects(&self) -> bool {
        self.effects.is_some()
    }

    /// What is to be done; forgets it.
    pub(super) fn take_effects(&mut self) -> Option<Box<Effects<L, W>>> {
        self.effects.take()
    }

    /// Links with a lease, links without one.
    pub(super) fn gauges(&self) -> (usize, usize) {
        (self.active, self.links.len() - self.active)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { reused: self.counts.reused + self.at_once, ..self.counts }
    }

    /// Of those in [`counts`](Self::counts) that are reused, the ones that [`try_checkout`](Self::try_checkout) gave.
    #[inline]
    pub(super) fn at_once(&self) -> u64 {
        self.at_once
    }

    /// How many links there are.
    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nobody uses the target now: no lease, no waiter, no dial.
    pub(super) fn is_dormant(&self) -> bool {
        self.active == 0 && self.dialling == 0 && self.waiting.is_empty()
    }

    /// Dormant and without links: the key can be pruned.
    pub(super) fn is_empty(&self) -> bool {
        self.is_dormant() && self.links.is_empty()
    }

    /// Serves waiters in order for as long as links have room, then dials for the rest as far as the limit allows.
    fn pump(&mut self, origin: Origin) {
        if !self.waiting.is_empty() {
            self.serve(origin);
        }
    }

    /// Out of line, because the common lease comes back while nobody waits.
    #[cold]
    fn serve(&mut self, origin: Origin) {
        while !self.waiting.is_empty()
            && let Some(index) = self.least_loaded()
            && let Some(grant) = self.lease(index, origin)
            && let Some((_, waiter)) = self.waiting.pop_front()
        {
            self.counts.reused += 1;
            self.effects().grants.push((waiter, grant));
        }
        while self.coverage(self.dialling) < self.waiting.len() && self.may_dial() {
            self.dial();
        }
    }

    /// The link with the fewest leases that has room; among equals the one that has stood longest in its place, so that
    /// a pool that is hardly used converges on few links and the rest idles out. Retires the dead that it comes upon.
    fn least_loaded(&mut self) -> Option<usize> {
        loop {
            let mut fewest = self.limits.leases_per_link;
            let mut best = None;
            let mut dead = None;
            for (index, entry) in &self.links {
                if entry.leases >= fewest || entry.retired.is_some() {
                    continue;
                }
                if !entry.link.is_usable() {
                    dead = Some(index);
                    break;
                }
                if entry.link.has_room() {
                    fewest = entry.leases;
                    best = Some(index);
                    if fewest == 0 {
                        break;
                    }
                }
            }
            match dead {
                Some(index) => self.retire(index, Cause::Unusable),
                None => return best,
            }
        }
    }

    fn lease(&mut self, index: usize, origin: Origin) -> Option<Grant<L>> {
        let entry = self.links.get_mut(index)?;
        self.active += usize::from(entry.leases == 0);
        self.warm = true;
        entry.leases += 1;
        entry.served = true;
        Some(Grant { link: Arc::clone(&entry.link), index, origin })
    }

    /// Hands the link out no more; closes it now, or when its last lease comes back. The first cause stands.
    #[cold]
    fn retire(&mut self, index: usize, cause: Cause) {
        let exclusive = self.is_exclusive();
        let Some(entry) = self.links.get_mut(index) else { return };
        if entry.retired.is_none() {
            entry.retired = Some(cause);
            self.occupied -= usize::from(!exclusive);
        }
        if entry.leases == 0 {
            let entry = self.links.remove(index);
            self.occupied -= usize::from(exclusive);
            self.effects().evicted.push((entry.link, entry.retired.unwrap_or(cause)));
        }
    }

    fn retire_dead_and_old(&mut self, now: Instant) {
        for index in self.indices() {
            let Some(entry) = self.links.get(index) else { continue };
            // An exclusive link is its lease's own business: it is looked at when it comes back.
            let ours = entry.leases == 0 || !self.is_exclusive();
            if ours && !entry.link.is_usable() {
                self.retire(index, Cause::Unusable);
            } else if entry.expires.is_some_and(|expires| now >= expires) {
                // A link that lived its whole life unused gets no successor: so a target that nobody asks for any more
                // is forgotten, however small `min_idle` is.
                self.warm &= entry.served;
                self.retire(index, Cause::Lifetime);
            }
        }
    }

    fn retire_idle(&mut self, now: Instant) {
        let timeout = self.limits.idle_timeout;
        let mut ready = self.ready();
        // From the back, because checkouts take from the front.
        for index in self.indices().into_iter().rev() {
            let Some(entry) = self.links.get_mut(index).filter(|entry| entry.leases == 0) else { continue };
            let since = *entry.idle_since.get_or_insert_with(|| {
                entry.pinged = None;
                now
            });
            if ready > self.limits.min_idle && now.saturating_duration_since(since) >= timeout {
                ready -= 1;
                self.retire(index, Cause::Idle);
            }
        }
    }

    fn ping_idle(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (_, entry) in &mut self.links {
            let Some(since) = entry.idle_since.filter(|_| entry.leases == 0) else { continue };
            if now.saturating_duration_since(entry.pinged.unwrap_or(since)) >= self.limits.keepalive {
                entry.pinged = Some(now);
                due.push(Arc::clone(&entry.link));
            }
        }
        if !due.is_empty() {
            self.effects().pings = due;
        }
    }

    fn effects(&mut self) -> &mut Effects<L, W> {
        self.effects.get_or_insert_default()
    }

    fn dial(&mut self) {
        self.dialling += 1;
        self.effects().dials += 1;
    }

    fn may_dial(&self) -> bool {
        self.occupied + self.dialling < self.limits.max_links
    }

    /// Waiters that so many dials will serve.
    fn coverage(&self, dials: usize) -> usize {
        dials.saturating_mul(self.limits.leases_per_link)
    }

    /// Links that could take a lease, as far as leases are counted. For exclusive links that is the idle ones; a shared
    /// link that is in use but not full is as good as an idle one, and `min_idle` must not dial a second beside it.
    fn ready(&self) -> usize {
        let fits = |entry: &Entry<L>| entry.retired.is_none() && entry.leases < self.limits.leases_per_link;
        self.links.iter().filter(|(_, entry)| fits(entry)).count()
    }

    fn is_exclusive(&self) -> bool {
        self.limits.leases_per_link == 1
    }

    fn indices(&self) -> Vec<usize> {
        self.links.iter().map(|(index, _)| index).collect()
    }
}

/// `lifetime` less up to a tenth, so that links that were dialled together are not replaced together.
fn jittered(lifetime: Duration, random: u64) -> Duration {
    let fraction = random as f64 / u64::MAX as f64;
    lifetime.saturating_sub((lifetime / 10).mul_f64(fraction))
}

#[cfg(test)]
impl<L: Link, W> Core<L, W> {
    /// Live links and dials.
    pub(super) fn occupancy(&self) -> (usize, usize) {
        (self.occupied, self.dialling)
    }

    pub(super) fn is_retired(&self, link: &Arc<L>) -> bool {
        self.links.iter().any(|(_, entry)| Arc::ptr_eq(&entry.link, link) && entry.retired.is_some())
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &W> {
        self.waiting.iter().map(|(_, waiter)| waiter)
    }
}
