// SPDX-License-Identifier: Apache-2.0
//! What is measured: a caller, what it calls, and the worker if it is ours.

use std::sync::Arc;
use std::time::Duration;

use biplane::capability::Requirements;
use biplane::registry::{Explanation, Meeting};
use biplane::runtime::ServiceStats;
use biplane::{Biplane, Error, PlaneType, Result, TransportId};

use super::child::Worker;
use super::counters::{Links, Pools};
use super::drive::{Callee, drive};
use super::load::{Answer, Load};
use super::report::{Figures, Report, Resources, Route};
use super::site::{Planes, Site};
use super::tally::Tallies;
use super::usage;
use super::worker::WorkerReport;
use crate::context::Context;

/// For what a caller still has open when its measurement is over.
const GRACE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Subject {
    caller: Biplane,
    worker: Option<Worker>,
    callee: Callee,
    route: Route,
}

/// Totals at one moment.
pub(crate) struct Snapshot {
    cpu_time: Duration,
    rss_kib: Option<u64>,
    pools: Pools,
    service: Option<ServiceStats>,
    worker: Option<WorkerReport>,
}

impl Subject {
    /// A caller on `planes` and a worker of its own, both in `site`. The subject calls the first of `answers`.
    pub(crate) async fn of_our_own(
        context: &Context,
        site: &Site,
        planes: &Planes,
        answers: &[Answer],
    ) -> Result<Self> {
        let name = answers.first().map(|answer| answer.name.clone()).unwrap_or_default();
        let caller = context.build(site.builder(context.builder(), planes))?;
        let worker = Worker::start(context, site, planes, answers).await?;
        Self::new(caller, Some(worker), &name).await
    }

    /// A caller of a service, or a URL, that runs elsewhere.
    pub(crate) async fn elsewhere(caller: Biplane, url_or_name: &str) -> Result<Self> {
        Self::new(caller, None, url_or_name).await
    }

    async fn new(caller: Biplane, worker: Option<Worker>, url_or_name: &str) -> Result<Self> {
        let callee = if url_or_name.contains(':') {
            Callee::Url(caller.clone(), url_or_name.into())
        } else {
            Callee::Service(caller.service(url_or_name).await?)
        };
        let route = route(&caller.explain(url_or_name, Requirements::NONE).await?)?;
        Ok(Self { caller, worker, callee, route })
    }

    /// Who carries what.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// The service or the URL that the subject was made for.
    pub(crate) fn callee(&self) -> &Callee {
        &self.callee
    }

    /// Another service of the worker.
    pub(crate) async fn service(&self, name: &str) -> Result<Callee> {
        Ok(Callee::Service(self.caller.service(name).await?))
    }

    /// Runs `load` and tells what it came to. `tallies` are written to on the way, for whoever watches.
    pub(crate) async fn measure(&mut self, load: &Load, tallies: &Arc<Tallies>) -> Result<Report> {
        let before = self.snapshot().await?;
        let outcome = drive(&self.callee, load, tallies).await?;
        let after = self.snapshot().await?;
        let resources = self.resources(&before, &after, outcome.tally.requests);
        Ok(Report { route: self.route.clone(), figures: Figures::new(&outcome), resources })
    }

    /// What was used up to now.
    pub(crate) async fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot {
            cpu_time: usage::cpu_time(),
            rss_kib: usage::resident_kib(),
            pools: Pools::read(&self.caller.telemetry().render()),
            service: match &self.callee {
                Callee::Service(service) => Some(service.stats()),
                Callee::Url(..) => None,
            },
            worker: match &mut self.worker {
                Some(worker) => Some(worker.report().await?),
                None => None,
            },
        })
    }

    /// What `requests` between two moments used.
    pub(crate) fn resources(&self, before: &Snapshot, after: &Snapshot, requests: u64) -> Resources {
        let workers = before.worker.as_ref().zip(after.worker.as_ref());
        let per_request = |before: Duration, after: Duration| {
            let micros = after.saturating_sub(before).as_nanos() as f64 / 1e3 / requests.max(1) as f64;
            (micros * 10.0).round() / 10.0
        };
        let sent = after.service.iter().flat_map(|stats| &stats.sent).map(|(id, sent)| {
            let earlier = before.service.as_ref().and_then(|stats| stats.sent.get(id)).copied();
            (id.to_string(), sent.saturating_sub(earlier.unwrap_or(0)))
        });
        Resources::new(
            (per_request(before.cpu_time, after.cpu_time), workers.map(|(a, b)| per_request(a.cpu_time, b.cpu_time))),
            (after.rss_kib, after.worker.as_ref().and_then(|worker| worker.rss_kib)),
            self.links(after),
            sent.collect(),
        )
    }

    /// The links that carried the answers, since both processes began: dialled for a call home by the worker, else by the
    /// caller. A link that a connection keeps to itself is in no pool; the service counts those.
    fn links(&self, now: &Snapshot) -> Option<Links> {
        if self.route.rendezvous == Some(Meeting::CallHome) {
            return now.worker.as_ref().map(|worker| worker.pools.of_responder());
        }
        let pooled = now.pools.of_caller(&self.route.response);
        if pooled != Links::default() {
            return Some(pooled);
        }
        let stats = now.service.as_ref().filter(|_| self.route.rendezvous == Some(Meeting::Inline))?;
        let sent: u64 = stats.sent.values().sum();
        Some(Links { created: stats.connected, reused: sent.saturating_sub(stats.connected) })
    }

    /// Ends both sides in order.
    pub(crate) async fn stop(self) {
        let Self { caller, worker, callee, .. } = self;
        drop(callee);
        caller.shutdown(GRACE).await;
        if let Some(worker) = worker {
            worker.stop().await;
        }
    }
}

/// The choice that the runtime itself makes and explains.
fn route(explanation: &Explanation) -> Result<Route> {
    let chosen = |plane: PlaneType| -> Result<TransportId> {
        let selection = explanation.planes.iter().find(|selection| selection.plane == plane);
        let selection =
            selection.ok_or_else(|| Error::unexpected(format!("nothing was selected for the {plane} plane")))?;
        selection.require()
    };
    Ok(Route {
        request: chosen(PlaneType::Request)?,
        response: chosen(PlaneType::Response)?,
        rendezvous: explanation.answer,
    })
}
