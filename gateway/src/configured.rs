// SPDX-License-Identifier: Apache-2.0
//! From a configuration to a gateway.

use std::sync::Arc;

use biplane::io::admission::Gate;
use biplane::io::sessions::SessionSettings;
use biplane::runtime::Builder;
use biplane::transport::http::ListenSettings;
use biplane::{Biplane, Result};

use crate::config::{GatewayConfig, GatewayLimits, Sharing, UpstreamConfig};
use crate::gateway::{Gateway, UpstreamSpec};
use crate::session_id::SignedIds;
use crate::upstream::UpstreamSettings;

impl GatewayConfig {
    /// Gives the runtime that `builder` makes what this gateway's listeners need: who may come in, how sessions are named,
    /// what is bounded. The gate is returned so that its rules can be replaced later.
    ///
    /// # Errors
    /// None after [`load`](crate::config::load), which has checked the rules.
    pub fn equip(&self, builder: Builder) -> Result<(Builder, Arc<Gate>)> {
        let gate = Arc::new(Gate::new(self.admission.rules()?));
        let mut listen = ListenSettings { sessions: self.limits.sessions(), ..ListenSettings::default() };
        if let Some(key) = &self.session_key {
            listen.ids = Arc::new(SignedIds::new(key.clone(), self.limits.session_lifetime)?);
        }
        let builder = builder.set("limits.max_message_size", self.limits.max_body);
        Ok((builder.share(gate.clone()).share(Arc::new(listen)), gate))
    }
}

impl GatewayLimits {
    fn sessions(&self) -> SessionSettings {
        SessionSettings {
            max_sessions: self.max_sessions,
            max_sessions_per_principal: self.max_sessions_per_principal,
            idle_ttl: self.session_idle,
            absolute_ttl: self.session_lifetime,
            max_running: self.max_in_flight_per_session,
            max_stateless: self.max_in_flight,
            request_timeout: self.request_timeout,
            max_message_size: self.max_body,
            ..SessionSettings::default()
        }
    }
}

impl Gateway {
    /// The gateway that `config` describes. Its listeners are bounded and guarded as `config` says where `biplane` was made
    /// of a builder that [`GatewayConfig::equip`] was given.
    pub fn configured(biplane: &Biplane, config: &GatewayConfig) -> Self {
        let gateway = Self::builder(biplane)
            .naming(config.naming)
            .max_in_flight(config.limits.max_in_flight)
            .request_timeout(config.limits.request_timeout);
        let gateway = config.listeners.iter().fold(gateway, |gateway, url| gateway.listen(url.as_str()));
        config.upstreams.iter().fold(gateway, |gateway, upstream| gateway.upstream_with(spec(upstream)))
    }
}

fn spec(config: &UpstreamConfig) -> UpstreamSpec {
    let usual = UpstreamSettings::default();
    let settings = UpstreamSettings {
        dedicated: config.sessions == Sharing::Dedicated,
        max_sessions: config.max_children.unwrap_or(usual.max_sessions),
        start_timeout: config.start_timeout.unwrap_or(usual.start_timeout),
    };
    UpstreamSpec {
        settings,
        naming: config.naming,
        filter: config.tools.clone(),
        ..UpstreamSpec::new(&*config.name, config.url.as_str())
    }
}
