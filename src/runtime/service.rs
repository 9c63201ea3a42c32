// SPDX-License-Identifier: Apache-2.0
//! A service by name, as a connection: instances found, balanced, connected once and called.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::Inner;
use super::call::call;
use super::route::Route;
use crate::capability::TransportCapabilities;
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::discovery::balance::{Balancer, Pick};
use crate::discovery::{Instance, Watch};
use crate::error::{Error, Result, Retry};
use crate::message::{Message, Request, Subject, random_u64};
use crate::plane::PlaneType;
use crate::stream::ResponseStream;
use crate::target::{ServiceName, TransportId};
use crate::telemetry::PlaneMetrics;

/// A caller's view of a service: a [`Connection`] whose requests go to its instances. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) direct: Option<u64>,
}

/// By instance and request transport. A cell that is being filled is a dial under way.
type Connections = HashMap<(u64, TransportId), Arc<OnceCell<Arc<dyn Connection>>>>;

pub(super) struct Shared {
    pub(super) name: ServiceName,
    pub(super) subject: Subject,
    pub(super) runtime: Weak<Inner>,
    pub(super) balancer: Balancer,
    info: ConnectionInfo,
    watch: Mutex<Watch>,
    connections: Mutex<Connections>,
    /// Routes by instance: selection is for new instances, not for every call.
    routes: Mutex<HashMap<u64, Arc<[Route]>>>,
    connected: AtomicU64,
    metrics: Mutex<HashMap<(TransportId, PlaneType), PlaneMetrics>>,
}

/// What has gone from a [`Service`] to its instances since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// Requests sent, by instance id. One that was tried again counts again; an instance that has gone is not listed.
    pub sent: BTreeMap<u64, u64>,
    /// Connections made.
    pub connected: u64,
}

impl Service {
    pub(super) fn new(runtime: &Arc<Inner>, name: ServiceName, mut watch: Watch) -> Self {
        let balancer = Balancer::new(runtime.config.balance, random_u64());
        balancer.update(&watch.borrow_and_update());
        let info = ConnectionInfo::new(
            runtime.config.response_plane.clone(),
            name.to_string(),
            TransportCapabilities::default(),
        );
        Self {
            shared: Arc::new(Shared {
                subject: name.subject(),
                name,
                runtime: Arc::downgrade(runtime),
                balancer,
                info,
                watch: Mutex::new(watch),
                connections: Mutex::default(),
                routes: Mutex::default(),
                connected: AtomicU64::new(0),
                metrics: Mutex::default(),
            }),
            direct: None,
        }
    }

    /// The same service, every request to the instance `id`.
    pub fn to_instance(&self, id: u64) -> Self {
        Self { shared: self.shared.clone(), direct: Some(id) }
    }

    /// What discovery knows now.
    pub fn instances(&self) -> Arc<[Instance]> {
        self.shared.watch.lock().unwrap_or_else(PoisonError::into_inner).borrow().clone()
    }

    /// How requests were shared out. All clones of a service count together.
    pub fn stats(&self) -> ServiceStats {
        ServiceStats {
            sent: self.shared.balancer.sent().into_iter().collect(),
            connected: self.shared.connected.load(Ordering::Relaxed),
        }
    }

    /// The subject that a request to this service has.
    pub fn subject(&self) -> &Subject {
        &self.shared.subject
    }
}

#[async_trait]
impl Connection for Service {
    fn info(&self) -> &ConnectionInfo {
        &self.shared.info
    }

    /// The request's subject is the service's, whatever it says.
    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        let runtime = self.shared.runtime()?;
        request.subject = self.shared.subject.clone();
        if request.context.deadline.is_none() {
            request.context.deadline = Instant::now().checked_add(runtime.config.limits.request_timeout);
        }
        call(runtime, self.clone(), request)
    }

    async fn notify(&self, _subject: &Subject, message: Message) -> Result<()> {
        let runtime = self.shared.runtime()?;
        let pick = self.shared.pick(self.direct, &[])?;
        let routes = self.shared.routes(&runtime, pick.instance())?;
        let route = routes.first().ok_or_else(|| Error::no_transport("this instance offers no transport"))?;
        let (connection, _) = self.shared.connection(&runtime, pick.instance().instance_id, route).await?;
        connection.notify(&self.shared.subject, message).await
    }

    /// A service pushes nothing: waits for ever.
    async fn receive(&self) -> Result<Option<Inbound>> {
        std::future::pending().await
    }

    /// Closes the connections to all instances. A later request opens them again.
    async fn close(&self, grace: Duration) -> Result<()> {
        let cells: Vec<_> = self.shared.connections().drain().map(|(_, cell)| cell).collect();
        for cell in cells {
            if let Some(connection) = cell.get() {
                connection.close(grace).await?;
            }
        }
        Ok(())
    }
}

impl Shared {
    pub(super) fn runtime(&self) -> Result<Arc<Inner>> {
        let runtime = self.runtime.upgrade().filter(|runtime| !runtime.is_closed());
        runtime.ok_or_else(|| Error::closed("this runtime has been shut down"))
    }

    /// An instance for the next attempt.
    pub(super) fn pick(&self, direct: Option<u64>, exclude: &[u64]) -> Result<Pick> {
        self.notice_changes();
        match direct {
            Some(id) if exclude.contains(&id) => Err(Error::no_service(format!("instance {id} failed"))),
            Some(id) => self.balancer.pick_direct(id),
            None => self.balancer.pick(Instant::now(), exclude),
        }
    }

    fn notice_changes(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.has_changed().unwrap_or(false) {
            let instances = watch.borrow_and_update().clone();
            drop(watch);
            self.adopt(&instances);
        }
    }

    /// Replaces what is known about instances.
    pub(super) fn adopt(&self, instances: &[Instance]) {
        self.balancer.update(instances);
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let gone: Vec<_> = {
            let mut connections = self.connections();
            let is_gone = |id: u64| instances.iter().all(|instance| instance.instance_id != id);
            let gone: Vec<_> = connections.keys().filter(|(id, _)| is_gone(*id)).cloned().collect();
            gone.iter().filter_map(|key| connections.remove(key)).collect()
        };
        // Dropped outside the lock: a connection's drop may call out.
        drop(gone);
    }

    /// The routes to `instance`, best first.
    pub(super) fn routes(&self, runtime: &Inner, instance: &Instance) -> Result<Arc<[Route]>> {
        let id = instance.instance_id;
        if let Some(routes) = self.routes.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(routes.clone());
        }
        // Nothing was sent: another instance may offer what this caller has.
        let routes = runtime.routes_to(instance).map_err(|error| error.with_retry(Retry::Safe))?;
        let routes: Arc<[Route]> = routes.into();
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, routes.clone());
        Ok(routes)
    }

    /// The connection for `route`, and whether it was there already.
    pub(super) async fn connection(
        &self,
        runtime: &Arc<Inner>,
        instance: u64,
        route: &Route,
    ) -> Result<(Arc<dyn Connection>, bool)> {
        let cell = self.connections().entry((instance, route.request.clone())).or_default().clone();
        let was_there = cell.initialized();
        // Single-flight: whoever comes meanwhile waits for the same dial.
        let connecting = || async {
            let connection = runtime.connect_route(route).await?;
            self.connected.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Error>(connection)
        };
        let connection = cell.get_or_try_init(connecting).await?;
        Ok((connection.clone(), was_there))
    }

    /// The connection for `route`, if there is one.
    pub(super) fn cached(&self, instance: u64, route: &Route) -> Option<Arc<dyn Connection>> {
        self.connections().get(&(instance, route.request.clone()))?.get().cloned()
    }

    /// Forgets a connection that failed.
    pub(super) fn evict(&self, instance: u64, route: &Route) {
        let evicted = self.connections().remove(&(instance, route.request.clone()));
        drop(evicted);
    }

    pub(super) fn metrics(&self, runtime: &Inner, transport: &TransportId, plane: PlaneType) -> PlaneMetrics {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.entry((transport.clone(), plane)).or_insert_with(|| runtime.telemetry.plane(transport, plane)).clone()
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({}, {} instances)", self.shared.name, self.instances().len())
    }
}
