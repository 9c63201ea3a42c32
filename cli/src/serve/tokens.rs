// SPDX-License-Identifier: Apache-2.0
//! The service that talks like a language model: short items at a steady pace.

use std::time::Duration;

use biplane::{ControlMessage, Handler, Request, ResponseSender, Result};
use tokio::time::Instant;

/// Answers with `count` items.
pub(super) struct Tokens {
    count: u64,
    /// Items per second; `None` is as fast as credit allows.
    rate: Option<f64>,
}

/// Reads a rate in items per second.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate == 0.0 || (1e-6..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a rate is items per second, from 0.000001 to 1000000000, or 0 for no limit".to_owned()),
    }
}

impl Tokens {
    pub(super) fn new(count: u64, rate: Option<f64>) -> Self {
        Self { count, rate: rate.filter(|rate| *rate > 0.0) }
    }

    /// Waits until item number `at`, counted from 0, is due. Paced from the start, so that a late item does not delay all
    /// that follow.
    async fn due(&self, start: Instant, at: u64) {
        let Some(rate) = self.rate else { return };
        let after = Duration::try_from_secs_f64(at as f64 / rate).unwrap_or(Duration::MAX);
        match start.checked_add(after) {
            Some(when) => tokio::time::sleep_until(when).await,
            // Later than any clock: the request's deadline comes first.
            None => std::future::pending().await,
        }
    }
}

impl Handler for Tokens {
    async fn handle(&self, _request: Request, reply: ResponseSender) -> Result<()> {
        let start = Instant::now();
        for at in 0..self.count {
            tokio::select! {
                biased;
                () = self.due(start, at) => {}
                ControlMessage::Stop = reply.stopped() => return Ok(()),
            }
            reply.send(format!("token {} ", at + 1)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_finite_and_not_negative() {
        for good in ["0", "0.5", "50", "1e6"] {
            assert!(parse_rate(good).is_ok(), "{good}");
        }
        for bad in ["-1", "NaN", "inf", "1e-300", "fast", ""] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
