// SPDX-License-Identifier: Apache-2.0
//! A histogram of durations with fixed buckets: two atomic additions per observation, and memory that never grows. (The
//! exporter's own histograms keep every sample until somebody scrapes.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets of every `_seconds` histogram, in nanoseconds and as the text of the label `le`. Above
/// the last one only `+Inf` counts.
///
/// From what a call within the process takes to what a patient caller bears; three steps a decade, so that a quantile is
/// read to within a factor of 2.5.
pub const BUCKETS: [(u64, &str); 21] = [
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
    (60_000_000_000, "60"),
];

/// Counts durations by size.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One count per bucket, not cumulative; the last is for what is above every bound.
    counts: [AtomicU64; BUCKETS.len() + 1],
    /// Nanoseconds; wraps after 584 years of latency.
    sum: AtomicU64,
}

impl Histogram {
    /// Counts one observation.
    pub(super) fn observe(&self, took: Duration) {
        self.count(took, 1);
    }

    /// Counts an observation that was made so many times.
    pub(super) fn count(&self, took: Duration, times: u64) {
        let nanos = took.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(took.subsec_nanos()));
        let bucket = BUCKETS.partition_point(|(bound, _)| *bound < nanos);
        self.sum.fetch_add(nanos.saturating_mul(times), Ordering::Relaxed);
        if let Some(count) = self.counts.get(bucket) {
            // Releases what the observer did before, so that a reader who sees the end of a request sees its begin too.
            count.fetch_add(times, Ordering::Release);
        }
    }

    /// What has been counted.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut total = 0;
        let cumulative = self.counts.each_ref().map(|count| {
            total += count.load(Ordering::Acquire);
            total
        });
        Snapshot { cumulative, count: total, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// A histogram at one moment. The count is that of the buckets, so a page never contradicts itself.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Observations at or below each bound; the last is all of them.
    pub(super) cumulative: [u64; BUCKETS.len() + 1],
    /// All observations.
    pub(super) count: u64,
    /// Their sum in nanoseconds.
    pub(super) sum: u64,
}

impl Snapshot {
    /// Adds what another histogram counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.cumulative.iter_mut().zip(&other.cumulative).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The same with `more` observations of no time at all.
    pub(super) fn and_at_once(mut self, more: u64) -> Self {
        self.cumulative.iter_mut().for_each(|count| *count += more);
        self.count += more;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_their_text_says_the_same() {
        assert!(BUCKETS.is_sorted_by(|a, b| a.0 < b.0));
        for (nanos, text) in BUCKETS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!((seconds * 1e9).round() as u64, nanos, "{text}");
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for nanos in [0, 10_000, 10_001, 60_000_000_000, 60_000_000_001] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.cumulative[..2], [2, 3]);
        assert_eq!(snapshot.cumulative[BUCKETS.len() - 1..], [4, 5]);
        assert_eq!((snapshot.count, snapshot.sum), (5, 120_000_020_002));
    }
}
