// SPDX-License-Identifier: Apache-2.0
//! Choosing among instances: [`Balancer`].
//!
//! No I/O, no clock, no global randomness: time comes in as `now`, chance as a seed, so that every decision can be played
//! again. A pick costs one short lock and no allocation, and reads the clock only while an instance has failed; what a
//! [`Pick`] counts is counted with atomics.
//!
//! Weights are shares of requests, whatever the policy. That decides how *least loaded of two* compares: load is judged per
//! weight, and only a difference of more than one request counts. With plain loads an instance of weight 10 beside one of
//! weight 90 would get half of the requests as soon as several are in flight, and without the slack it would be robbed of
//! a third of its share at low concurrency, where one request in flight already looks like much.

use std::cell::LazyCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::{Instance, Watch};
use crate::config::Balance;
use crate::error::{Error, Phase, Result, Retry};

/// How long an instance is set aside after its first failure; doubled by each further one.
pub const BACKOFF: Duration = Duration::from_secs(1);

/// The longest time for which an instance is set aside.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Chooses among the instances of one service. `T` is what its owner keeps per instance, such as connections to it: it is
/// there as long as the instance is, starts anew when that moves to other addresses, and comes with every [`Pick`].
pub struct Balancer<T = ()> {
    policy: Balance,
    state: Mutex<State<T>>,
}

impl<T: Default> Balancer<T> {
    /// Knows no instances yet. Equal seeds give equal choices.
    pub fn new(policy: Balance, seed: u64) -> Self {
        Self { policy, state: Mutex::new(State { slots: Vec::new(), chance: Chance(seed), watch: None }) }
    }

    /// Knows the instances of `watch`, and looks before every pick whether they have changed.
    pub(crate) fn following(policy: Balance, seed: u64, mut watch: Watch) -> Self {
        let balancer = Self::new(policy, seed);
        balancer.update(&watch.borrow_and_update());
        balancer.state().watch = Some(watch);
        balancer
    }

    /// The instances of the watch that it follows.
    pub(crate) fn watched(&self) -> Arc<[Instance]> {
        self.state().watch.as_ref().map_or_else(Arc::default, |watch| watch.borrow().clone())
    }

    /// Replaces the set of instances. Those that stay keep what is known about them: requests in flight, turns, failures;
    /// an instance that moved to other addresses starts without failures. Of several with one id the first counts.
    pub fn update(&self, instances: &[Instance]) {
        let mut fresh: Vec<&Instance> = instances.iter().collect();
        fresh.sort_by_key(|instance| instance.instance_id);
        fresh.dedup_by_key(|instance| instance.instance_id);
        let mut state = self.state();
        let renewed = fresh.into_iter().map(|instance| Slot::renewed(&state.slots, instance)).collect();
        let old = std::mem::replace(&mut state.slots, renewed);
        // Only then what goes with them, which is other people's.
        drop(state);
        drop(old);
    }

    /// The next instance by policy, none of `exclude` (those that a request has already tried).
    ///
    /// An instance that is set aside is passed over until its backoff has passed; if all are, the one that is due soonest
    /// is tried rather than none. [`NoService`](crate::ErrorKind::NoService) if there is no candidate; weight 0 is none.
    pub fn pick(&self, now: Instant, exclude: &[u64]) -> Result<Pick<T>> {
        self.pick_at(|| now, exclude)
    }

    /// [`pick`](Self::pick) with a clock that is read only if something depends on the time.
    pub fn pick_at(&self, clock: impl FnOnce() -> Instant, exclude: &[u64]) -> Result<Pick<T>> {
        let mut state = self.fresh_state();
        // Whoever is alone is taken, due or not.
        if let [slot] = &state.slots[..]
            && slot.candidate(exclude)
        {
            return Ok(slot.pick());
        }
        let now = LazyCell::new(clock);
        let eligible = |slot: &Slot<T>| slot.candidate(exclude) && slot.member().due(|| *now).is_none();
        let chosen = match self.policy {
            Balance::RoundRobin => state.in_turn(eligible),
            Balance::Random => state.draw(eligible),
            Balance::LeastLoaded => state.less_loaded_of_two(eligible),
        };
        let chosen = chosen.or_else(|| state.soonest(*now, exclude));
        match chosen.and_then(|at| state.slots.get(at)) {
            Some(slot) => Ok(slot.pick()),
            None => Err(state.nobody(exclude)),
        }
    }

    /// The instance `id`, whatever its weight and its past: whoever names an instance wants that one.
    pub fn pick_direct(&self, id: u64) -> Result<Pick<T>> {
        let state = self.fresh_state();
        state.find(id).map(Slot::pick).ok_or_else(|| {
            let known: Vec<_> = state.slots.iter().take(8).map(|slot| slot.member().id.to_string()).collect();
            no_service(format!("there is no instance {id} (known: {})", or_none(&known.join(", "))))
        })
    }

    /// Requests in flight at instance `id`; `None` if it is not known.
    pub fn in_flight(&self, id: u64) -> Option<usize> {
        self.state().find(id).map(|slot| slot.member().load())
    }

    /// Requests sent to each known instance, by id.
    pub fn sent(&self) -> Vec<(u64, u64)> {
        self.state().slots.iter().map(|slot| (slot.member().id, slot.member().sent.load(Ordering::Relaxed))).collect()
    }

    /// Every known instance, without a turn taken.
    pub fn all(&self) -> Vec<Pick<T>> {
        self.state().slots.iter().map(Slot::pick).collect()
    }

    /// Has `renew` say what is kept from now on in place of what `pick` came with, unless that was replaced already; `pick`
    /// then comes with it too. Picks that others have are left as they are.
    pub(crate) fn renew(&self, pick: &mut Pick<T>, renew: impl FnOnce(&T) -> T) {
        let mut state = self.state();
        let old = &pick.chosen;
        let slot = state.slots.iter_mut().find(|slot| Arc::ptr_eq(&slot.chosen.member, &old.member));
        let is_kept = slot.as_ref().is_none_or(|slot| Arc::ptr_eq(&slot.chosen.kept, &old.kept));
        let fresh = match &slot {
            Some(slot) if !is_kept => slot.chosen.clone(),
            _ => {
                let instance = slot.as_ref().map_or(&old.instance, |slot| &slot.chosen.instance);
                let kept = Arc::new(renew(&old.kept));
                Arc::new(Chosen { instance: instance.clone(), member: old.member.clone(), kept })
            }
        };
        let published = slot.map(|slot| std::mem::replace(&mut slot.chosen, fresh.clone()));
        // Without the lock what goes with them, which is other people's.
        drop(state);
        drop((published, std::mem::replace(&mut pick.chosen, fresh)));
    }

    /// Until when instance `id` is set aside; `None` if it is not.
    pub fn set_aside_until(&self, id: u64, now: Instant) -> Option<Instant> {
        self.state().find(id).and_then(|slot| slot.member().due(|| now))
    }

    /// The state after any change of what is watched.
    #[inline]
    fn fresh_state(&self) -> MutexGuard<'_, State<T>> {
        let state = self.state();
        match &state.watch {
            // A watch whose sender is gone has changed for the last time.
            Some(watch) if watch.has_changed().unwrap_or(false) => self.notice_change(state),
            _ => state,
        }
    }

    #[cold]
    fn notice_change<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        let changed = state.watch.as_mut().map(|watch| watch.borrow_and_update().clone());
        drop(state);
        changed.into_iter().for_each(|instances| self.update(&instances));
        self.state()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here panics half-way through a change, so a poisoned state is a good one.
        self.state.lock()
    }
}

impl<T: Default> fmt::Debug for Balancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Balancer({:?}, {} instances)", self.policy, self.state().slots.len())
    }
}

/// A chosen instance. It counts as one request in flight until it is dropped.
pub struct Pick<T = ()> {
    chosen: Arc<Chosen<T>>,
    /// Failures of the member when it was picked: what a request that began before a failure tells is old news.
    failures: u32,
}

impl<T> Pick<T> {
    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.chosen.instance
    }

    /// What is kept for it. Stays the same for this pick, whatever comes in its place for others.
    pub fn kept(&self) -> &T {
        &self.chosen.kept
    }

    fn member(&self) -> &Member {
        &self.chosen.member
    }

    /// A request goes to the instance. Counted apart from picks, of which some come to nothing.
    pub fn sent(&self) {
        self.member().sent.fetch_add(1, Ordering::Relaxed);
    }

    /// The instance could not be reached, or died: it is set aside. Several requests that fail together count once.
    pub fn failed(&self, now: Instant) {
        let mut until = self.member().until();
        if self.member().failures.load(Ordering::Relaxed) != self.failures {
            return;
        }
        let backoff = BACKOFF.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(MAX_BACKOFF);
        *until = Some(now + backoff);
        self.member().failures.store(self.failures.saturating_add(1), Ordering::Release);
    }

    /// The instance took the request: its failures are forgotten.
    pub fn succeeded(&self) {
        // The common case, an instance that never failed, takes no lock.
        if self.failures == 0 {
            return;
        }
        let mut until = self.member().until();
        if self.member().failures.load(Ordering::Relaxed) == self.failures {
            *until = None;
            self.member().failures.store(0, Ordering::Release);
        }
    }
}

impl<T> Drop for Pick<T> {
    fn drop(&mut self) {
        self.member().dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for Pick<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pick({} {})", self.chosen.instance.name, self.member().id)
    }
}

struct State<T> {
    /// Ordered by id.
    slots: Vec<Slot<T>>,
    chance: Chance,
    watch: Option<Watch>,
}

/// An instance as it is published now. One counter for both, which every pick counts up and down.
struct Chosen<T> {
    instance: Arc<Instance>,
    member: Arc<Member>,
    kept: Arc<T>,
}

/// A [`Chosen`] among others.
struct Slot<T> {
    chosen: Arc<Chosen<T>>,
    /// Smooth weighted round-robin: what the instance is owed.
    owed: i64,
}

/// What is known about an instance beside its record, shared with the picks.
struct Member {
    id: u64,
    /// Changed only under the balancer's lock, so that it need not be counted up atomically.
    picked: AtomicUsize,
    /// Picks that are no more.
    dropped: AtomicUsize,
    sent: AtomicU64,
    /// Changed only under the lock of `until`; zero means that `until` is `None`.
    failures: AtomicU32,
    until: Mutex<Option<Instant>>,
}

impl<T: Default> State<T> {
    fn find(&self, id: u64) -> Option<&Slot<T>> {
        let at = self.slots.binary_search_by_key(&id, |slot| slot.member().id).ok()?;
        self.slots.get(at)
    }

    /// Smooth weighted round-robin: everyone is owed its weight per turn, the one who is owed most pays for the turn.
    /// Exact over any run of as many picks as the weights add up to, and it spreads the turns of the heavy ones.
    fn in_turn(&mut self, eligible: impl Fn(&Slot<T>) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if !eligible(slot) {
                continue;
            }
            slot.owed += slot.weight() as i64;
            total += slot.weight() as i64;
            if best.is_none_or(|(_, most)| slot.owed > most) {
                best = Some((at, slot.owed));
            }
        }
        let (at, _) = best?;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.owed -= total;
        }
        Some(at)
    }

    /// One of the eligible by weight.
    fn draw(&mut self, eligible: impl Fn(&Slot<T>) -> bool) -> Option<usize> {
        let total: u64 = self.slots.iter().filter(|slot| eligible(slot)).map(Slot::weight).sum();
        let mut mark = self.chance.below(total)?;
        self.slots.iter().position(|slot| {
            if !eligible(slot) {
                return false;
            }
            match mark.checked_sub(slot.weight()) {
                Some(rest) => {
                    mark = rest;
                    false
                }
                None => true,
            }
        })
    }

    /// The first one drawn, unless it is clearly more loaded for its weight than another one: by more than one request,
    /// and still so after the other one took this request.
    fn less_loaded_of_two(&mut self, eligible: impl Fn(&Slot<T>) -> bool) -> Option<usize> {
        let first = self.draw(&eligible)?;
        let chosen = self.slots.get(first)?;
        let (id, weight, load) = (chosen.member().id, chosen.weight(), chosen.member().load() as u64);
        let Some(second) = self.draw(|slot| slot.member().id != id && eligible(slot)) else { return Some(first) };
        let other = self.slots.get(second)?;
        let clearly_less = (other.member().load() as u64 + 1) * weight <= load.saturating_sub(1) * other.weight();
        Some(if clearly_less { second } else { first })
    }

    /// Of those that are set aside, the one that is due first.
    fn soonest(&self, now: Instant, exclude: &[u64]) -> Option<usize> {
        let candidates = self.slots.iter().enumerate().filter(|(_, slot)| slot.candidate(exclude));
        candidates.min_by_key(|(_, slot)| slot.member().due(|| now)).map(|(at, _)| at)
    }

    /// Why there is no candidate.
    fn nobody(&self, exclude: &[u64]) -> Error {
        let Some(first) = self.slots.first() else {
            return no_service("no instance is known".into())
                .with_hint("start one (biplane serve NAME ...) or look at what discovery holds (biplane services)");
        };
        let count = self.slots.len();
        let tried = self.slots.iter().filter(|slot| exclude.contains(&slot.member().id)).count();
        if tried == count {
            return no_service(format!("all {count} instances were tried"));
        }
        no_service(format!("{count} instances are known, {tried} were tried and the others have weight 0")).with_hint(
            format!("raise a weight: biplane services weight {} {} 100", first.chosen.instance.name, first.member().id),
        )
    }
}

impl<T: Default> Slot<T> {
    fn renewed(old: &[Self], instance: &Instance) -> Self {
        let old = old
            .binary_search_by_key(&instance.instance_id, |slot| slot.member().id)
            .ok()
            .and_then(|at| old.get(at))
            .filter(|slot| slot.chosen.instance.transport == instance.transport);
        let member = || Member {
            id: instance.instance_id,
            picked: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            until: Mutex::new(None),
        };
        let chosen = match old {
            Some(slot) if *slot.chosen.instance == *instance => slot.chosen.clone(),
            _ => Arc::new(Chosen {
                instance: Arc::new(instance.clone()),
                member: old.map_or_else(|| Arc::new(member()), |slot| slot.chosen.member.clone()),
                kept: old.map_or_else(Arc::default, |slot| slot.chosen.kept.clone()),
            }),
        };
        // A debt under another weight means nothing.
        let same_weight = old.filter(|slot| slot.weight() == u64::from(instance.weight));
        Self { chosen, owed: same_weight.map_or(0, |slot| slot.owed) }
    }

    fn member(&self) -> &Member {
        &self.chosen.member
    }

    fn weight(&self) -> u64 {
        u64::from(self.chosen.instance.weight)
    }

    fn candidate(&self, exclude: &[u64]) -> bool {
        self.weight() > 0 && !exclude.contains(&self.member().id)
    }

    fn pick(&self) -> Pick<T> {
        let picked = &self.member().picked;
        picked.store(picked.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        Pick { chosen: self.chosen.clone(), failures: self.member().failures.load(Ordering::Acquire) }
    }
}

impl Member {
    fn load(&self) -> usize {
        self.picked.load(Ordering::Relaxed).wrapping_sub(self.dropped.load(Ordering::Relaxed))
    }

    /// Until when it is set aside, if it is.
    fn due(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.failures.load(Ordering::Acquire) == 0 {
            return None;
        }
        let until = (*self.until())?;
        (now() < until).then_some(until)
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock()
    }
}

/// SplitMix64: small, seeded, good enough to spread load; nothing secret depends on it.
struct Chance(u64);

impl Chance {
    /// A number below `bound`; `None` below 0.
    fn below(&mut self, bound: u64) -> Option<u64> {
        if bound == 0 {
            return None;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The high half of the product: no division, and a bias far below one in a million for weights that fit 32 bits.
        Some(((u128::from(mixed) * u128::from(bound)) >> 64) as u64)
    }
}

fn no_service(message: String) -> Error {
    // Whatever was asked, it was not sent.
    Error::no_service(message).with_phase(Phase::Discover).with_retry(Retry::Safe)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
