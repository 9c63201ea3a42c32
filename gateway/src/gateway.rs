// SPDX-License-Identifier: Apache-2.0
//! The gateway as a value: how it is made.

use std::sync::Arc;

use biplane::{Biplane, Result};

use crate::config::{GatewayConfig, Inputs, load};
use crate::doors::Doors;
use crate::merge::Naming;
use crate::running::Running;

/// A gateway that has not been started. See the [crate](crate) for an example.
pub struct Gateway {
    biplane: Biplane,
    source: Source,
    doors: Option<Doors>,
}

enum Source {
    Inputs(Inputs),
    Config(Arc<GatewayConfig>),
}

impl Gateway {
    /// A gateway whose connections `biplane` makes. Configured by what follows.
    pub fn builder(biplane: &Biplane) -> Self {
        Self { biplane: biplane.clone(), source: Source::Inputs(Inputs::default()), doors: None }
    }

    /// A gateway as `config` says. `doors` are those that the builder of `biplane` was given.
    pub fn configured(biplane: &Biplane, config: Arc<GatewayConfig>, doors: Doors) -> Self {
        Self { biplane: biplane.clone(), source: Source::Config(config), doors: Some(doors) }
    }

    fn input(mut self, change: impl FnOnce(&mut Inputs)) -> Self {
        if let Source::Inputs(inputs) = &mut self.source {
            change(inputs);
        }
        self
    }

    /// Clients come in here. Several listeners serve the same servers.
    pub fn listen(self, url: impl Into<String>) -> Self {
        self.input(|inputs| inputs.listen.push(url.into()))
    }

    /// A server to stand before. One alone keeps its names; several get a prefix unless [`Gateway::naming`] says otherwise.
    pub fn upstream(self, name: &str, url: &str) -> Self {
        self.input(|inputs| inputs.upstreams.push(format!("{name}={url}")))
    }

    /// How tools and prompts are named.
    pub fn naming(self, naming: Naming) -> Self {
        self.input(|inputs| inputs.naming = Some(naming))
    }

    /// Binds the listeners and begins to connect the servers. A server that is down is no error: it is tried again.
    ///
    /// # Errors
    /// `Config` with every problem of what was said, or that a listener cannot be bound.
    pub async fn start(self) -> Result<Running> {
        let config = match self.source {
            Source::Config(config) => config,
            Source::Inputs(inputs) => Arc::new(load(&inputs)?),
        };
        Running::start(self.biplane, config, self.doors).await
    }
}
