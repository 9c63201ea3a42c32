// SPDX-License-Identifier: Apache-2.0
//! Ending what has been idle for too long.

use std::sync::Weak;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::host::Host;

/// The task that does. It ends with this.
pub(super) struct Upkeep(AbortHandle);

impl Upkeep {
    /// Looks at all sessions of `host` now and then.
    pub(super) fn start(host: Weak<Host>) -> Self {
        Self(tokio::spawn(keep(host)).abort_handle())
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(host: Weak<Host>) {
    loop {
        let Some(held) = host.upgrade() else { return };
        let pause = (held.settings.idle_ttl.min(held.settings.resume_window) / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(5));
        let now = Instant::now();
        let over: Vec<_> = held.all().into_iter().filter(|session| session.tidy(now)).collect();
        drop(held);
        for session in over {
            tracing::debug!(target: "biplane::sessions", "a session ended: it was idle, or old");
            session.end();
        }
        sleep(pause).await;
    }
}
