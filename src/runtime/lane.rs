// SPDX-License-Identifier: Apache-2.0
//! A route in use: found once per instance and kept with it, so that a call looks nothing up.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::Inner;
use super::route::Route;
use super::service::Shared;
use crate::connection::Connection;
use crate::discovery::Instance;
use crate::error::{ErrorKind, Result, Retry};
use crate::target::TransportId;
use crate::telemetry::PairMetrics;

/// The ways to one instance, best first; found by its first call, and lost when it moves.
#[derive(Default)]
pub(super) struct Lanes(OnceLock<Known>);

struct Known {
    lanes: Box<[Lane]>,
    /// Whose instance it is: whoever knows the instance need not keep the service too.
    service: Weak<Shared>,
}

/// One way to an instance, with its connection once there is one.
pub(super) struct Lane {
    pub(super) route: Route,
    /// The transport of choice, if this one is on the fallback list and carries what that one should have.
    pub(super) in_place_of: Option<TransportId>,
    /// A cell that is being filled is a dial under way.
    connection: Mutex<Arc<OnceCell<Arc<dyn Connection>>>>,
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

    /// The service, if [`Lanes::find`] found anything and it is still there.
    pub(super) fn service(&self) -> Option<Arc<Shared>> {
        self.0.get()?.service.upgrade()
    }
}

impl Lane {
    fn new(runtime: &Inner, route: Route) -> Self {
        let preferred = runtime.config.request_planes.first();
        let stands_in = |of: &&TransportId| **of != route.request && runtime.config.fallback.contains(&route.request);
        Self {
            in_place_of: preferred.filter(stands_in).cloned(),
            connection: Mutex::default(),
            metrics: runtime.telemetry.pair(&route.request, &route.response),
            route,
        }
    }

    /// The connection, if there is one.
    pub(super) fn cached(&self) -> Option<Arc<dyn Connection>> {
        self.cell().get().cloned()
    }

    /// The connection, and whether it was there already. Single-flight: whoever comes meanwhile waits for the same dial.
    /// `count` is called for one that was made.
    pub(super) async fn connected(&self, runtime: &Inner, count: impl Fn()) -> Result<(Arc<dyn Connection>, bool)> {
        let cell = self.cell().clone();
        let was_there = cell.initialized();
        let connecting = || async {
            let connection = runtime.connect_route(&self.route).await?;
            count();
            Ok(connection)
        };
        cell.get_or_try_init(connecting).await.map(|connection| (connection.clone(), was_there))
    }

    /// Forgets the connection: it failed, or is to be closed.
    pub(super) fn forget(&self) -> Option<Arc<dyn Connection>> {
        let cell = std::mem::take(&mut *self.cell());
        cell.get().cloned()
    }

    /// A call begins.
    pub(super) fn begin(&self) {
        self.metrics.begun();
    }

    /// A call that began came to this.
    pub(super) fn fail(&self, kind: ErrorKind) {
        self.metrics.fail(kind);
    }

    /// A call that began is over.
    pub(super) fn end(&self, took: Duration) {
        self.metrics.ended(took);
    }

    fn cell(&self) -> MutexGuard<'_, Arc<OnceCell<Arc<dyn Connection>>>> {
        self.connection.lock()
    }
}
