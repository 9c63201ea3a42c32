// SPDX-License-Identifier: Apache-2.0
//! What is asked and what is answered.

use std::time::Duration;

use biplane::Message;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a worker of ours serves under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) name: String,
    /// How many items.
    pub(crate) items: u32,
    /// Bytes of an item; `None` makes an item of the request's body.
    pub(crate) item_size: Option<u32>,
    /// Yields to other tasks after each item, so that items cannot leave in one batch.
    pub(crate) is_paced: bool,
}

impl Answer {
    /// The name of the bench's own service.
    pub(crate) const BENCH: &str = "biplane.bench.answer";
}

/// What a caller does: `concurrency` calls at a time, each as soon as the one before it is over.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) message: Message,
    pub(crate) concurrency: usize,
    pub(crate) until: Until,
    /// Items of a whole answer, where that is known: another number is a failure, however clean the end.
    pub(crate) items: Option<u64>,
}

/// When a load is done. Calls under way are finished and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After exactly this many.
    Requests(u64),
    /// After this time.
    Elapsed(Duration),
}

impl Load {
    pub(crate) fn new(payload: usize, concurrency: usize, until: Until) -> Self {
        // Text, so that planes with a readable form are measured in the form that most services use.
        let message = Message::new(Bytes::from(vec![b'x'; payload]));
        Self { message, concurrency, until, items: None }
    }

    /// The load for a service that answers so.
    pub(crate) fn expecting(self, answer: &Answer) -> Self {
        Self { items: Some(u64::from(answer.items)), ..self }
    }

    /// A short load of the same kind: links are dialled and caches warm before anything is counted.
    pub(crate) fn warm_up(&self) -> Self {
        let until = match self.until {
            Until::Requests(requests) => Until::Requests((requests / 20).clamp(1, 500)),
            Until::Elapsed(time) => Until::Elapsed((time / 5).min(Duration::from_millis(300))),
        };
        Self { until, ..self.clone() }
    }

    /// The share of one of `rounds`.
    pub(crate) fn share(&self, rounds: u32) -> Self {
        let until = match self.until {
            Until::Requests(requests) => Until::Requests(requests.div_ceil(u64::from(rounds.max(1)))),
            Until::Elapsed(time) => Until::Elapsed(time / rounds.max(1)),
        };
        Self { until, ..self.clone() }
    }
}

/// The longest time to measure.
const MAX_SECONDS: f64 = 86_400.0;

/// Reads a time from the command line.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    let in_range = seconds.ok().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_SECONDS);
    in_range.map(Duration::from_secs_f64).ok_or_else(|| format!("a number of seconds above 0 and up to {MAX_SECONDS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.25s"), Ok(Duration::from_millis(250)));
        for bad in ["", "0", "-1", "nan", "inf", "1e9", "5m"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rounds_share_a_load_and_lose_nothing() {
        let load = Load::new(1, 1, Until::Requests(10));
        assert_eq!(load.share(3).until, Until::Requests(4));
        assert_eq!(load.warm_up().until, Until::Requests(1));
    }
}
