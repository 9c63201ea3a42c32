// SPDX-License-Identifier: Apache-2.0
//! The metrics of one transport on one plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge};
use parking_lot::Mutex;

use super::histogram::{Histogram, Snapshot};
use super::names::ERROR_TYPES;
use crate::error::ErrorKind;

/// Counts the requests of one transport on one plane. Cheap to clone; the default counts for nobody.
#[derive(Clone, Debug, Default)]
pub struct PlaneMetrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    own: Tally,
    /// What counts for this series and for others.
    shared: Mutex<Vec<Arc<Tally>>>,
    handles: PlaneHandles,
}

/// A request costs three atomic additions: one here at its begin, two in the histogram at its end. How many are active is
/// what has begun less what has ended, so that it needs no gauge of its own.
#[derive(Debug, Default)]
struct Tally {
    begun: AtomicU64,
    latency: Histogram,
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
        Self { own: Tally::default(), shared: Mutex::default(), handles }
    }
}

impl Tally {
    fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, count: u64, took: Duration) {
        self.latency.count(took, count);
    }
}

impl PlaneMetrics {
    pub(super) fn new(handles: PlaneHandles) -> Self {
        Self(Arc::new(Series::new(handles)))
    }

    /// A request begins: `transport_requests_total` and `transport_active_streams` go up by one.
    pub fn begin(&self) -> InFlight {
        self.0.own.begun();
        InFlight { series: self.0.clone(), began: Instant::now() }
    }

    /// As [`begin`](Self::begin), for one who keeps the metrics and the time himself and then says
    /// [`ended`](Self::ended).
    pub(crate) fn begun(&self) {
        self.0.own.begun();
    }

    /// What [`begun`](Self::begun) at `began`, for one who keeps it after all.
    pub(crate) fn begun_at(&self, began: Instant) -> InFlight {
        InFlight { series: self.0.clone(), began }
    }

    /// `count` requests that [`begun`](Self::begun) ended.
    pub(crate) fn ended_together(&self, count: u64, took: Duration) {
        self.0.own.ended(count, took);
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
        let shared = self.0.shared.lock();
        let mut latency = self.0.own.latency.snapshot();
        shared.iter().for_each(|tally| latency.add(&tally.latency.snapshot()));
        let tallies = shared.iter().map(|tally| &**tally).chain([&self.0.own]);
        let begun: u64 = tallies.map(|tally| tally.begun.load(Ordering::Relaxed)).sum();
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

/// Counts the calls of a caller, each of which is one request on a request plane and one answer on a response plane: once
/// for both, because they begin and end together.
#[derive(Clone, Debug)]
pub(crate) struct PairMetrics {
    tally: Arc<Tally>,
    planes: [PlaneMetrics; 2],
}

impl PairMetrics {
    pub(super) fn new(planes: [PlaneMetrics; 2]) -> Self {
        let tally = Arc::<Tally>::default();
        for plane in &planes {
            plane.0.shared.lock().push(tally.clone());
        }
        Self { tally, planes }
    }

    /// A call begins.
    pub(crate) fn begun(&self) {
        self.tally.begun();
    }

    /// One that [`begun`](Self::begun) is over.
    pub(crate) fn ended(&self, took: Duration) {
        self.tally.ended(1, took);
    }

    /// One that [`begun`](Self::begun) failed. Every call counts.
    pub(crate) fn fail(&self, kind: ErrorKind) {
        self.planes.iter().for_each(|plane| plane.error(kind));
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
        self.series.own.ended(1, self.began.elapsed());
    }
}
