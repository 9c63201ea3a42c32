// SPDX-License-Identifier: Apache-2.0
//! A route in use: found once per instance and kept with it, so that a call looks nothing up.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::Inner;
use super::route::Route;
use super::service::Shared;
use crate::connection::Connection;
use crate::discovery::Instance;
use crate::error::{ErrorKind, Result, Retry};
use crate::target::TransportId;
use crate::telemetry::PairMetrics;

/// The ways to one instance, best first; found by its first call, and lost when it moves. A connection that is forgotten is
/// forgotten by others taking the place of these: whoever has these has its connections too, and locks nothing.
#[derive(Default)]
pub(super) struct Lanes(OnceLock<Known>);

struct Known {
    lanes: Box<[Lane]>,
    /// Whose instance it is: whoever knows the instance need not keep the service too.
    service: Weak<Shared>,
}

/// One way to an instance, with its connection once there is one.
#[derive(Clone)]
pub(super) struct Lane {
    fixed: Arc<Fixed>,
    /// A cell that is being filled is a dial under way.
    connection: Arc<OnceCell<Arc<dyn Connection>>>,
}

/// What does not change with the connection.
struct Fixed {
    route: Route,
    in_place_of: Option<TransportId>,
    metrics: PairMetrics,
}

impl Lanes {
    /// Finds the ways to `instance` of `service`, whose these are, unless they are known.
    pub(super) fn find(&self, runtime: &Inner, service: &Arc<Shared>, instance: &Instance) -> Result<()> {
        if self.0.get().is_some() {
            return Ok(());
        }
        // Nothing was sent: another instance may offer what this caller has.
        let routes = runtime.routes_to(instance).map_err(|error| error.with_retry(Retry::Safe))?;
        let lanes = routes.into_iter().map(|route| Lane::new(runtime, route)).collect();
        // Of two who look for them at once the first is right for both.
        self.0.get_or_init(|| Known { lanes, service: Arc::downgrade(service) });
        Ok(())
    }

    /// Those that [`Lanes::find`] found.
    pub(super) fn known(&self) -> &[Lane] {
        self.0.get().map_or(&[], |known| &known.lanes)
    }

    /// The same, some without their connections.
    pub(super) fn without(&self, is_forgotten: impl Fn(usize) -> bool) -> Self {
        let fresh = OnceLock::new();
        if let Some(Known { lanes, service }) = self.0.get() {
            let renewed = |(at, lane): (usize, &Lane)| if is_forgotten(at) { lane.unconnected() } else { lane.clone() };
            let lanes = lanes.iter().enumerate().map(renewed);
            let _ = fresh.set(Known { lanes: lanes.collect(), service: service.clone() });
        }
        Self(fresh)
    }

    /// The service, if [`Lanes::find`] found anything and it is still there.
    pub(super) fn service(&self) -> Option<Arc<Shared>> {
        self.0.get()?.service.upgrade()
    }
}

impl Lane {
    fn new(runtime: &Inner, route: Route) -> Self {
        let preferred = runtime.config.request_planes.first();
        let stands_in = |of: &&TransportId| **of != route.request && runtime.config.fallback.contains(&route.request);
        let in_place_of = preferred.filter(stands_in).cloned();
        let metrics = runtime.telemetry.pair(&route.request, &route.response);
        Self { fixed: Arc::new(Fixed { route, in_place_of, metrics }), connection: Arc::default() }
    }

    pub(super) fn route(&self) -> &Route {
        &self.fixed.route
    }

    /// The transport of choice, if this one is on the fallback list and carries what that one should have.
    pub(super) fn in_place_of(&self) -> Option<&TransportId> {
        self.fixed.in_place_of.as_ref()
    }

    fn unconnected(&self) -> Self {
        Self { fixed: self.fixed.clone(), connection: Arc::default() }
    }

    /// The connection, if there is one.
    pub(super) fn connection(&self) -> Option<&Arc<dyn Connection>> {
        self.connection.get()
    }

    /// The connection, and whether it was there already. Single-flight: whoever comes meanwhile waits for the same dial.
    /// `count` is called for one that was made.
    pub(super) async fn connected(&self, runtime: &Inner, count: impl Fn()) -> Result<(&Arc<dyn Connection>, bool)> {
        let was_there = self.connection.initialized();
        let connecting = || async {
            let connection = runtime.connect_route(&self.fixed.route).await?;
            count();
            Ok(connection)
        };
        self.connection.get_or_try_init(connecting).await.map(|connection| (connection, was_there))
    }

    /// A call begins.
    pub(super) fn begin(&self) {
        self.fixed.metrics.begun();
    }

    /// A call that began came to this.
    pub(super) fn fail(&self, kind: ErrorKind) {
        self.fixed.metrics.fail(kind);
    }

    /// A call that began is over.
    pub(super) fn end(&self, took: Duration) {
        self.fixed.metrics.ended(took);
    }
}
