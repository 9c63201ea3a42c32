// SPDX-License-Identifier: Apache-2.0
//! The configuration of a gateway: the section `[gateway]` of the file that the rest of Biplane reads too, below what the
//! program's arguments say. `config/gateway.toml` is an example with every key.
//!
//! What remains after [`load`] is right: an illegal combination has no representation here, and secrets have been read
//! from where the file says they are.

use std::path::PathBuf;
use std::time::Duration;

use biplane::Result;
use biplane::io::admission::{Admission, Token};

use crate::merge::{Naming, ToolFilter};
use crate::session_id::SessionKey;

mod load;
mod problem;
mod reader;
mod secret;
mod section;
#[cfg(test)]
mod tests;
mod upstream;
mod url;

pub use load::{Inputs, load};
pub use secret::Secret;
pub use url::Url;

/// What a gateway does.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where clients come in; at least one.
    pub listeners: Vec<Url>,
    /// The servers behind it, in the order that decides between equal names; at least one.
    pub upstreams: Vec<UpstreamConfig>,
    /// How tools and prompts are named where an upstream does not say otherwise.
    pub naming: Naming,
    /// What is bounded.
    pub limits: GatewayLimits,
    /// Who may come in.
    pub admission: AdmissionConfig,
    /// What session ids are signed with; unset, each process has a key of its own, and sessions end with it.
    pub session_key: Option<SessionKey>,
    /// What is under way has this long to finish when the gateway stops.
    pub drain_grace: Duration,
}

/// One server behind the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    /// Unique; prefix of its tools where names are prefixed.
    pub name: String,
    /// Where it is, or how it is started.
    pub url: Url,
    /// How its tools are named; unset, as the gateway's others.
    pub naming: Option<Naming>,
    /// Who shares a session with it.
    pub sessions: Sharing,
    /// What a child sees beside the clean environment.
    pub env: Vec<(String, Secret)>,
    /// A child's working directory; unset, ours.
    pub cwd: Option<PathBuf>,
    /// Sent with every request over HTTP and WebSocket, `authorization` among them.
    pub headers: Vec<(String, Secret)>,
    /// Which of its tools are there for clients.
    pub tools: ToolFilter,
    /// Children of it at once; unset, only the limit of all children counts.
    pub max_children: Option<usize>,
    /// From a child's start to its answer to `initialize`; unset, `transport.stdio.start_timeout`.
    pub start_timeout: Option<Duration>,
    /// The deadline of a request to it; unset, the gateway's.
    pub request_timeout: Option<Duration>,
}

/// Who shares an upstream session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Modern and plain legacy clients share one; a client that can be asked something (sampling, elicitation, roots) gets
    /// its own.
    #[default]
    Shared,
    /// Every legacy session has its own, for servers that keep something of a client.
    Dedicated,
}

/// What is bounded. All of it is finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Legacy sessions at once.
    pub max_sessions: usize,
    /// Of one principal; unset, as many as there may be.
    pub max_sessions_per_principal: Option<usize>,
    /// A session that nobody uses ends after this.
    pub session_idle: Duration,
    /// Any session ends after this.
    pub session_lifetime: Duration,
    /// Bytes of one message.
    pub max_body: usize,
    /// Requests at once in one session.
    pub max_in_flight_per_session: usize,
    /// Requests at once.
    pub max_in_flight: usize,
    /// The deadline of a request.
    pub request_timeout: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_sessions_per_principal: None,
            session_idle: Duration::from_secs(600),
            session_lifetime: Duration::from_secs(24 * 3600),
            max_body: 16 << 20,
            max_in_flight_per_session: 256,
            max_in_flight: 16_384,
            request_timeout: Duration::from_secs(3600),
        }
    }
}

/// Who may come in. Loopback names with the listener's own port always may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Web pages.
    pub origins: Vec<String>,
    /// Names under which we are reached.
    pub hosts: Vec<String>,
    /// Name and SHA-256 of each bearer token. As soon as there is one, every request needs one.
    pub tokens: Vec<(String, Secret)>,
}

impl AdmissionConfig {
    /// The rules as listeners take them.
    ///
    /// # Errors
    /// None after [`load`], which has made them once.
    pub fn rules(&self) -> Result<Admission> {
        let mut rules = Admission::default();
        for origin in &self.origins {
            rules = rules.origin(origin)?;
        }
        for host in &self.hosts {
            rules = rules.host(host)?;
        }
        for (name, hash) in &self.tokens {
            rules = rules.token(name, hash.expose().parse::<Token>()?);
        }
        Ok(rules)
    }
}
