// SPDX-License-Identifier: Apache-2.0
//! Metrics: one recorder per runtime, never the process's, so that two runtimes do not count into each other.
//!
//! A transport asks for its handles once ([`Telemetry::plane`], [`Telemetry::pool`]) and holds them. What happens per request
//! is then an atomic addition: no lock, no allocation, no lookup. [`Telemetry::render`] carries the figures over to the
//! exporter when somebody asks. The names are in [`names`], the buckets of the histograms in [`BUCKETS`].
//!
//! ```
//! # use biplane::{PlaneType, TransportId, telemetry::Telemetry};
//! let telemetry = Telemetry::default();
//! let metrics = telemetry.plane(&TransportId::TCP, PlaneType::Request);
//! let request = metrics.begin();
//! drop(request);
//! assert!(telemetry.render().contains(r#"transport_requests_total{transport="tcp",plane="request"} 1"#));
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use parking_lot::{Mutex, MutexGuard};

use crate::plane::PlaneType;
use crate::target::TransportId;

mod exposition;
mod figure;
mod histogram;
pub mod names;
mod plane;
mod pool;
mod target;

pub use self::figure::Figure;
pub use self::histogram::BUCKETS;
pub(crate) use self::plane::PairMetrics;
pub use self::plane::{InFlight, PlaneMetrics};
pub use self::pool::{PoolFamily, PoolMetrics};

use self::names::{ERROR_TYPES, Kind, Metric};
use self::plane::PlaneHandles;
use self::pool::{PoolHandles, PoolSeries};

/// The metrics of one runtime. Cheap to clone; the default is a fresh recorder.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    records_skipped: Counter,
    planes: Mutex<BTreeMap<PlaneKey, PlaneMetrics>>,
    pairs: Mutex<BTreeMap<(TransportId, TransportId), PairMetrics>>,
    pools: Mutex<BTreeMap<PoolKey, Arc<PoolSeries>>>,
    others: Mutex<Vec<figure::Read>>,
}

type PlaneKey = (TransportId, PlaneType);

/// Family, transport and label of the target; no transport where the family has no such label.
type PoolKey = (PoolFamily, Option<TransportId>, String);

impl Default for Telemetry {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in names::ALL {
            match metric.kind {
                Kind::Counter => recorder.describe_counter(metric.name.into(), None, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, metric.help.into()),
                // Ours; the exporter never hears of them.
                Kind::Histogram => {}
            }
        }
        let records_skipped = counter(&recorder, &names::RECORDS_SKIPPED, &[]);
        gauge(&recorder, &names::BUILD_INFO, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        Self(Arc::new(Inner {
            recorder,
            records_skipped,
            planes: Mutex::default(),
            pairs: Mutex::default(),
            pools: Mutex::default(),
            others: Mutex::default(),
        }))
    }
}

impl Telemetry {
    /// The metrics of `transport` on `plane`. The same pair gets the same series; ask once and keep it.
    pub fn plane(&self, transport: &TransportId, plane: PlaneType) -> PlaneMetrics {
        let make = || {
            let (recorder, transport) = (&self.0.recorder, transport.as_str());
            PlaneMetrics::new(PlaneHandles {
                requests: counter(recorder, &names::REQUESTS, &[transport, plane.as_str()]),
                active: gauge(recorder, &names::ACTIVE_STREAMS, &[transport, plane.as_str()]),
                // All from the start, at zero: a rate over a series that appears with its first error misses that error.
                errors: ERROR_TYPES.map(|error_type| counter(recorder, &names::ERRORS, &[transport, error_type])),
            })
        };
        lock(&self.0.planes).entry((transport.clone(), plane)).or_insert_with(make).clone()
    }

    /// The metrics of calls that go out by `request` and are answered by `response`. The same pair gets the same series.
    pub(crate) fn pair(&self, request: &TransportId, response: &TransportId) -> PairMetrics {
        let make =
            || PairMetrics::new([self.plane(request, PlaneType::Request), self.plane(response, PlaneType::Response)]);
        lock(&self.0.pairs).entry((request.clone(), response.clone())).or_insert_with(make).clone()
    }

    /// The metrics of a pool for one target. Ask once per target and keep it.
    ///
    /// The first 64 targets of a family get a series of their own, all others share `other`. Credentials in `target` do not
    /// show.
    pub fn pool(&self, family: PoolFamily, transport: &TransportId, target: &str) -> PoolMetrics {
        let transport = (family == PoolFamily::Transport).then(|| transport.clone());
        let mut pools = lock(&self.0.pools);
        let mut key = (family, transport, target::label(target).into_owned());
        if !pools.contains_key(&key) && named_targets(&pools, family) >= target::MAX_NAMED {
            key.2 = target::OTHER.to_owned();
        }
        let series = pools.entry(key).or_insert_with_key(|key| Arc::new(self.pool_series(key))).clone();
        PoolMetrics::new(series)
    }

    fn pool_series(&self, key: &PoolKey) -> PoolSeries {
        let (recorder, names, labels) = (&self.0.recorder, key.0.names(), pool_labels(key));
        PoolSeries::new(PoolHandles {
            created: counter(recorder, &names.created, &labels),
            reused: counter(recorder, &names.reused, &labels),
            validation_failures: counter(recorder, &names.validation_failures, &labels),
            active: gauge(recorder, &names.active, &labels),
            idle: gauge(recorder, &names.idle, &labels),
        })
    }

    /// A connect failed on `from` and is tried on `to`: `transport_fallbacks_total`.
    pub fn count_fallback(&self, from: &TransportId, to: &TransportId) {
        counter(&self.0.recorder, &names::FALLBACKS, &[from.as_str(), to.as_str()]).increment(1);
    }

    /// A discovery record could not be read: `biplane_discovery_records_skipped_total`.
    pub fn count_skipped_record(&self) {
        self.0.records_skipped.increment(1);
    }

    /// Shows what `read` gives whenever somebody asks for the page: for whoever keeps figures of its own. It is let go when
    /// it gives `None`. It must not ask for the page itself.
    pub fn show(&self, read: impl Fn() -> Option<Vec<Figure>> + Send + Sync + 'static) {
        lock(&self.0.others).push(Box::new(read));
    }

    /// Everything, in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let planes = lock(&self.0.planes).clone();
        let pools = lock(&self.0.pools).clone();

        let latencies: Vec<_> = planes
            .iter()
            .map(|((transport, plane), metrics)| (vec![transport.as_str(), plane.as_str()], metrics.publish()))
            .collect();
        let acquisitions = |family| {
            let of_family = pools.iter().filter(|(key, _)| key.0 == family);
            of_family.map(|(key, series)| (pool_labels(key), series.publish())).collect::<Vec<_>>()
        };
        let (tcp, transport) = (acquisitions(PoolFamily::Tcp), acquisitions(PoolFamily::Transport));

        // Only now: publishing is what brings the exporter up to date.
        let mut text = self.0.recorder.handle().render();
        exposition::write_histograms(&mut text, &names::LATENCY, &latencies);
        exposition::write_histograms(&mut text, &names::TCP_POOL.acquisition, &tcp);
        exposition::write_histograms(&mut text, &names::TRANSPORT_POOL.acquisition, &transport);
        let mut others = Vec::new();
        lock(&self.0.others).retain(|read| read().map(|figures| others.extend(figures)).is_some());
        figure::write(&mut text, others);
        text
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Telemetry({} planes, {} pool targets)", lock(&self.0.planes).len(), lock(&self.0.pools).len())
    }
}

fn named_targets(pools: &BTreeMap<PoolKey, Arc<PoolSeries>>, family: PoolFamily) -> usize {
    pools.keys().filter(|key| key.0 == family && key.2 != target::OTHER).count()
}

fn pool_labels((_, transport, target): &PoolKey) -> Vec<&str> {
    transport.iter().map(TransportId::as_str).chain([target.as_str()]).collect()
}

fn counter(recorder: &PrometheusRecorder, metric: &Metric, values: &[&str]) -> Counter {
    recorder.register_counter(&key(metric, values), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, metric: &Metric, values: &[&str]) -> Gauge {
    recorder.register_gauge(&key(metric, values), &METADATA)
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    let labels = metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

/// Asked for by the `Recorder` trait; this exporter does not look at it.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
pub(crate) mod page;
#[cfg(test)]
mod tests;
