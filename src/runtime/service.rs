// SPDX-License-Identifier: Apache-2.0
//! A service by name, as a connection: instances found, balanced, connected once and called.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::Inner;
use super::attempt::Chosen;
use super::call::call;
use super::lane::Lanes;
use crate::capability::TransportCapabilities;
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::discovery::balance::{Balancer, Pick};
use crate::discovery::{Instance, Watch};
use crate::error::{Error, Phase, Result, Retry};
use crate::message::{Message, Request, Subject, random_u64};
use crate::stream::ResponseStream;
use crate::target::ServiceName;

/// A caller's view of a service: a [`Connection`] whose requests go to its instances. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) direct: Option<u64>,
}

pub(super) struct Shared {
    pub(super) name: ServiceName,
    pub(super) subject: Subject,
    runtime: Weak<Inner>,
    /// Connections are kept with the instances that they lead to.
    pub(super) balancer: Balancer<Lanes>,
    request_timeout: Duration,
    info: ConnectionInfo,
    connected: AtomicU64,
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
    pub(super) fn new(runtime: &Arc<Inner>, name: ServiceName, watch: Watch) -> Self {
        let balancer = Balancer::following(runtime.config.balance, random_u64(), watch);
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
                request_timeout: runtime.config.limits.request_timeout,
                info,
                connected: AtomicU64::new(0),
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
        self.shared.balancer.watched()
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
        let now = Instant::now();
        if request.context.deadline.is_none() {
            request.context.deadline = now.checked_add(self.shared.request_timeout);
        }
        call(runtime, self, request, now)
    }

    async fn notify(&self, _subject: &Subject, message: Message) -> Result<()> {
        let runtime = self.shared.runtime()?;
        let pick = self.shared.pick(self.direct, Instant::now(), &[])?;
        let chosen = Chosen::new(pick, &runtime, self).map_err(|failed| failed.error)?;
        let lane = chosen.lane().ok_or_else(|| Error::no_transport("this instance offers no transport"))?;
        let (connection, _) = lane.connected(&runtime, || self.shared.count_connected()).await?;
        connection.notify(&self.shared.subject, message).await
    }

    /// A service pushes nothing: waits for ever.
    async fn receive(&self) -> Result<Option<Inbound>> {
        std::future::pending().await
    }

    /// Closes the connections to all instances. A later request opens them again.
    async fn close(&self, grace: Duration) -> Result<()> {
        for mut instance in self.shared.balancer.all() {
            let connections: Vec<_> =
                instance.kept().known().iter().filter_map(|lane| lane.connection().cloned()).collect();
            self.shared.balancer.renew(&mut instance, |lanes| lanes.without(|_| true));
            for connection in connections {
                connection.close(grace).await?;
            }
        }
        Ok(())
    }
}

impl Service {
    /// An instance that has not failed this call. Asks discovery once more before it says that there is none.
    pub(super) async fn choose(&self, failed: &[u64]) -> Result<Pick<Lanes>> {
        let shared = &self.shared;
        let error = match shared.pick(self.direct, Instant::now(), failed) {
            Ok(pick) => return Ok(pick),
            Err(error) => error,
        };
        let runtime = shared.runtime()?;
        shared.balancer.update(&runtime.discovery()?.refresh(&shared.name).await?);
        if let Ok(pick) = shared.pick(self.direct, Instant::now(), failed) {
            return Ok(pick);
        }
        let hint = runtime.who_is_there(&shared.name).await;
        let error = error.with_target(shared.name.to_string()).with_phase(Phase::Discover);
        Err(error.with_retry(Retry::Safe).with_hint(hint))
    }
}

impl Shared {
    pub(super) fn runtime(&self) -> Result<Arc<Inner>> {
        let runtime = self.runtime.upgrade().filter(|runtime| !runtime.is_closed());
        runtime.ok_or_else(|| Error::closed("this runtime has been shut down"))
    }

    /// An instance for the next attempt.
    pub(super) fn pick(&self, direct: Option<u64>, now: Instant, exclude: &[u64]) -> Result<Pick<Lanes>> {
        match direct {
            Some(id) if exclude.contains(&id) => Err(Error::no_service(format!("instance {id} failed"))),
            Some(id) => self.balancer.pick_direct(id),
            None => self.balancer.pick(now, exclude),
        }
    }

    /// A connection was made.
    pub(super) fn count_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({}, {} instances)", self.shared.name, self.instances().len())
    }
}
