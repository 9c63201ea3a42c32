// SPDX-License-Identifier: Apache-2.0
//! What the clones of a pool share: the map from keys to [`Slot`]s, and what every slot needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::core::{Counts, Limits};
use super::slot::Slot;
use super::{BoxFuture, Link, PoolKey, PoolSettings, PoolStats};
use crate::error::Result;
use crate::telemetry::PoolMetrics;

/// Keys beyond which a new one first lets go of one that nobody uses. Those in use are bounded by their users.
const MAX_TARGETS: usize = 4096;

/// Waiters per target; far above what admission lets in, so that it bounds memory and nothing else.
const MAX_WAITING: usize = 16 * 1024;

pub(super) struct Shared<L: Link> {
    common: Arc<Common<L>>,
    map: Mutex<Map<L>>,
}

/// What every slot of a pool needs, without the map: a lease keeps this alive, not the pool.
pub(super) struct Common<L: Link> {
    pub(super) limits: Limits,
    pub(super) connect_timeout: Duration,
    pub(super) exhausted_hint: &'static str,
    pub(super) metrics: MetricsOf,
    pub(super) connect: Connect<L>,
    /// Turns true when the pool closes; ends dials and upkeep.
    pub(super) closing: watch::Sender<bool>,
}

pub(super) type MetricsOf = Box<dyn Fn(&PoolKey) -> PoolMetrics + Send + Sync>;
pub(super) type Connect<L> = Box<dyn Fn(PoolKey) -> BoxFuture<'static, Result<L>> + Send + Sync>;

/// A slot that anybody else refers to stays: a second one for the same key would have a limit of its own. New references
/// come from here only, under the lock.
struct Map<L: Link> {
    slots: HashMap<PoolKey, Arc<Slot<L>>>,
    /// The upkeep task runs.
    kept: bool,
    closed: bool,
    /// Totals of slots that were pruned.
    past: Counts,
}

/// What upkeep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing to look after: the task ends, and [`Shared::claim_upkeep`] will say yes again.
    Nothing,
    /// Links.
    Links,
    /// Links, and leases that wait for room on them.
    Waiters,
}

impl<L: Link> Common<L> {
    /// When a checkout that brings no deadline gives up.
    pub(super) fn until(&self, now: tokio::time::Instant) -> tokio::time::Instant {
        // A timeout beyond what the clock can tell is as good as a year.
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        now + self.connect_timeout.saturating_mul(2).min(YEAR)
    }
}

impl<L: Link> Shared<L> {
    pub(super) fn new(settings: PoolSettings, metrics: MetricsOf, connect: Connect<L>) -> Self {
        let PoolSettings { config, leases_per_link, connect_timeout, exhausted_hint } = settings;
        let limits = Limits {
            // A link that serves once has one lease.
            leases_per_link: if config.enabled { leases_per_link.max(1) } else { 1 },
            max_links: config.max_per_target.max(1),
            max_waiting: MAX_WAITING,
            min_idle: config.min_idle,
            idle_timeout: config.idle_timeout,
            max_lifetime: config.max_lifetime,
            keepalive: config.keepalive,
            reuse: config.enabled,
        };
        let closing = watch::Sender::new(false);
        let map = Map { slots: HashMap::new(), kept: false, closed: false, past: Counts::default() };
        Self {
            common: Arc::new(Common { limits, connect_timeout, exhausted_hint, metrics, connect, closing }),
            map: Mutex::new(map),
        }
    }

    pub(super) fn common(&self) -> &Arc<Common<L>> {
        &self.common
    }

    pub(super) fn find(&self, key: &PoolKey) -> Option<Arc<Slot<L>>> {
        self.map().slots.get(key).cloned()
    }

    /// The slot of `key`, made on first use. That of a closed pool is closed too.
    pub(super) fn slot(&self, key: &PoolKey) -> Arc<Slot<L>> {
        let mut map = self.map();
        if let Some(slot) = map.slots.get(key) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::new(key.clone(), Arc::clone(&self.common)));
        if map.closed {
            slot.close();
            return slot;
        }
        let displaced = if map.slots.len() >= MAX_TARGETS { map.displace() } else { None };
        map.slots.insert(key.clone(), Arc::clone(&slot));
        drop(map);
        if let Some(displaced) = displaced {
            displaced.close();
        }
        slot
    }

    /// Whether the caller is to start the upkeep task.
    pub(super) fn claim_upkeep(&self) -> bool {
        let mut map = self.map();
        !std::mem::replace(&mut map.kept, true)
    }

    /// The upkeep task is gone without having said [`Found::Nothing`].
    pub(super) fn release_upkeep(&self) {
        self.map().kept = false;
    }

    /// One round over all targets; prunes those that are empty.
    pub(super) fn upkeep(&self, now: Instant) -> Found {
        let slots: Vec<_> = self.map().slots.values().cloned().collect();
        // Not `any`: every slot has its turn.
        let waiters = slots.iter().filter(|slot| slot.expire(now)).count();
        drop(slots);
        let mut map = self.map();
        map.prune();
        // Under the map's lock, so that a checkout that comes now either was seen here or claims the upkeep anew.
        if map.slots.values().all(|slot| slot.is_empty()) {
            map.kept = false;
            return Found::Nothing;
        }
        if waiters > 0 { Found::Waiters } else { Found::Links }
    }

    pub(super) fn close(&self) {
        self.common.closing.send_replace(true);
        let mut map = self.map();
        map.closed = true;
        let slots: Vec<_> = map.slots.values().cloned().collect();
        drop(map);
        slots.iter().for_each(Slot::close);
    }

    pub(super) fn stats(&self) -> PoolStats {
        let map = self.map();
        let mut stats = PoolStats { created: map.past.created, reused: map.past.reused, active: 0, idle: 0 };
        for slot in map.slots.values() {
            let (counts, (active, idle)) = (slot.counts(), slot.gauges());
            stats.created += counts.created;
            stats.reused += counts.reused;
            stats.active += active;
            stats.idle += idle;
        }
        stats
    }

    fn map(&self) -> MutexGuard<'_, Map<L>> {
        self.map.lock()
    }

    #[cfg(test)]
    pub(super) fn targets(&self) -> usize {
        self.map().slots.len()
    }
}

impl<L: Link> Map<L> {
    fn prune(&mut self) {
        let past = &mut self.past;
        self.slots.retain(|_, slot| {
            // A slot that is empty and abandoned has no links, so that only the map refers to it.
            let keep = !slot.is_empty() || !slot.is_abandoned(1);
            if !keep {
                add(past, slot.counts());
            }
            keep
        });
    }

    /// Takes out some slot that nobody uses or holds, with its idle links.
    fn displace(&mut self) -> Option<Arc<Slot<L>>> {
        let key = self.slots.iter().find(|(_, slot)| slot.is_abandoned(1)).map(|(key, _)| key.clone())?;
        let slot = self.slots.remove(&key)?;
        add(&mut self.past, slot.counts());
        Some(slot)
    }
}

fn add(total: &mut Counts, counts: Counts) {
    total.created += counts.created;
    total.reused += counts.reused;
}

impl<L: Link> Drop for Shared<L> {
    fn drop(&mut self) {
        self.close();
    }
}
