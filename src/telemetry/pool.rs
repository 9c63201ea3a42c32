// SPDX-License-Identifier: Apache-2.0
//! The metrics of one target of a pool of links.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};

use super::histogram::{Histogram, Snapshot};
use super::names::{PoolMetricNames, TCP_POOL, TRANSPORT_POOL};

/// Under which names a pool counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolFamily {
    /// `tcp_pool_*{target}`: the call-home links of the tcp response plane.
    Tcp,
    /// `transport_pool_*{transport,target}`: everything else.
    Transport,
}

impl PoolFamily {
    /// The names.
    pub const fn names(self) -> &'static PoolMetricNames {
        match self {
            Self::Tcp => &TCP_POOL,
            Self::Transport => &TRANSPORT_POOL,
        }
    }
}

/// Counts what a pool does for one target. Cheap to clone; the default counts for nobody.
#[derive(Clone, Debug, Default)]
pub struct PoolMetrics(Arc<Share>);

/// One pool's part of a series. Several pools may count into one series (those beyond the cap all do), so each remembers what
/// it added to the gauges, and takes it back when it is gone.
#[derive(Debug, Default)]
struct Share {
    series: Arc<PoolSeries>,
    active: AtomicUsize,
    idle: AtomicUsize,
}

/// What all pools counted for one target.
#[derive(Debug)]
pub(super) struct PoolSeries {
    created: AtomicU64,
    reused: AtomicU64,
    validation_failures: AtomicU64,
    active: AtomicUsize,
    idle: AtomicUsize,
    acquisition: Histogram,
    handles: PoolHandles,
}

/// Where the exporter keeps what it shows.
#[derive(Debug)]
pub(super) struct PoolHandles {
    pub(super) created: Counter,
    pub(super) reused: Counter,
    pub(super) validation_failures: Counter,
    pub(super) active: Gauge,
    pub(super) idle: Gauge,
}

impl PoolMetrics {
    pub(super) fn new(series: Arc<PoolSeries>) -> Self {
        Self(Arc::new(Share { series, active: AtomicUsize::new(0), idle: AtomicUsize::new(0) }))
    }

    /// A link was dialled.
    pub fn created(&self) {
        self.0.series.created.fetch_add(1, Ordering::Relaxed);
    }

    /// A lease was given on a link that was already there.
    pub fn reused(&self) {
        self.0.series.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// A lease was given after `took`.
    pub fn acquired(&self, took: Duration) {
        self.0.series.acquisition.observe(took);
    }

    /// A link was found dead when it was to be handed out.
    pub fn validation_failure(&self) {
        self.0.series.validation_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// This pool now has so many links with and without an open stream.
    pub fn set(&self, active: usize, idle: usize) {
        replace(&self.0.active, active, &self.0.series.active);
        replace(&self.0.idle, idle, &self.0.series.idle);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        replace(&self.active, 0, &self.series.active);
        replace(&self.idle, 0, &self.series.idle);
    }
}

/// Puts `new` in the place of what `share` added to `sum`. Racing calls add up, whatever their order: each takes back exactly
/// what another one put.
fn replace(share: &AtomicUsize, new: usize, sum: &AtomicUsize) {
    let old = share.swap(new, Ordering::Relaxed);
    if old != new {
        sum.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
    }
}

impl PoolSeries {
    pub(super) fn new(handles: PoolHandles) -> Self {
        Self {
            created: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            validation_failures: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            acquisition: Histogram::default(),
            handles,
        }
    }

    /// Brings the exporter up to date and returns the latencies, which it does not keep.
    pub(super) fn publish(&self) -> Snapshot {
        // Between the two halves of `replace` a sum may be below zero for an instant.
        let gauge = |sum: &AtomicUsize| (sum.load(Ordering::Relaxed) as isize).max(0) as f64;
        self.handles.created.absolute(self.created.load(Ordering::Relaxed));
        self.handles.reused.absolute(self.reused.load(Ordering::Relaxed));
        self.handles.validation_failures.absolute(self.validation_failures.load(Ordering::Relaxed));
        self.handles.active.set(gauge(&self.active));
        self.handles.idle.set(gauge(&self.idle));
        self.acquisition.snapshot()
    }
}

impl Default for PoolSeries {
    fn default() -> Self {
        Self::new(PoolHandles {
            created: Counter::noop(),
            reused: Counter::noop(),
            validation_failures: Counter::noop(),
            active: Gauge::noop(),
            idle: Gauge::noop(),
        })
    }
}
