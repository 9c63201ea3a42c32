// SPDX-License-Identifier: Apache-2.0
//! So many per second, as arithmetic: the generic cell rate algorithm, with time passed in.

use std::time::{Duration, Instant};

/// Hands out turns. The first ones of a quiet second come at once, the next at even distances.
#[derive(Debug)]
pub(super) struct Rate {
    distance: Duration,
    per_second: u32,
    /// When the next turn would come if all turns were at even distances.
    even: Option<Instant>,
}

impl Rate {
    /// `per_second` is at least one.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { distance: Duration::from_secs(1) / per_second, per_second, even: None }
    }

    /// Takes the next turn, and says how long until it comes; `Err` with the same, and no turn taken, if that is more than
    /// `patience`.
    pub(super) fn take(&mut self, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        let even = self.even.map_or(now, |even| even.max(now));
        let ahead = self.distance * (self.per_second - 1);
        let wait = even.checked_sub(ahead).map_or(Duration::ZERO, |turn| turn.saturating_duration_since(now));
        if wait > patience {
            return Err(wait);
        }
        self.even = Some(even + self.distance);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_even_distances_then_no() {
        let (mut rate, now) = (Rate::new(5), Instant::now());
        let waits: Vec<_> = (0..11).map(|_| rate.take(now, PATIENCE).map(|wait| wait.as_millis())).collect();
        let expected = [0, 0, 0, 0, 0, 200, 400, 600, 800, 1000].map(Ok);
        assert_eq!(waits[..10], expected);
        assert_eq!(waits[10], Err(Duration::from_millis(1200)));
        // Whoever was refused took no turn.
        assert_eq!(rate.take(now + Duration::from_millis(200), PATIENCE), Ok(PATIENCE));
    }

    #[test]
    fn quiet_gives_no_more_than_one_burst() {
        let (mut rate, now) = (Rate::new(2), Instant::now());
        assert_eq!(rate.take(now, PATIENCE), Ok(Duration::ZERO));
        let later = now + Duration::from_secs(3600);
        let waits: Vec<_> = (0..3).map(|_| rate.take(later, PATIENCE).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 500]);
    }
}
