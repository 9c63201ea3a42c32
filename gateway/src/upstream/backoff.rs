// SPDX-License-Identifier: Apache-2.0
//! When a server that cannot be reached, or that dies again and again, is tried again.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// A connection that lived for this long was a good one: its death is no reason to wait.
const GOOD: Duration = Duration::from_secs(5);

/// Doubles from a quarter of a second to half a minute.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    next: Option<Instant>,
    since: Option<Instant>,
}

impl Backoff {
    pub(super) fn connected(&mut self, now: Instant) {
        self.since = Some(now);
        self.next = None;
    }

    /// The connection died. The first time the next one is made at once, however short it lived: whoever calls shall not
    /// pay for one accident.
    pub(super) fn lost(&mut self, now: Instant) {
        let lived = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.failures = if lived >= GOOD { 0 } else { self.failures + 1 };
        self.next = (self.failures > 1).then(|| now + self.delay());
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures += 1;
        self.next = Some(now + self.delay());
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.pause(now).is_zero()
    }

    pub(super) fn pause(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    fn delay(&self) -> Duration {
        FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(7)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_accident_costs_no_time_and_a_series_does() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.connected(start);
        backoff.lost(start + Duration::from_millis(1));
        assert!(backoff.is_due(start));
        backoff.connected(start);
        backoff.lost(start);
        assert_eq!(backoff.pause(start), 2 * FIRST);
        backoff.connected(start);
        backoff.lost(start + GOOD);
        assert!(backoff.is_due(start));
    }

    #[test]
    fn failures_double_the_pause_up_to_a_bound() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        for expected in [FIRST, FIRST * 2, FIRST * 4] {
            backoff.failed(start);
            assert_eq!(backoff.pause(start), expected);
        }
        (0..40).for_each(|_| backoff.failed(start));
        assert_eq!(backoff.pause(start), LONGEST);
    }
}
