// SPDX-License-Identifier: Apache-2.0
//! The responder's side: a handler on request planes, published.

use std::sync::Arc;
use std::time::Duration;

use super::{Biplane, Inner};
use crate::discovery::{Instance, LeaseGuard, TransportEndpoint, TransportType};
use crate::dispatch::{Dispatch, DispatchLimits};
use crate::error::{Error, Phase, Result};
use crate::plane::{EndpointGuard, Handler, PlaneType, ResponsePlane, ResponsePlanes};
use crate::system::{EndpointHealth, Status};
use crate::target::{ServiceName, TransportAddress, TransportId};

/// A service about to be served. See [`Biplane::serve`].
pub struct Serve<H> {
    biplane: Biplane,
    name: Result<ServiceName>,
    handler: H,
    planes: Option<Vec<TransportId>>,
    weight: u8,
}

impl<H: Handler> Serve<H> {
    pub(super) fn new(biplane: Biplane, name: &str, handler: H) -> Self {
        Self { biplane, name: name.parse(), handler, planes: None, weight: 100 }
    }

    /// Serves these request planes in place of `DYN_REQUEST_PLANE`.
    pub fn on(mut self, planes: impl IntoIterator<Item = TransportId>) -> Self {
        self.planes = Some(planes.into_iter().collect());
        self
    }

    /// The share of requests relative to other instances, 0 to 100.
    pub fn weight(mut self, weight: u8) -> Self {
        self.weight = weight;
        self
    }

    /// Binds what is not bound yet, registers the endpoint on every plane and publishes it.
    ///
    /// All or nothing: an error leaves no endpoint behind. Cancel-safe.
    pub async fn start(self) -> Result<Serving> {
        let Self { biplane, name, handler, planes, weight } = self;
        let (name, inner) = (name?, biplane.0.clone());
        if weight > 100 {
            return Err(Error::config(format!("a weight is 0 to 100, got {weight}")));
        }
        inner.start_system().await?;
        let planes = planes.unwrap_or_else(|| inner.config.request_planes.clone());
        if planes.is_empty() {
            return Err(Error::config("a service needs at least one request plane").with_phase(Phase::Listen));
        }
        let limits = DispatchLimits {
            max_in_flight: inner.config.limits.max_in_flight,
            max_message_size: inner.config.limits.max_message_size,
            ..DispatchLimits::default()
        };
        // One for all planes: the limit on handlers is the endpoint's.
        let dispatch = Dispatch::new(handler, Arc::new(Planes(Arc::downgrade(&inner))), limits);
        let subject = name.subject();
        let mut guards = Vec::new();
        let mut endpoints = Vec::new();
        for id in &planes {
            let registration = inner.registry.registration(PlaneType::Request, id)?;
            let server = inner.registry.get_request_server(id)?;
            let metered = dispatch.metered(inner.telemetry.plane(id, PlaneType::Request));
            let guard = server
                .register_endpoint(subject.clone(), metered)
                .await
                .map_err(|error| error.with_transport(id).with_phase(Phase::Listen))?;
            endpoints.push(TransportEndpoint {
                address: guard.address().clone(),
                capabilities: registration.capabilities,
                metadata: Default::default(),
            });
            guards.push(guard);
        }
        let response_transports = inner
            .registry
            .registrations()
            .iter()
            .filter(|registration| registration.plane() == PlaneType::Response)
            // Of no use to whoever reads the record in another process.
            .filter(|registration| {
                registration.id() != TransportId::MEM || inner.config.discovery.backend == TransportId::MEM
            })
            .map(|registration| TransportEndpoint {
                address: TransportAddress::new(registration.id(), ""),
                capabilities: registration.capabilities,
                metadata: Default::default(),
            })
            .collect();
        let instance = Instance {
            name: name.clone(),
            instance_id: inner.instance_id,
            weight,
            transport: TransportType::Unified { request_transports: endpoints, response_transports },
        };
        let health = {
            let dispatch = dispatch.clone();
            inner.health.add_endpoint(name.to_string(), move || dispatch.in_flight())
        };
        let lease = inner.discovery()?.put(instance.clone()).await?;
        inner.health.advance(Status::Ready);
        inner.remember(&dispatch);
        Ok(Serving { instance, dispatch, lease: Some(lease), guards, _health: health })
    }
}

/// A served and published endpoint. Drop withdraws it; requests that run go on.
pub struct Serving {
    instance: Instance,
    dispatch: Dispatch,
    lease: Option<LeaseGuard>,
    guards: Vec<EndpointGuard>,
    _health: EndpointHealth,
}

impl Serving {
    /// What was published.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Handlers that run now.
    pub fn in_flight(&self) -> usize {
        self.dispatch.in_flight()
    }

    /// Withdraws the record: nobody new finds the endpoint, and whoever knows it still reaches it.
    pub fn withdraw(&mut self) {
        self.lease = None;
    }

    /// Withdraws the record, gives callers a moment to see that, unregisters, and waits for the handlers that run, at most
    /// `grace`. Says whether all had finished.
    pub async fn stop(mut self, grace: Duration) -> bool {
        drop(self.lease.take());
        // Requests that are on their way were sent by callers who read the record before it went.
        tokio::time::sleep(grace.min(Duration::from_millis(300))).await;
        self.guards.clear();
        self.dispatch.drained(grace).await
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serving({}, instance {})", self.instance.name, self.instance.instance_id)
    }
}

/// The response planes of a runtime, for its dispatches. Weak: a handler that runs must not keep its runtime.
struct Planes(std::sync::Weak<Inner>);

impl ResponsePlanes for Planes {
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        let inner = self.0.upgrade().ok_or_else(|| Error::closed("this runtime has been shut down"))?;
        inner.registry.get_response_client(transport).map_err(|error| {
            Error::refused(format!("this responder cannot answer over {transport}: {error}")).with_phase(Phase::Select)
        })
    }
}
