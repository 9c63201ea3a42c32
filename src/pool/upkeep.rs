// SPDX-License-Identifier: Apache-2.0
//! The pool's one standing task: it evicts, pings and refills, runs only while there is something to look after, and ends
//! with the pool.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Link;
use super::core::Limits;
use super::shared::{Found, Shared};

/// How soon a link that died while idle is noticed.
const ROUND: Duration = Duration::from_secs(1);

/// Between rounds while leases wait. A link whose peer opens its window gets room without any lease coming back, and does
/// not tell the pool.
const ROUND_WITH_WAITERS: Duration = Duration::from_millis(20);

/// Starts the task on the current runtime unless it runs.
pub(super) fn ensure<L: Link>(shared: &Arc<Shared<L>>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current()
        && shared.claim_upkeep()
    {
        let task = Upkeep { pool: Arc::downgrade(shared), done: false };
        let closing = shared.common().closing.subscribe();
        let round = round(&shared.common().limits);
        runtime.spawn(task.run(closing, round));
    }
}

/// A round is short enough for the shortest of the times, and spends no more than a hundred wake-ups a second on them.
fn round(limits: &Limits) -> Duration {
    let shortest = limits.idle_timeout.min(limits.max_lifetime).min(limits.keepalive);
    (shortest / 4).clamp(Duration::from_millis(10), ROUND)
}

struct Upkeep<L: Link> {
    pool: Weak<Shared<L>>,
    done: bool,
}

impl<L: Link> Upkeep<L> {
    async fn run(mut self, mut closing: tokio::sync::watch::Receiver<bool>, round: Duration) {
        let mut pause = round.min(ROUND_WITH_WAITERS);
        loop {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return,
                () = tokio::time::sleep(pause) => {}
            }
            let Some(pool) = self.pool.upgrade() else { return };
            pause = match pool.upkeep(tokio::time::Instant::now().into_std()) {
                Found::Nothing => {
                    self.done = true;
                    return;
                }
                Found::Links => round,
                Found::Waiters => round.min(ROUND_WITH_WAITERS),
            };
        }
    }
}

impl<L: Link> Drop for Upkeep<L> {
    /// The runtime that the task ran on may end before the pool does; the next checkout then starts another.
    fn drop(&mut self) {
        if !self.done
            && let Some(pool) = self.pool.upgrade()
        {
            pool.release_upkeep();
        }
    }
}
