// SPDX-License-Identifier: Apache-2.0
//! What a gateway's listeners need to know, which belongs to the runtime that makes them.

use std::sync::Arc;

use biplane::Result;
use biplane::io::admission::Gate;
use biplane::io::sessions::SessionSettings;
use biplane::runtime::Builder;
use biplane::transport::http::ListenSettings;

use crate::config::GatewayConfig;
use crate::session_id::SignedIds;

/// Who may come in, how sessions are named, and what is bounded. A runtime's builder is given it with
/// [`Doors::share`]; without, the runtime's listeners have their defaults, and nobody needs a token.
#[derive(Clone)]
pub struct Doors {
    gate: Arc<Gate>,
    listen: Arc<ListenSettings>,
    /// Bytes of one message, over whatever transport.
    max_body: usize,
}

impl Doors {
    /// As `config` says.
    ///
    /// # Errors
    /// `Unexpected` if the system has no randomness for a key.
    pub fn new(config: &GatewayConfig) -> Result<Self> {
        let limits = &config.limits;
        let sessions = SessionSettings {
            max_sessions: limits.max_sessions,
            max_sessions_per_principal: limits.max_sessions_per_principal,
            idle_ttl: limits.session_idle,
            absolute_ttl: limits.session_lifetime,
            max_running: limits.max_in_flight_per_session,
            max_stateless: limits.max_in_flight,
            request_timeout: limits.request_timeout,
            max_message_size: limits.max_body,
            ..SessionSettings::default()
        };
        let mut listen = ListenSettings { sessions, ..ListenSettings::default() };
        if let Some(key) = &config.session_key {
            listen.ids = Arc::new(SignedIds::new(key.clone(), limits.session_lifetime)?);
        }
        let gate = Arc::new(Gate::new(config.admission.rules()?));
        Ok(Self { gate, listen: Arc::new(listen), max_body: limits.max_body })
    }

    /// Gives them to the runtime that `builder` makes.
    pub fn share(&self, builder: Builder) -> Builder {
        builder.set("limits.max_message_size", self.max_body).share(self.gate.clone()).share(self.listen.clone())
    }

    /// Other rules hold for the next request.
    pub(crate) fn admit_by(&self, config: &GatewayConfig) -> Result<()> {
        self.gate.replace(config.admission.rules()?);
        Ok(())
    }
}
