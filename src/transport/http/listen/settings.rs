// SPDX-License-Identifier: Apache-2.0
//! What a listener does beyond the defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::Result;
use crate::io::sessions::{RandomIds, SessionIds, SessionSettings};
use crate::registry::BuildContext;

/// What the MCP listeners of a runtime do. Give a runtime its own with [`share`](crate::runtime::Builder::share).
#[derive(Clone)]
pub struct ListenSettings {
    /// The limits of sessions, and of one message.
    pub sessions: SessionSettings,
    /// How sessions are named.
    pub ids: Arc<dyn SessionIds>,
    /// The revisions of the protocol that are taken.
    pub revisions: Revisions,
    /// Whether legacy requests without a session are taken, for servers that need none. Else they are refused.
    pub stateless_legacy: bool,
    /// Whether the transport of 2024-11-05 is served beside the newer one.
    pub two_endpoint: bool,
    /// A stream that has nothing to say says so after this time, so that nobody on the way takes it for dead.
    pub keep_alive: Duration,
    /// A response that has not come after this time is announced as a stream.
    pub patience: Duration,
    /// How long a client waits before it comes back for the rest of a stream.
    pub retry: Duration,
    /// Links at once.
    pub max_links: usize,
}

/// Revisions of the protocol, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revisions {
    /// Those with sessions, which a request names in a header.
    pub legacy: Vec<String>,
    /// Those without, which a request names in itself.
    pub modern: Vec<String>,
}

impl Default for Revisions {
    fn default() -> Self {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            legacy: named(&["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]),
            modern: named(&["2026-07-28"]),
        }
    }
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            sessions: SessionSettings::default(),
            ids: Arc::new(RandomIds),
            revisions: Revisions::default(),
            stateless_legacy: false,
            two_endpoint: true,
            keep_alive: Duration::from_secs(15),
            patience: Duration::from_secs(10),
            retry: Duration::from_secs(1),
            max_links: 20_000,
        }
    }
}

impl ListenSettings {
    /// The defaults, with the limits of `config`.
    pub fn new(config: &Config) -> Self {
        Self { sessions: SessionSettings::with_limits(&config.limits), ..Self::default() }
    }

    /// Those of a runtime: the ones that its builder was given with `share`, else the defaults.
    pub fn of(context: &BuildContext) -> Result<Arc<Self>> {
        context.shared(|| Ok(Self::new(context.config())))
    }
}

impl fmt::Debug for ListenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenSettings").field("sessions", &self.sessions).field("revisions", &self.revisions).finish()
    }
}
