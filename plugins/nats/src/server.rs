// SPDX-License-Identifier: Apache-2.0
//! The responder's side: which subjects are served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::config::Limits;
use biplane::plane::{EndpointGuard, RequestPlaneServer};
use biplane::telemetry::PlaneMetrics;
use biplane::{Detail, Dispatch, Error, Phase, Result, Subject, TransportAddress};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::Settings;
use crate::connection::Connection;
use crate::endpoint::{Endpoint, EndpointLimits};
use crate::{ID, subject};

/// Serves endpoints on NATS subjects.
pub(crate) struct NatsRequestServer {
    connection: Arc<Connection>,
    limits: EndpointLimits,
    instance_id: u64,
    metrics: PlaneMetrics,
    registered: Arc<Mutex<Registered>>,
}

#[derive(Default)]
struct Registered {
    closed: bool,
    endpoints: HashMap<Subject, Served>,
    /// Unregistered, but perhaps not finished.
    retired: Vec<Served>,
    /// Distinguishes the registrations that a subject has over time.
    next: u64,
}

struct Served {
    dispatch: Dispatch,
    number: u64,
    /// Absent while the subscription is being made.
    task: Option<JoinHandle<()>>,
    /// Dropped, it stops the endpoint.
    stop: Option<oneshot::Sender<()>>,
}

impl NatsRequestServer {
    pub(crate) fn new(
        connection: Arc<Connection>,
        settings: &Settings,
        limits: &Limits,
        instance_id: u64,
        metrics: PlaneMetrics,
    ) -> Self {
        let limits = EndpointLimits {
            max_accepting: settings.max_accepting,
            accept_timeout: limits.call_home_timeout,
            request_timeout: limits.request_timeout,
        };
        Self { connection, limits, instance_id, metrics, registered: Arc::default() }
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        lock(&self.registered)
    }

    /// Takes `subject` for a registration, before any I/O.
    fn reserve(&self, subject: &Subject, dispatch: &Dispatch) -> Result<Reservation> {
        let mut registered = self.registered();
        if registered.closed {
            return Err(Error::closed("the nats request server was closed"));
        }
        if registered.endpoints.contains_key(subject) {
            return Err(Error::config(format!("{subject:?} is served on the nats plane already"))
                .with_detail(Detail::AlreadyRegistered)
                .with_hint("drop the guard of the first registration before the second"));
        }
        registered.retired.retain(|served| !served.is_over());
        let number = registered.next;
        registered.next += 1;
        let served = Served { dispatch: dispatch.clone(), number, task: None, stop: None };
        registered.endpoints.insert(subject.clone(), served);
        Ok(Reservation { registered: self.registered.clone(), subject: subject.clone(), number })
    }
}

#[async_trait]
impl RequestPlaneServer for NatsRequestServer {
    async fn register_endpoint(&self, subject: Subject, dispatch: Dispatch) -> Result<EndpointGuard> {
        // Dropped on any way out but the last, it gives the subject back.
        let reservation = self.reserve(&subject, &dispatch)?;
        let direct = subject::direct(&subject, self.instance_id);
        let endpoint = Endpoint {
            group: subject::group(&subject),
            direct: direct.clone(),
            subject,
            dispatch,
            connection: self.connection.clone(),
            limits: self.limits,
            metrics: self.metrics.clone(),
        };
        let subscribed =
            endpoint.subscribe().await.map_err(|error| error.with_transport(ID).with_phase(Phase::Listen))?;
        let (stop, stopped) = oneshot::channel();
        let mut registered = self.registered();
        if registered.closed {
            return Err(Error::closed("the nats request server was closed meanwhile"));
        }
        if let Some(served) = registered.endpoints.get_mut(&reservation.subject) {
            served.task = Some(tokio::spawn(endpoint.run(subscribed, stopped)));
            served.stop = Some(stop);
        }
        drop(registered);
        tracing::debug!(target: "biplane::nats", subject = %reservation.subject, address = direct, "serving");
        Ok(EndpointGuard::new(TransportAddress::nats(direct), move || drop(reservation)))
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        let until = Instant::now() + grace;
        let mut served = {
            let mut registered = self.registered();
            registered.closed = true;
            let endpoints = std::mem::take(&mut registered.endpoints);
            endpoints.into_values().chain(std::mem::take(&mut registered.retired)).collect::<Vec<_>>()
        };
        // All at once, then one after the other: the time is the longest of them, not their sum.
        served.iter_mut().for_each(|served| drop(served.stop.take()));
        for served in served {
            served.finish(until).await;
        }
        // The last acknowledgements may still be on their way to the socket.
        if let Some(link) = self.connection.current()
            && let Err(error) = link.round_trip(until).await
        {
            tracing::debug!(target: "biplane::nats", %error, "closed without knowing that the last acknowledgements left");
        }
        Ok(())
    }
}

impl Served {
    fn is_over(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished) && self.dispatch.in_flight() == 0
    }

    /// Waits until `until` for requests that have arrived, and their handlers.
    async fn finish(mut self, until: Instant) {
        if let Some(mut task) = self.task.take()
            && timeout_at(until, &mut task).await.is_err()
        {
            task.abort();
        }
        self.dispatch.drained(until.saturating_duration_since(Instant::now())).await;
    }
}

/// A taken subject. Dropped, it is free and its endpoint stops.
struct Reservation {
    registered: Arc<Mutex<Registered>>,
    subject: Subject,
    number: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut registered = lock(&self.registered);
        // After `close`, the subject is not ours any more.
        if registered.endpoints.get(&self.subject).is_some_and(|served| served.number == self.number)
            && let Some(mut served) = registered.endpoints.remove(&self.subject)
        {
            served.stop = None;
            registered.retired.push(served);
        }
    }
}

fn lock(registered: &Mutex<Registered>) -> MutexGuard<'_, Registered> {
    registered.lock()
}
