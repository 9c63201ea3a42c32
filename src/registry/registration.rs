// SPDX-License-Identifier: Apache-2.0
//! What a transport tells the registry: constants, collected by `inventory` or handed over in code.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::capability::TransportCapabilities;
use crate::config::{Config, EnvVar};
use crate::connection::Transport;
use crate::discovery::Discovery;
use crate::error::{Error, Result};
use crate::plane::{PlaneType, RequestPlane, ResponsePlane};
use crate::target::TransportId;
use crate::telemetry::Telemetry;

/// Makes the implementation. Does no I/O: bind and connect happen on first use.
#[derive(Clone, Copy)]
pub enum Factory {
    /// Connections by URL.
    Connection(fn(&BuildContext) -> Result<Arc<dyn Transport>>),
    /// The request plane.
    Request(fn(&BuildContext) -> Result<RequestPlane>),
    /// The response plane.
    Response(fn(&BuildContext) -> Result<Arc<dyn ResponsePlane>>),
    /// Discovery.
    Discovery(fn(&BuildContext) -> Result<Arc<dyn Discovery>>),
}

impl Factory {
    /// Which plane it serves.
    pub const fn plane(&self) -> PlaneType {
        match self {
            Self::Connection(_) => PlaneType::Connection,
            Self::Request(_) => PlaneType::Request,
            Self::Response(_) => PlaneType::Response,
            Self::Discovery(_) => PlaneType::Discovery,
        }
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factory({})", self.plane())
    }
}

/// One implementation for one plane. A transport that serves several planes registers once for each.
///
/// ```
/// # use biplane::registry::*; use biplane::{Result, Transport};
/// # fn build(_: &BuildContext) -> Result<std::sync::Arc<dyn Transport>> { unimplemented!() }
/// const ACME: TransportRegistration = TransportRegistration::connection("acme", build).schemes(&["acme"]).priority(60);
/// biplane::register_transport!(ACME);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TransportRegistration {
    /// The id: `[a-z][a-z0-9.-]*`.
    pub transport_id: &'static str,
    /// URL schemes, lower case.
    pub schemes: &'static [&'static str],
    /// What it claims.
    pub capabilities: TransportCapabilities,
    /// The lower number wins. Built-in transports have 10 to 40, the default is 50.
    pub priority: u16,
    /// Makes it.
    pub factory: Factory,
    /// Its variables, beside the core's own.
    pub env: &'static [EnvVar],
    /// A variable that makes it the default of its plane when set.
    pub elected_by: Option<&'static str>,
    /// `crate@version`, stamped by [`register_transport!`](crate::register_transport).
    pub origin: &'static str,
}

impl TransportRegistration {
    const fn new(transport_id: &'static str, factory: Factory) -> Self {
        // Checked here, so that a bad id in a constant does not compile.
        assert!(crate::target::valid(transport_id), "a transport id is [a-z][a-z0-9.-]*");
        Self {
            transport_id,
            schemes: &[],
            capabilities: TransportCapabilities::UNARY,
            priority: 50,
            factory,
            env: &[],
            elected_by: None,
            origin: "",
        }
    }

    /// Registers connections by URL.
    pub const fn connection(id: &'static str, build: fn(&BuildContext) -> Result<Arc<dyn Transport>>) -> Self {
        Self::new(id, Factory::Connection(build))
    }

    /// Registers a request plane.
    pub const fn request(id: &'static str, build: fn(&BuildContext) -> Result<RequestPlane>) -> Self {
        Self::new(id, Factory::Request(build))
    }

    /// Registers a response plane.
    pub const fn response(id: &'static str, build: fn(&BuildContext) -> Result<Arc<dyn ResponsePlane>>) -> Self {
        Self::new(id, Factory::Response(build))
    }

    /// Registers a discovery backend.
    pub const fn discovery(id: &'static str, build: fn(&BuildContext) -> Result<Arc<dyn Discovery>>) -> Self {
        Self::new(id, Factory::Discovery(build))
    }

    /// Registers what the builder is given beside it: a closure or a ready instance. As a constant on its own it makes
    /// nothing and says so.
    pub const fn made_in_code(id: &'static str, plane: PlaneType) -> Self {
        match plane {
            PlaneType::Connection => Self::connection(id, |_| Err(absent())),
            PlaneType::Request => Self::request(id, |_| Err(absent())),
            PlaneType::Response => Self::response(id, |_| Err(absent())),
            PlaneType::Discovery => Self::discovery(id, |_| Err(absent())),
        }
    }

    /// URL schemes, lower case.
    pub const fn schemes(mut self, schemes: &'static [&'static str]) -> Self {
        self.schemes = schemes;
        self
    }

    /// What it claims.
    pub const fn capabilities(mut self, capabilities: TransportCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The lower number wins.
    pub const fn priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// Its variables.
    pub const fn env(mut self, env: &'static [EnvVar]) -> Self {
        self.env = env;
        self
    }

    /// Makes it the default of its plane when `variable` is set.
    pub const fn elected_by(mut self, variable: &'static str) -> Self {
        self.elected_by = Some(variable);
        self
    }

    /// Who registers it, as `crate@version`.
    pub const fn origin(mut self, origin: &'static str) -> Self {
        self.origin = origin;
        self
    }

    /// Which plane it serves.
    pub const fn plane(&self) -> PlaneType {
        self.factory.plane()
    }

    /// The id, typed.
    pub fn id(&self) -> TransportId {
        TransportId::from_static(self.transport_id)
    }
}

fn absent() -> Error {
    Error::config("the registration came without an implementation")
        .with_hint("hand it to the builder with register_with, register_connection, register_request_transport or register_response_transport")
}

/// A registration that the linker collected.
#[doc(hidden)]
pub struct Collected(pub TransportRegistration);

inventory::collect!(Collected);

/// Registers transports for every program that links this crate.
///
/// The linker drops a crate that no code names: a program that wants a plugin writes `use its_crate as _;`.
#[macro_export]
macro_rules! register_transport {
    ($($registration:expr),+ $(,)?) => {$(
        $crate::registry::inventory::submit! {
            $crate::registry::Collected(
                $registration.origin(concat!(env!("CARGO_PKG_NAME"), "@", env!("CARGO_PKG_VERSION")))
            )
        }
    )+};
}

/// What a factory may use. One per runtime.
#[derive(Clone)]
pub struct BuildContext {
    config: Arc<Config>,
    telemetry: Telemetry,
    instance_id: u64,
    environment: Arc<[(OsString, OsString)]>,
    shared: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

impl BuildContext {
    /// The context of one runtime.
    pub fn new(config: Arc<Config>, telemetry: Telemetry, instance_id: u64) -> Self {
        Self { config, telemetry, instance_id, environment: Arc::default(), shared: Arc::default() }
    }

    /// With the variables that the runtime was given, for transports that start programs.
    pub fn with_environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment = variables.into_iter().collect();
        self
    }

    /// The effective configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The section `[transport.<id>]` of a plugin, parsed.
    pub fn section<T: DeserializeOwned>(&self, id: &str) -> Result<T> {
        self.config.section(id)
    }

    /// This runtime's metrics.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The id under which this process publishes itself.
    pub fn instance_id(&self) -> u64 {
        self.instance_id
    }

    /// The variables that the runtime was given: those of the process, if its maker said so; of one name the last counts.
    /// Settings come from [`config`](Self::config); this is for what programs that a transport starts are to see.
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Makes `value` the one `T` of this runtime.
    pub fn provide<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        self.shared.lock().insert(TypeId::of::<T>(), value);
    }

    /// The one `T` of this runtime, so that the factories of a transport can share links. Made on first use; `make` must
    /// not ask for a shared value itself.
    pub fn shared<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut shared = self.shared.lock();
        if let Some(found) = shared.get(&TypeId::of::<T>()).cloned().and_then(|any| any.downcast().ok()) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        shared.insert(TypeId::of::<T>(), made.clone());
        Ok(made)
    }
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildContext(instance {:x})", self.instance_id)
    }
}
