// SPDX-License-Identifier: Apache-2.0
//! The closed loop: so many tasks, each of which calls, reads the answer to its end, and calls again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use biplane::{Biplane, Connection, Error, Request, Result, Service};
use tokio::task::JoinSet;

use super::load::{Load, Until};
use super::tally::{Tallies, Tally};

/// The end of a call that never ends by itself: a hang is then an error with a name.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failed call: one that fails at once must not become a loop that does nothing but fail.
const AFTER_ERROR: Duration = Duration::from_millis(1);

/// What is called.
#[derive(Clone)]
pub(crate) enum Callee {
    Service(Service),
    Url(Biplane, Arc<str>),
}

/// What a load came to.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
}

/// Runs `load` before anything is measured. If not one call goes well, neither will the others: the first error.
pub(crate) async fn rehearse(callee: &Callee, load: &Load) -> Result<()> {
    let Outcome { tally, .. } = drive(callee, &load.warm_up(), &Arc::new(Tallies::new()?)).await?;
    match tally.first_error {
        Some(error) if tally.errors.values().sum::<u64>() == tally.requests => Err(error),
        _ => Ok(()),
    }
}

/// Runs `load` against `callee` and writes to `tallies` as it goes. Dropping the future ends it.
pub(crate) async fn drive(callee: &Callee, load: &Load, tallies: &Arc<Tallies>) -> Result<Outcome> {
    let began = Instant::now();
    let budget = Arc::new(match load.until {
        Until::Requests(requests) => Budget { left: AtomicU64::new(requests), ends: None },
        Until::Elapsed(time) => Budget { left: AtomicU64::new(u64::MAX), ends: began.checked_add(time) },
    });
    let mut tasks = JoinSet::new();
    for task in 0..load.concurrency {
        let (callee, load, tallies, budget) = (callee.clone(), load.clone(), tallies.clone(), budget.clone());
        tasks.spawn(async move {
            while budget.take() {
                call(&callee, &load, &tallies, task).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Error::unexpected("a caller's task ended early").with_source(error))?;
    }
    Ok(Outcome { tally: tallies.sum()?, elapsed: began.elapsed() })
}

struct Budget {
    left: AtomicU64,
    ends: Option<Instant>,
}

impl Budget {
    /// Whether one more call is to be made.
    fn take(&self) -> bool {
        match self.ends {
            Some(ends) => Instant::now() < ends,
            None => self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok(),
        }
    }
}

async fn call(callee: &Callee, load: &Load, tallies: &Tallies, task: usize) {
    let began = Instant::now();
    let mut items = 0;
    let mut first_item = None;
    let outcome = async {
        let mut answer = callee.open(load).await?;
        while let Some(item) = answer.next().await {
            item?;
            items += 1;
            first_item.get_or_insert_with(|| began.elapsed());
        }
        match load.items {
            Some(whole) if whole != items => {
                Err(Error::protocol(format!("an answer of {whole} items ended in order after {items}")))
            }
            _ => Ok(()),
        }
    };
    let outcome: Result<()> = outcome.await;
    let took = began.elapsed();
    let is_well = outcome.is_ok();
    if let Some(mut tally) = tallies.of(task) {
        match outcome {
            Ok(()) => tally.answered(took, first_item, items),
            Err(error) => tally.failed(error, items),
        }
    }
    if !is_well {
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

impl Callee {
    async fn open(&self, load: &Load) -> Result<biplane::ResponseStream> {
        // The service's subject replaces this one, as does that of a URL which names one.
        let subject = biplane::Subject::from_static("default");
        let request = Request::new(subject, load.message.clone()).with_timeout(CALL_TIMEOUT);
        match self {
            Self::Service(service) => service.open(request),
            Self::Url(biplane, url) => biplane.call_with(url, request).await,
        }
    }
}
