// SPDX-License-Identifier: Apache-2.0
//! How much a bridge bears, and how long it waits.

use std::time::Duration;

/// The bounds of a bridge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rounds of questions and answers within one call.
    pub rounds: usize,
    /// Questions of a server that are open at once within one call.
    pub questions: usize,
    /// How long further questions of a server are waited for after the first, so that what it asks at once is asked at once.
    pub gather: Duration,
    /// How long an answer of the client is waited for.
    pub patience: Duration,
    /// Calls that are held open while their clients answer.
    pub held: usize,
    /// The same, of one principal.
    pub held_each: usize,
    /// Resources that one session or one listener may be subscribed to.
    pub subscriptions: usize,
    /// How long a server may take for what the bridge asks of its own accord: to subscribe, to set a level.
    pub answer: Duration,
    /// How long a shared session is kept after its last use.
    pub linger: Duration,
    /// The first pause before a stream that broke is opened again. It doubles up to a minute.
    pub backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rounds: 16,
            questions: 32,
            gather: Duration::from_millis(20),
            patience: Duration::from_secs(600),
            held: 1024,
            held_each: 256,
            subscriptions: 1024,
            answer: Duration::from_secs(30),
            linger: Duration::from_secs(60),
            backoff: Duration::from_millis(200),
        }
    }
}

impl Limits {
    /// The pause before attempt number `attempt`, counted from zero.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        self.backoff.saturating_mul(1 << attempt.min(16)).min(Duration::from_secs(60))
    }
}
