// SPDX-License-Identifier: Apache-2.0
//! Making a runtime.

use std::any::Any;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Biplane, Inner, State};
use crate::config::{Config, Inputs, load};
use crate::error::{Error, Phase, Result};
use crate::layer::{Layer, Stack};
use crate::message::random_u64;
use crate::registry::{BuildContext, TransportRegistration, TransportRegistry};
use crate::system::Health;
use crate::target::TransportId;
use crate::telemetry::Telemetry;

type Register = Box<dyn FnOnce(&mut crate::registry::Builder) -> Result<()>>;
type Share = Box<dyn FnOnce(&BuildContext)>;

/// Collects what a [`Biplane`] is made of. Nothing is bound or dialled before it is used.
pub struct Builder {
    inputs: Inputs,
    environment: Vec<(OsString, OsString)>,
    collected: bool,
    register: Vec<Register>,
    share: Vec<Share>,
    layers: Stack,
    instance_id: Option<u64>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            inputs: Inputs::default(),
            environment: Vec::new(),
            collected: true,
            register: Vec::new(),
            share: Vec::new(),
            layers: Stack::new(),
            instance_id: None,
        }
    }

    /// Reads these variables; a later one of the same name wins.
    pub fn env<K: Into<OsString>, V: Into<OsString>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables: Vec<_> = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.inputs.env.extend(Inputs::from_env(variables.iter().cloned()).env);
        self.environment.extend(variables);
        self
    }

    /// Reads the variables of this process, as they are now.
    pub fn process_env(self) -> Self {
        self.env(std::env::vars_os())
    }

    /// Reads this file rather than the one that `BIPLANE_CONFIG` names.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.inputs.file = Some(path.into());
        self
    }

    /// Sets a key, dotted, as text: it wins over the environment.
    pub fn set(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.inputs.overrides.push((key.into(), value.to_string()));
        self
    }

    /// Adds transports in code, beside those that the linker collected.
    pub fn register_all(self, registrations: &'static [TransportRegistration]) -> Self {
        self.registry(|registry| registry.register_all(registrations).map(|_| ()))
    }

    /// Adds or replaces transports in code.
    pub fn registry(mut self, register: impl FnOnce(&mut crate::registry::Builder) -> Result<()> + 'static) -> Self {
        self.register.push(Box::new(register));
        self
    }

    /// Leaves out what the linker collected, the built-in transports too.
    pub fn without_collected(mut self) -> Self {
        self.collected = false;
        self
    }

    /// Gives every factory this value in place of one of its own: two runtimes that share a `mem` network, for example.
    pub fn share<T: Any + Send + Sync>(mut self, value: Arc<T>) -> Self {
        self.share.push(Box::new(move |context| context.provide(value)));
        self
    }

    /// Wraps every connection that the runtime makes. The first layer is the outermost.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers = self.layers.with(layer);
        self
    }

    /// Publishes under this id rather than a random one.
    pub fn instance_id(mut self, id: u64) -> Self {
        self.instance_id = Some(id);
        self
    }

    /// Checks everything. One `Config` error names every problem there is.
    pub fn build(self) -> Result<Biplane> {
        let mut registry = TransportRegistry::builder();
        if self.collected {
            registry.collected()?;
        }
        for register in self.register {
            register(&mut registry)?;
        }
        let registry = registry.build()?;
        let loaded = load(self.inputs, registry.registrations())?;
        for warning in &loaded.warnings {
            tracing::warn!(target: "biplane::config", "{warning}");
        }
        let config = Arc::new(loaded.config);
        refuse_mem_between_processes(&config)?;
        let telemetry = Telemetry::default();
        // Within 53 bits, so that readers whose numbers are doubles show the same id.
        let instance_id = self.instance_id.unwrap_or_else(|| random_u64() >> 11);
        let context =
            BuildContext::new(config.clone(), telemetry.clone(), instance_id).with_environment(self.environment);
        for share in self.share {
            share(&context);
        }
        Ok(Biplane(Arc::new(Inner {
            registry: registry.bind(context),
            config,
            settings: loaded.settings,
            telemetry,
            layers: self.layers,
            health: Health::new(instance_id),
            instance_id,
            state: State::default(),
        })))
    }
}

/// `mem` stays within one process. A discovery that other processes read would send them to it.
fn refuse_mem_between_processes(config: &Config) -> Result<()> {
    let asks_for_mem = config.response_plane == TransportId::MEM || config.request_planes.contains(&TransportId::MEM);
    if asks_for_mem && config.discovery.backend != TransportId::MEM {
        return Err(Error::config(format!(
            "the plane `mem` works within one process, and discovery `{}` is shared with others",
            config.discovery.backend
        ))
        .with_phase(Phase::Configure)
        .with_hint("set DYN_DISCOVERY_BACKEND=mem, or choose tcp"));
    }
    Ok(())
}
