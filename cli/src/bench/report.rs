// SPDX-License-Identifier: Apache-2.0
//! What a measurement says, as JSON and for people.

use std::collections::BTreeMap;

use biplane::TransportId;
use biplane::registry::Meeting;
use serde::Serialize;

use super::counters::Links;
use super::drive::Outcome;
use super::format::{count, micros, share};
use super::tally::Percentiles;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) route: Route,
    #[serde(flatten)]
    pub(crate) figures: Figures,
    #[serde(flatten)]
    pub(crate) resources: Resources,
}

/// Who carries what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Route {
    #[serde(rename = "request_plane")]
    pub(crate) request: TransportId,
    #[serde(rename = "response_plane")]
    pub(crate) response: TransportId,
    pub(crate) rendezvous: Option<Meeting>,
}

/// What the calls came to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Calls that are over, those that failed among them.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) errors_by_kind: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    /// Of calls that went well.
    pub(crate) requests_per_sec: f64,
    pub(crate) items: u64,
    pub(crate) items_per_sec: f64,
    /// To the end of the answer, of calls that went well.
    pub(crate) latency_us: Percentiles,
    /// To the first item, of the same.
    pub(crate) first_item_us: Percentiles,
}

/// What the calls used.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Resources {
    pub(super) cpu_us_per_request: Sides<Option<f64>>,
    rss_kib: Sides<Option<u64>>,
    /// Links that carried the answers, since the processes began; `null` if they are not this program's to count.
    pub(crate) pool: Option<Links>,
    /// Requests by instance id, as text: not every reader of JSON keeps 64 bits.
    pub(super) per_instance: BTreeMap<String, u64>,
}

/// A figure of each process; `null` for a worker that the bench did not start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sides<T> {
    pub(super) caller: T,
    pub(super) worker: T,
}

impl Figures {
    pub(crate) fn new(outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        let seconds = outcome.elapsed.as_secs_f64();
        let errors = tally.errors.values().sum();
        let per_second = |number: u64| (number as f64 * 10.0 / seconds.max(1e-9)).round() / 10.0;
        Self {
            requests: tally.requests,
            errors,
            errors_by_kind: tally.errors.clone(),
            first_error: tally.first_error.as_ref().map(ToString::to_string),
            seconds: (seconds * 1e3).round() / 1e3,
            requests_per_sec: per_second(tally.requests - errors),
            items: tally.items,
            items_per_sec: per_second(tally.items),
            latency_us: tally.latency(),
            first_item_us: tally.first_item(),
        }
    }
}

impl Resources {
    /// Each pair is of the caller and of the worker.
    pub(super) fn new(
        cpu: (f64, Option<f64>),
        rss: (Option<u64>, Option<u64>),
        pool: Option<Links>,
        per_instance: BTreeMap<String, u64>,
    ) -> Self {
        Self {
            cpu_us_per_request: Sides { caller: Some(cpu.0), worker: cpu.1 },
            rss_kib: Sides { caller: rss.0, worker: rss.1 },
            pool,
            per_instance,
        }
    }

    /// `caller / worker`.
    pub(crate) fn cpu(&self) -> String {
        self.cpu_us_per_request.text(micros)
    }

    /// `caller / worker`.
    pub(crate) fn memory(&self) -> String {
        self.rss_kib.text(|kib| format!("{:.1} MiB", kib as f64 / 1024.0))
    }

    /// How many links, and how often one was there already.
    pub(crate) fn links(&self) -> String {
        let Some(Links { created, reused }) = self.pool else { return "not known from here".to_owned() };
        format!("{} created, {} reused ({})", count(created), count(reused), share(reused, created))
    }

    /// A line per instance.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (&str, u64)> {
        self.per_instance.iter().map(|(id, requests)| (id.as_str(), *requests))
    }
}

impl<T: Copy> Sides<Option<T>> {
    fn text(&self, show: impl Fn(T) -> String) -> String {
        let side = |value: Option<T>| value.map_or_else(|| "-".to_owned(), &show);
        format!("{} / {}", side(self.caller), side(self.worker))
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} + {}{}", self.request, self.response, self.how())
    }
}

impl Route {
    fn how(&self) -> &'static str {
        match self.rendezvous {
            Some(Meeting::Inline) => " (answers come back on the request's link)",
            Some(Meeting::CallHome) => " (the responder calls home)",
            Some(Meeting::Fetch) => " (the caller fetches the answer)",
            None => "",
        }
    }

    /// The rendezvous in a word.
    pub(crate) fn word(&self) -> &'static str {
        match self.rendezvous {
            Some(Meeting::Inline) => "inline",
            Some(Meeting::CallHome) => "call-home",
            Some(Meeting::Fetch) => "fetch",
            None => "-",
        }
    }
}

impl Percentiles {
    /// The usual three and the worst.
    pub(crate) fn text(&self) -> String {
        let Self { p50, p90, p99, max, .. } = *self;
        format!("p50 {}, p90 {}, p99 {}, max {}", micros(p50), micros(p90), micros(p99), micros(max))
    }
}
