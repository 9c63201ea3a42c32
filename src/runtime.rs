// SPDX-License-Identifier: Apache-2.0
//! The runtime: where registry, configuration, discovery and transports meet, and the only place that reads the environment.
//!
//! ```no_run
//! # async fn example() -> biplane::Result<()> {
//! use biplane::{Biplane, Request, ResponseSender, handler_fn};
//!
//! let biplane = Biplane::from_env()?;
//! let echo = handler_fn(|request: Request, mut reply: ResponseSender| async move { reply.send(request.message).await });
//! let serving = biplane.serve("echo", echo).start().await?;
//!
//! let mut answer = biplane.call("echo", "hello").await?;
//! while let Some(item) = answer.next().await {
//!     println!("{}", item?.text()?);
//! }
//! # drop(serving); Ok(()) }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
#[cfg(feature = "http")]
use tokio::sync::OnceCell;

pub use self::builder::Builder;
pub use self::service::{Service, ServiceStats};
pub use self::serving::{Serve, Serving};
use crate::config::{Config, Setting};
use crate::connection::{Connection, Listener};
use crate::discovery::Discovery;
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::layer::{Layer, Stack};
use crate::message::{Message, Request, Subject};
use crate::plane::Handler;
use crate::registry::{Made, TransportRegistry};
use crate::stream::ResponseStream;
use crate::system::{Health, Status};
use crate::target::{ServiceName, Target, TransportAddress};
use crate::telemetry::Telemetry;

mod attempt;
mod builder;
mod call;
mod explain;
mod lane;
mod route;
mod rpc;
mod service;
mod serving;

/// A transport runtime: serves handlers, calls services, makes connections. Cheap to clone; two in one process are
/// independent. Dropping the last clone closes nothing gracefully: see [`Biplane::shutdown`].
#[derive(Clone)]
pub struct Biplane(Arc<Inner>);

struct Inner {
    registry: TransportRegistry,
    config: Arc<Config>,
    settings: Vec<Setting>,
    telemetry: Telemetry,
    layers: Stack,
    health: Health,
    instance_id: u64,
    state: State,
}

/// What comes about while a runtime is used.
#[derive(Default)]
struct State {
    services: Mutex<Services>,
    targets: Mutex<HashMap<String, Called>>,
    dispatches: Mutex<Vec<Dispatch>>,
    closed: AtomicBool,
    #[cfg(feature = "http")]
    system: OnceCell<crate::system::SystemServer>,
}

#[derive(Default)]
struct Services {
    by_name: HashMap<ServiceName, Service>,
    /// As they were asked for: several spellings mean one service, and reading a name costs more than finding it.
    by_text: HashMap<String, Service>,
}

/// A URL that has been called: its connection and subject.
#[derive(Clone)]
struct Called {
    connection: Arc<dyn Connection>,
    subject: Option<Subject>,
}

/// URLs whose connections are kept for the next call, and spellings of names whose services are.
const MAX_TARGETS: usize = 1024;

impl Biplane {
    /// A runtime as the environment and the file that it names say, with every transport that the program links.
    pub fn from_env() -> Result<Self> {
        Self::builder().process_env().build()
    }

    /// A runtime of your own making. Reads no environment unless told to.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Prepares to serve `handler` as `name`: `[[namespace.]component.]endpoint`.
    pub fn serve<H: Handler>(&self, name: &str, handler: H) -> Serve<H> {
        Serve::new(self.clone(), name, handler)
    }

    /// The service `name` as a connection, for many calls. Kept, so asking again is cheap.
    pub async fn service(&self, name: &str) -> Result<Service> {
        self.0.check_open()?;
        if let Some(service) = self.0.services().by_text.get(name) {
            return Ok(service.clone());
        }
        let (text, name) = (name.to_owned(), name.parse::<ServiceName>()?);
        let known = self.0.services().by_name.get(&name).cloned();
        let service = match known {
            Some(service) => service,
            None => {
                let watch = self.0.discovery()?.watch(&name).await?;
                let fresh = || Service::new(&self.0, name.clone(), watch);
                self.0.services().by_name.entry(name.clone()).or_insert_with(fresh).clone()
            }
        };
        let mut services = self.0.services();
        if services.by_text.len() < MAX_TARGETS {
            services.by_text.insert(text, service.clone());
        }
        Ok(service)
    }

    /// Calls a service by name, or a URL, with a message. The answer's stream carries every later error.
    pub async fn call(&self, url_or_name: &str, message: impl Into<Message>) -> Result<ResponseStream> {
        // A service's subject replaces this one; a URL that names none keeps it.
        self.call_with(url_or_name, Request::new(Subject::from_static("default"), message)).await
    }

    /// [`Biplane::call`] with a request that has a context, or items.
    pub async fn call_with(&self, url_or_name: &str, mut request: Request) -> Result<ResponseStream> {
        if !url_or_name.contains(':') {
            return self.service(url_or_name).await?.open(request);
        }
        let called = self.called(url_or_name).await?;
        if let Some(subject) = called.subject {
            request.subject = subject;
        }
        if request.context.deadline.is_none() {
            request.context.deadline = Instant::now().checked_add(self.0.config.limits.request_timeout);
        }
        match called.connection.open(request) {
            Err(error) => {
                // The next call dials afresh.
                self.0.targets().remove(url_or_name);
                Err(error)
            }
            opened => opened,
        }
    }

    /// The request face of a URL as a connection, with the subject that the URL names: what [`Biplane::call`] uses. Where a
    /// scheme has a connection face of its own, as `http` has MCP's, [`Biplane::connect`] gives that one instead.
    pub async fn request_face(&self, url: &str) -> Result<(Arc<dyn Connection>, Option<Subject>)> {
        let called = self.called(url).await?;
        Ok((called.connection, called.subject))
    }

    /// The request face of a URL.
    async fn called(&self, url: &str) -> Result<Called> {
        let inner = &self.0;
        inner.check_open()?;
        if let Some(called) = inner.targets().get(url) {
            return Ok(called.clone());
        }
        let target = self.target(url)?;
        let request = inner.select_request_by_url(&target, Default::default()).require()?;
        let (address, subject) = inner.registry.get_request_client(&request)?.locate(&target)?;
        let route = inner.route(TransportAddress::new(request, address))?;
        let called = Called { connection: inner.connect_route(&route).await?, subject };
        let mut targets = inner.targets();
        if targets.len() < MAX_TARGETS {
            targets.insert(url.to_owned(), called.clone());
        }
        Ok(called)
    }

    /// Dials a URL: its connection face. The transport is the one that the URL insists on (`id+scheme://…`), the
    /// configured one, or the best that serves the scheme; one that answers `Unsupported` gives way to the next.
    pub async fn connect(&self, url: &str) -> Result<Arc<dyn Connection>> {
        self.connect_to(&self.target(url)?).await
    }

    /// As [`Biplane::connect`], with what else is known of the target: headers, a program's variables.
    pub async fn connect_to(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let inner = &self.0;
        inner.check_open()?;
        if target.scheme() == "rpc" {
            return self.connect_rpc(target.rest()).await;
        }
        let selection = inner.select_connection(target, Default::default());
        let mut unsupported = None;
        selection.require()?;
        for candidate in selection.able() {
            match inner.registry.get_transport(&candidate.id)?.connect(target).await {
                Ok(connection) => return Ok(inner.layers.layer(connection)),
                Err(error) if error.kind() == crate::ErrorKind::Unsupported => unsupported = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(unsupported.unwrap_or_else(|| Error::no_transport(format!("nothing connects to {target}"))))
    }

    /// Listens at a URL, with the transport that [`Biplane::connect`] would dial it with.
    pub async fn listen(&self, url: &str) -> Result<Box<dyn Listener>> {
        let inner = &self.0;
        inner.check_open()?;
        if let Some(rest) = rpc::rest(url) {
            return self.listen_rpc(rest).await;
        }
        let target = self.target(url)?;
        let selection = inner.select_connection(&target, Default::default());
        selection.require()?;
        let mut unsupported = None;
        for candidate in selection.able() {
            match inner.registry.get_transport(&candidate.id)?.listen(&target).await {
                Err(error) if error.kind() == crate::ErrorKind::Unsupported => unsupported = Some(error),
                listening => return listening,
            }
        }
        Err(unsupported.unwrap_or_else(|| Error::no_transport(format!("nothing listens at {target}"))))
    }

    /// Reads a URL; a prefix `id+` counts if the id is registered.
    pub fn target(&self, url: &str) -> Result<Target> {
        Target::parse(url, |id| self.0.registry.is_registered(id))
    }

    /// The frozen registry.
    pub fn registry(&self) -> &TransportRegistry {
        &self.0.registry
    }

    /// The effective configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    /// The effective configuration with the source of every value; secrets are redacted.
    pub fn settings(&self) -> &[Setting] {
        &self.0.settings
    }

    /// This runtime's metrics.
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// The id under which this runtime publishes.
    pub fn instance_id(&self) -> u64 {
        self.0.instance_id
    }

    /// Where instances are published and found.
    pub fn discovery(&self) -> Result<std::sync::Arc<dyn Discovery>> {
        self.0.discovery()
    }

    /// Starts `/health`, `/live` and `/metrics` if `DYN_SYSTEM_PORT` is set, and says where. Serving starts it too.
    pub async fn start_system(&self) -> Result<Option<SocketAddr>> {
        self.0.start_system().await
    }

    /// Ends the runtime in order: endpoints finish what runs within `grace`, planes and connections close. What is called
    /// afterwards gets `Closed`. Withdraw services first ([`Serving::stop`]), so that callers stop coming.
    pub async fn shutdown(&self, grace: Duration) {
        let inner = &self.0;
        inner.state.closed.store(true, Ordering::Release);
        inner.health.advance(Status::Draining);
        let until = tokio::time::Instant::now() + grace;
        let left = || until.saturating_duration_since(tokio::time::Instant::now());
        let dispatches = std::mem::take(&mut *inner.state.dispatches.lock());
        for dispatch in dispatches {
            dispatch.drained(left()).await;
        }
        let services = std::mem::take(&mut *inner.services());
        for service in services.by_name.into_values() {
            let _ = service.close(left()).await;
        }
        let targets: Vec<_> = inner.targets().drain().map(|(_, called)| called.connection).collect();
        for connection in targets {
            let _ = connection.close(left()).await;
        }
        for (registration, made) in inner.registry.live() {
            let closed = match made {
                Made::Request(plane) => plane.server.close(left()).await,
                Made::Response(plane) => plane.close(left()).await,
                Made::Connection(transport) => transport.close(left()).await,
                Made::Discovery(_) => Ok(()),
            };
            if let Err(error) = closed {
                tracing::warn!(target: "biplane::runtime", "closing {}: {error}", registration.transport_id);
            }
        }
    }
}

impl Inner {
    fn discovery(&self) -> Result<Arc<dyn Discovery>> {
        self.registry.get_discovery(&self.config.discovery.backend)
    }

    fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::closed("this runtime has been shut down")) } else { Ok(()) }
    }

    fn services(&self) -> parking_lot::MutexGuard<'_, Services> {
        self.state.services.lock()
    }

    fn targets(&self) -> parking_lot::MutexGuard<'_, HashMap<String, Called>> {
        self.state.targets.lock()
    }

    fn remember(&self, dispatch: &Dispatch) {
        self.state.dispatches.lock().push(dispatch.clone());
    }

    #[cfg(feature = "http")]
    async fn start_system(&self) -> Result<Option<SocketAddr>> {
        if self.config.system.port.is_none() {
            return Ok(None);
        }
        let bind =
            || crate::system::SystemServer::bind(&self.config.system, self.telemetry.clone(), self.health.clone());
        let server = self
            .state
            .system
            .get_or_try_init(bind)
            .await
            .map_err(|error| error.with_phase(crate::error::Phase::Listen))?;
        Ok(Some(server.local_addr()))
    }

    #[cfg(not(feature = "http"))]
    async fn start_system(&self) -> Result<Option<SocketAddr>> {
        match self.config.system.port {
            None => Ok(None),
            Some(_) => Err(Error::config("DYN_SYSTEM_PORT needs the feature `http`, which this build lacks")),
        }
    }

    /// For the hint of an error that found no instance of `name`.
    async fn who_is_there(&self, name: &ServiceName) -> String {
        let mut names: Vec<String> = match self.discovery() {
            Ok(discovery) => {
                discovery.list().await.unwrap_or_default().iter().map(|instance| instance.name.to_string()).collect()
            }
            Err(_) => Vec::new(),
        };
        names.sort();
        names.dedup();
        let wanted = name.to_string();
        let nearest = names.iter().max_by(|a, b| strsim::jaro(a, &wanted).total_cmp(&strsim::jaro(b, &wanted)));
        match nearest.cloned() {
            None => format!(
                "no service is published in discovery `{}`; start one with `biplane serve {wanted} --echo`, with the same DYN_DISCOVERY_BACKEND and DYN_FILE_KV",
                self.config.discovery.backend
            ),
            Some(nearest) => {
                names.retain(|other| *other != nearest);
                names.insert(0, nearest);
                names.truncate(8);
                format!("published are: {}", names.join(", "))
            }
        }
    }
}

impl fmt::Debug for Biplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Biplane(instance {})", self.0.instance_id)
    }
}
