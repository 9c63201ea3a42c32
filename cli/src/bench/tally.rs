// SPDX-License-Identifier: Apache-2.0
//! The figures of calls while they are made.

use std::collections::BTreeMap;
use std::time::Duration;

use biplane::{Error, Result};
use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

/// Tallies that are written at once. A lock per call that hardly anybody else takes, and memory that does not grow with
/// the concurrency, as a histogram per task would.
const SHARDS: usize = 8;

/// The longest time, in nanoseconds, that is told from longer ones: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Decimal digits of a time that count.
const DIGITS: u8 = 3;

/// The figures of many tasks.
pub(crate) struct Tallies(Vec<Mutex<Tally>>);

impl Tallies {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self((0..SHARDS).map(|_| Tally::new().map(Mutex::new)).collect::<Result<_>>()?))
    }

    /// The one that task number `task` writes to.
    pub(crate) fn of(&self, task: usize) -> Option<MutexGuard<'_, Tally>> {
        let shard = self.0.get(task % SHARDS)?;
        Some(shard.lock())
    }

    /// Requests and items so far.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        let tallies = (0..SHARDS).filter_map(|at| self.of(at));
        tallies.fold((0, 0), |(requests, items), tally| (requests + tally.requests, items + tally.items))
    }

    /// All of them as one.
    pub(crate) fn sum(&self) -> Result<Tally> {
        let mut sum = Tally::new()?;
        (0..SHARDS).filter_map(|at| self.of(at)).try_for_each(|tally| sum.add(&tally))?;
        Ok(sum)
    }
}

/// What some calls came to.
pub(crate) struct Tally {
    /// Calls that are over, well or not.
    pub(crate) requests: u64,
    pub(crate) items: u64,
    /// Failed calls by kind.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) first_error: Option<Error>,
    /// Nanoseconds to the end of the answer, of calls that went well.
    latency: Histogram<u64>,
    /// Nanoseconds to the first item.
    first_item: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST, DIGITS)
                .map_err(|error| Error::unexpected("no histogram of these bounds").with_source(error))
        };
        Ok(Self {
            requests: 0,
            items: 0,
            errors: BTreeMap::new(),
            first_error: None,
            latency: histogram()?,
            first_item: histogram()?,
        })
    }

    /// A call ended well after `took`.
    pub(crate) fn answered(&mut self, took: Duration, first_item: Option<Duration>, items: u64) {
        self.requests += 1;
        self.items += items;
        self.latency.saturating_record(nanos(took));
        if let Some(first_item) = first_item {
            self.first_item.saturating_record(nanos(first_item));
        }
    }

    /// A call failed after so many items.
    pub(crate) fn failed(&mut self, error: Error, items: u64) {
        self.requests += 1;
        self.items += items;
        *self.errors.entry(error.kind().error_type()).or_default() += 1;
        self.first_error.get_or_insert(error);
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.requests += other.requests;
        self.items += other.items;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error = other.first_error.as_ref().map(Error::duplicate);
        }
        let fails = |error| Error::unexpected("histograms that do not add up").with_source(error);
        self.latency.add(&other.latency).map_err(fails)?;
        self.first_item.add(&other.first_item).map_err(fails)
    }

    pub(crate) fn latency(&self) -> Percentiles {
        Percentiles::of(&self.latency)
    }

    pub(crate) fn first_item(&self) -> Percentiles {
        Percentiles::of(&self.first_item)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Of a distribution of times, in microseconds with one digit behind the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    fn of(nanos: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
        let at = |quantile| micros(nanos.value_at_quantile(quantile));
        Self { p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: micros(nanos.max()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up() {
        let tallies = Tallies::new().unwrap();
        for task in 0..100 {
            let took = Duration::from_micros(task as u64 + 1);
            tallies.of(task).unwrap().answered(took, Some(took / 2), 3);
        }
        tallies.of(5).unwrap().failed(Error::timeout("late"), 1);
        assert_eq!(tallies.so_far(), (101, 301));
        let sum = tallies.sum().unwrap();
        assert_eq!((sum.requests, sum.items, sum.errors.get("timeout")), (101, 301, Some(&1)));
        let (latency, first) = (sum.latency(), sum.first_item());
        assert!(sum.first_error.is_some_and(|error| error.kind() == biplane::ErrorKind::Timeout));
        assert!((49.9..=50.2).contains(&latency.p50) && (99.9..=100.1).contains(&latency.max), "{latency:?}");
        assert!(first.p99 < latency.p99);
    }
}
