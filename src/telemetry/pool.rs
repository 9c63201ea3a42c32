// SPDX-License-Identifier: Apache-2.0
//! The metrics of one target of a pool of links.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::{Mutex, MutexGuard};

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
pub struct PoolMetrics {
    figures: Arc<Figures>,
    share: Arc<Share>,
}

/// One pool's part of a series. Several pools may count into one series (those beyond the cap all do), so each has gauges of
/// its own, which are added up when somebody asks: a lease that comes and goes turns them twice.
#[derive(Debug, Default)]
struct Share {
    series: Arc<PoolSeries>,
    figures: Arc<Figures>,
}

/// Written by the pool alone, under a lock of its own: nothing here is added to.
#[derive(Debug, Default)]
struct Figures {
    /// Active links in the high half, idle ones in the low half.
    gauges: AtomicU64,
    /// Leases that were there at once, on links that were: for two figures of the series.
    at_once: AtomicU64,
}

/// What all pools counted for one target.
#[derive(Debug)]
pub(super) struct PoolSeries {
    created: AtomicU64,
    reused: AtomicU64,
    validation_failures: AtomicU64,
    shares: Mutex<Shares>,
    acquisition: Histogram,
    handles: PoolHandles,
}

#[derive(Debug, Default)]
struct Shares {
    present: Vec<Arc<Figures>>,
    /// What those that are gone had at once.
    past_at_once: u64,
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
        let figures = Arc::new(Figures::default());
        series.shares().present.push(Arc::clone(&figures));
        Self { figures: Arc::clone(&figures), share: Arc::new(Share { series, figures }) }
    }

    /// A link was dialled.
    pub fn created(&self) {
        self.share.series.created.fetch_add(1, Ordering::Relaxed);
    }

    /// A lease was given on a link that was already there.
    pub fn reused(&self) {
        self.share.series.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// A lease was given after `took`.
    pub fn acquired(&self, took: Duration) {
        self.share.series.acquisition.observe(took);
    }

    /// A link was found dead when it was to be handed out.
    pub fn validation_failure(&self) {
        self.share.series.validation_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// This pool gave so many leases in all without a wait, on links that were already there. They count as
    /// [`reused`](Self::reused) and [`acquired`](Self::acquired), and must not be told of by those again.
    #[inline]
    pub fn set_reused_at_once(&self, leases: u64) {
        self.figures.at_once.store(leases, Ordering::Relaxed);
    }

    /// This pool now has so many links with and without an open stream.
    #[inline]
    pub fn set(&self, active: usize, idle: usize) {
        // Nobody has four thousand million links.
        let half = |links: usize| u64::from(links as u32);
        self.figures.gauges.store(half(active) << 32 | half(idle), Ordering::Relaxed);
    }
}

impl PoolSeries {
    pub(super) fn new(handles: PoolHandles) -> Self {
        Self {
            created: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            validation_failures: AtomicU64::new(0),
            shares: Mutex::default(),
            acquisition: Histogram::default(),
            handles,
        }
    }

    /// Brings the exporter up to date and returns the latencies, which it does not keep.
    pub(super) fn publish(&self) -> Snapshot {
        let (mut active, mut idle) = (0, 0);
        let shares = self.shares();
        let mut at_once = shares.past_at_once;
        for figures in &shares.present {
            let gauges = figures.gauges.load(Ordering::Relaxed);
            active += gauges >> 32;
            idle += gauges & u64::from(u32::MAX);
            at_once += figures.at_once.load(Ordering::Relaxed);
        }
        drop(shares);
        self.handles.created.absolute(self.created.load(Ordering::Relaxed));
        self.handles.reused.absolute(self.reused.load(Ordering::Relaxed) + at_once);
        self.handles.validation_failures.absolute(self.validation_failures.load(Ordering::Relaxed));
        self.handles.active.set(active as f64);
        self.handles.idle.set(idle as f64);
        self.acquisition.snapshot().and_at_once(at_once)
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.series.shares();
        shares.present.retain(|figures| !Arc::ptr_eq(figures, &self.figures));
        shares.past_at_once += self.figures.at_once.load(Ordering::Relaxed);
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
