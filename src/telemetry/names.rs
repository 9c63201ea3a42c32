// SPDX-License-Identifier: Apache-2.0
//! Every metric that this crate writes: one table, from which descriptions and documents are made.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size, in seconds; [`BUCKETS`](super::BUCKETS) are its bounds.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The exact name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence for whoever reads the page.
    pub help: &'static str,
}

impl Metric {
    const fn new(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind, labels, help }
    }
}

const PLANE: &[&str] = &["transport", "plane"];
const TARGET: &[&str] = &["target"];
const TRANSPORT_TARGET: &[&str] = &["transport", "target"];

/// `transport_requests_total`
pub const REQUESTS: Metric = Metric::new("transport_requests_total", Kind::Counter, PLANE, "Requests begun.");

/// `transport_request_latency_seconds`
pub const LATENCY: Metric = Metric::new(
    "transport_request_latency_seconds",
    Kind::Histogram,
    PLANE,
    "Time from a request's begin to the end of its answer.",
);

/// `transport_active_streams`
pub const ACTIVE_STREAMS: Metric =
    Metric::new("transport_active_streams", Kind::Gauge, PLANE, "Requests begun and not yet ended.");

/// `transport_errors_total`
pub const ERRORS: Metric =
    Metric::new("transport_errors_total", Kind::Counter, &["transport", "error_type"], "Requests that failed.");

/// `transport_fallbacks_total`
pub const FALLBACKS: Metric = Metric::new(
    "transport_fallbacks_total",
    Kind::Counter,
    &["from", "to"],
    "Connects that failed on one transport and were tried on the next of BIPLANE_FALLBACK.",
);

/// `biplane_discovery_records_skipped_total`
pub const RECORDS_SKIPPED: Metric = Metric::new(
    "biplane_discovery_records_skipped_total",
    Kind::Counter,
    &[],
    "Discovery records that could not be read and were passed over.",
);

/// `biplane_build_info`
pub const BUILD_INFO: Metric =
    Metric::new("biplane_build_info", Kind::Gauge, &["version"], "Always 1; the version is the label.");

/// The metrics of one family of pools.
#[derive(Clone, Copy, Debug)]
pub struct PoolMetricNames {
    /// Links dialled.
    pub created: Metric,
    /// Leases on an existing link.
    pub reused: Metric,
    /// Links with an open stream.
    pub active: Metric,
    /// Links without one.
    pub idle: Metric,
    /// From asking for a lease to having it.
    pub acquisition: Metric,
    /// Links found dead when they were to be handed out.
    pub validation_failures: Metric,
}

/// `tcp_pool_*{target}`: the pool of call-home links.
pub const TCP_POOL: PoolMetricNames = PoolMetricNames {
    created: Metric::new("tcp_pool_connections_created_total", Kind::Counter, TARGET, CREATED),
    reused: Metric::new("tcp_pool_connections_reused_total", Kind::Counter, TARGET, REUSED),
    active: Metric::new("tcp_pool_active_connections", Kind::Gauge, TARGET, ACTIVE),
    idle: Metric::new("tcp_pool_idle_connections", Kind::Gauge, TARGET, IDLE),
    acquisition: Metric::new("tcp_pool_acquisition_latency_seconds", Kind::Histogram, TARGET, ACQUISITION),
    validation_failures: Metric::new("tcp_pool_validation_failures_total", Kind::Counter, TARGET, VALIDATION),
};

/// `transport_pool_*{transport,target}`: every other pool of links.
pub const TRANSPORT_POOL: PoolMetricNames = PoolMetricNames {
    created: Metric::new("transport_pool_connections_created_total", Kind::Counter, TRANSPORT_TARGET, CREATED),
    reused: Metric::new("transport_pool_connections_reused_total", Kind::Counter, TRANSPORT_TARGET, REUSED),
    active: Metric::new("transport_pool_active_connections", Kind::Gauge, TRANSPORT_TARGET, ACTIVE),
    idle: Metric::new("transport_pool_idle_connections", Kind::Gauge, TRANSPORT_TARGET, IDLE),
    acquisition: Metric::new(
        "transport_pool_acquisition_latency_seconds",
        Kind::Histogram,
        TRANSPORT_TARGET,
        ACQUISITION,
    ),
    validation_failures: Metric::new(
        "transport_pool_validation_failures_total",
        Kind::Counter,
        TRANSPORT_TARGET,
        VALIDATION,
    ),
};

const CREATED: &str = "Links dialled.";
const REUSED: &str = "Leases on a link that was already there.";
const ACTIVE: &str = "Links with an open stream.";
const IDLE: &str = "Links without an open stream.";
const ACQUISITION: &str = "Time from asking for a link to having it.";
const VALIDATION: &str = "Links found dead when they were to be handed out.";

/// All of them, in the order of the documents.
pub const ALL: &[Metric] = &[
    TCP_POOL.created,
    TCP_POOL.reused,
    TCP_POOL.active,
    TCP_POOL.idle,
    TCP_POOL.acquisition,
    TCP_POOL.validation_failures,
    TRANSPORT_POOL.created,
    TRANSPORT_POOL.reused,
    TRANSPORT_POOL.active,
    TRANSPORT_POOL.idle,
    TRANSPORT_POOL.acquisition,
    TRANSPORT_POOL.validation_failures,
    REQUESTS,
    LATENCY,
    ACTIVE_STREAMS,
    ERRORS,
    FALLBACKS,
    RECORDS_SKIPPED,
    BUILD_INFO,
];

/// The values of `error_type`: the image of [`ErrorKind::error_type`](crate::ErrorKind::error_type), checked by a test.
pub(super) const ERROR_TYPES: [&str; 12] = [
    "config",
    "no_route",
    "unsupported",
    "connection",
    "timeout",
    "cancelled",
    "too_large",
    "protocol",
    "overloaded",
    "refused",
    "peer",
    UNEXPECTED,
];

/// Where an error of a type that is not in the table counts.
const UNEXPECTED: &str = "unexpected";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_table_of_error_types_is_the_image_of_the_kinds() {
        use ErrorKind::*;
        let kinds = [
            Config,
            NoTransport,
            NoService,
            Unsupported,
            Connect,
            Closed,
            Timeout,
            Cancelled,
            TooLarge,
            Protocol,
            Overloaded,
            Refused,
            Peer,
            Unexpected,
        ];
        // Does not compile when a kind is added, so that it is added above too.
        for kind in kinds {
            match kind {
                Config | NoTransport | NoService | Unsupported | Connect | Closed | Timeout | Cancelled | TooLarge
                | Protocol | Overloaded | Refused | Peer | Unexpected => {}
            }
        }
        let image: BTreeSet<_> = kinds.iter().map(|kind| kind.error_type()).collect();
        assert_eq!(image, BTreeSet::from(ERROR_TYPES));
    }

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert_eq!(metric.name.ends_with("_seconds"), metric.kind == Kind::Histogram, "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{}", metric.name);
        }
    }
}
