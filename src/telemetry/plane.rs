// SPDX-License-Identifier: Apache-2.0
//! The metrics of one transport on one plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge};

use super::histogram::{Histogram, Observation, Snapshot};
use super::names::ERROR_TYPES;
use crate::error::ErrorKind;

/// Counts the requests of one transport on one plane. Cheap to clone; the default counts for nobody.
#[derive(Clone, Debug, Default)]
pub struct PlaneMetrics(Arc<Series>);

/// A request costs four atomic additions: one here at its begin, two in the histogram at its end, one for holding on to the
/// series. How many are active is what has begun less what has ended, so that it needs no gauge of its own.
#[derive(Debug)]
struct Series {
    begun: AtomicU64,
    latency: Histogram,
    handles: PlaneHandles,
}

/// Where the exporter keeps what it shows.
#[derive(Debug)]
pub(super) struct PlaneHandles {
    pub(super) requests: Counter,
    pub(super) active: Gauge,
    pub(super) errors: [Counter; ERROR_TYPES.len()],
}

impl Default for Series {
    fn default() -> Self {
        Self::new(PlaneHandles {
            requests: Counter::noop(),
            active: Gauge::noop(),
            errors: std::array::from_fn(|_| Counter::noop()),
        })
    }
}

impl Series {
    fn new(handles: PlaneHandles) -> Self {
        Self { begun: AtomicU64::new(0), latency: Histogram::default(), handles }
    }
}

impl PlaneMetrics {
    pub(super) fn new(handles: PlaneHandles) -> Self {
        Self(Arc::new(Series::new(handles)))
    }

    /// A request begins: `transport_requests_total` and `transport_active_streams` go up by one.
    pub fn begin(&self) -> InFlight {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        InFlight { series: self.0.clone(), began: Instant::now() }
    }

    /// As [`begin`](Self::begin), for one who keeps the metrics and the time himself and then says
    /// [`ended`](Self::ended).
    pub(crate) fn begun(&self) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// What [`begun`](Self::begun) at `began`, for one who keeps it after all.
    pub(crate) fn begun_at(&self, began: Instant) -> InFlight {
        InFlight { series: self.0.clone(), began }
    }

    /// A request that [`begun`](Self::begun) on each of `planes` ended on all of them.
    pub(crate) fn ended<const N: usize>(planes: [&Self; N], took: Duration) {
        let observation = Observation::new(took);
        planes.iter().for_each(|plane| plane.0.latency.count(observation, 1));
    }

    /// `count` requests that [`begun`](Self::begun) ended.
    pub(crate) fn ended_together(&self, count: u64, took: Duration) {
        self.0.latency.count(Observation::new(took), count);
    }

    /// Whether both count into the same series.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A failure of no particular request, such as a link that died idle: `transport_errors_total`.
    pub fn error(&self, kind: ErrorKind) {
        self.0.error(kind);
    }

    /// Brings the exporter up to date and returns the latencies, which it does not keep.
    pub(super) fn publish(&self) -> Snapshot {
        // What has ended is read first: every end that is seen has a begin that is seen.
        let latency = self.0.latency.snapshot();
        let begun = self.0.begun.load(Ordering::Relaxed);
        self.0.handles.requests.absolute(begun);
        self.0.handles.active.set(begun.saturating_sub(latency.count) as f64);
        latency
    }
}

impl Series {
    fn error(&self, kind: ErrorKind) {
        let at = ERROR_TYPES.iter().position(|name| *name == kind.error_type()).unwrap_or(ERROR_TYPES.len() - 1);
        if let Some(counter) = self.handles.errors.get(at) {
            counter.increment(1);
        }
    }
}

/// A request under way. Dropping it ends the request: `transport_active_streams` goes down and the time since
/// [`PlaneMetrics::begin`] goes into `transport_request_latency_seconds`.
#[derive(Debug)]
#[must_use = "dropping it ends the request"]
pub struct InFlight {
    series: Arc<Series>,
    began: Instant,
}

impl InFlight {
    /// The request failed: `transport_errors_total`. Every call counts.
    pub fn fail(&self, kind: ErrorKind) {
        self.series.error(kind);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.series.latency.observe(self.began.elapsed());
    }
}
