// SPDX-License-Identifier: Apache-2.0
//! One call by name, from the choice of an instance to the end of its answer: connects, and tries elsewhere as long as
//! nothing of the answer has arrived and the error says that the request did not run.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::Inner;
use super::route::Route;
use super::service::Service;
use crate::connection::{Connection, Inbound};
use crate::discovery::balance::Pick;
use crate::error::{Detail, Error, ErrorKind, Phase, Result, Retry};
use crate::message::{ControlMessage, Request};
use crate::plane::PlaneType;
use crate::stream::{Event, ResponseStream, Source};
use crate::target::TransportId;
use crate::telemetry::InFlight;

/// Attempts of one call, on all instances and transports together.
const MAX_ATTEMPTS: usize = 8;

/// Sends `request` to an instance of `service`. If a connection is there, it is on its way when this returns.
pub(super) fn call(runtime: Arc<Inner>, service: Service, request: Request) -> Result<ResponseStream> {
    let mut state = State {
        runtime,
        service,
        request: Some(request),
        failed: Vec::new(),
        redialled: Vec::new(),
        attempts: 0,
        carried_by: None,
        control: None,
        idle: None,
        stage: Stage::Over,
    };
    state.stage = state.first_stage();
    Ok(ResponseStream::new(Arc::new(Call(Mutex::new(state))), 0))
}

struct Call(Mutex<State>);

struct State {
    runtime: Arc<Inner>,
    service: Service,
    /// Kept until the answer begins, to send it again.
    request: Option<Request>,
    /// Instances that failed this call.
    failed: Vec<u64>,
    /// Instances whose old connection had died: they get one fresh one before they count as failed.
    redialled: Vec<u64>,
    attempts: usize,
    /// The transport of the last attempt.
    carried_by: Option<TransportId>,
    /// What the caller said before there was a stream to say it to.
    control: Option<ControlMessage>,
    /// The time between items, where a limit is set.
    idle: Option<Pin<Box<tokio::time::Sleep>>>,
    stage: Stage,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Attempt, Failed>> + Send>>;

enum Stage {
    Connecting(Connecting),
    Answering { stream: ResponseStream, attempt: Attempt, metrics: [InFlight; 2], has_begun: bool },
    Over,
}

/// An instance, and which of its routes is tried.
struct Chosen {
    pick: Pick,
    routes: Arc<[Route]>,
    at: usize,
}

/// A chosen instance with a connection to it.
struct Attempt {
    chosen: Chosen,
    connection: Arc<dyn Connection>,
    /// The connection had been used before.
    is_reused: bool,
}

/// An attempt that did not come to a connection.
struct Failed {
    error: Error,
    /// Who was tried, if anyone was there.
    tried: Option<Box<Chosen>>,
    /// The connection was an old one: that it is dead says nothing about the instance.
    was_reused: bool,
}

impl Chosen {
    fn id(&self) -> u64 {
        self.pick.instance().instance_id
    }

    fn route(&self) -> Option<&Route> {
        self.routes.get(self.at)
    }
}

impl Failed {
    fn at(chosen: Chosen, error: Error) -> Self {
        Self { error, tried: Some(Box::new(chosen)), was_reused: false }
    }

    fn nobody(error: Error) -> Self {
        Self { error, tried: None, was_reused: false }
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Call {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.state().poll_next(cx)
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        let mut state = self.state();
        match &state.stage {
            Stage::Answering { stream, .. } => stream.control(message),
            Stage::Connecting(_) => state.control = state.control.max(Some(message)),
            Stage::Over => {}
        }
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        if let Stage::Answering { stream, .. } = &self.state().stage {
            stream.forward(inbound);
        }
    }

    fn release(&self, _key: u64) {
        let stage = std::mem::replace(&mut self.state().stage, Stage::Over);
        drop(stage);
    }
}

impl State {
    /// The common case has everything at hand: an instance and a connection to it.
    ///
    /// An instance is picked once: a pick that came to nothing would still be a turn, and where turns go round, an instance
    /// without a connection would lose each of its turns to the next one, and never get a connection.
    fn first_stage(&mut self) -> Stage {
        let failed = |failed: Failed| Stage::Connecting(Box::pin(async move { Err(failed) }));
        let Ok(pick) = self.service.shared.pick(self.service.direct, &[]) else { return self.connecting(None, None) };
        let routes = match self.service.shared.routes(&self.runtime, pick.instance()) {
            Ok(routes) => routes,
            Err(error) => return failed(Failed::at(Chosen { pick, routes: Arc::default(), at: 0 }, error)),
        };
        let chosen = Chosen { pick, routes, at: 0 };
        let at_hand = chosen.route().and_then(|route| self.service.shared.cached(chosen.id(), route));
        let Some(connection) = at_hand else { return self.connecting(Some(chosen), None) };
        match self.send(Attempt { chosen, connection, is_reused: true }) {
            Ok(stage) => stage,
            Err(error) => failed(*error),
        }
    }

    /// Chooses an instance, or goes on with the routes that are left for one, and connects. If nobody is left to choose,
    /// `before` is the error: what went wrong says more than that.
    fn connecting(&self, next: Option<Chosen>, before: Option<Error>) -> Stage {
        let (runtime, service, failed) = (self.runtime.clone(), self.service.clone(), self.failed.clone());
        let deadline = self.request.as_ref().and_then(|request| request.context.deadline);
        Stage::Connecting(Box::pin(async move {
            let chosen = match next {
                Some(next) => next,
                None => {
                    let pick =
                        choose(&service, &failed).await.map_err(|error| Failed::nobody(before.unwrap_or(error)))?;
                    match service.shared.routes(&runtime, pick.instance()) {
                        Ok(routes) => Chosen { pick, routes, at: 0 },
                        Err(error) => {
                            let chosen = Chosen { pick, routes: Arc::default(), at: 0 };
                            return Err(Failed::at(chosen, error));
                        }
                    }
                }
            };
            let Some(route) = chosen.route() else {
                let error = Error::no_transport("no route is left to this instance");
                return Err(Failed::at(chosen, error));
            };
            let id = chosen.id();
            let connecting = service.shared.connection(&runtime, id, route);
            let connected = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), connecting)
                    .await
                    .unwrap_or_else(|_| Err(Error::deadline(0).with_phase(Phase::Connect))),
                None => connecting.await,
            };
            match connected {
                Ok((connection, is_reused)) => Ok(Attempt { chosen, connection, is_reused }),
                Err(error) => Err(Failed::at(chosen, error)),
            }
        }))
    }

    /// Puts the request on the connection.
    fn send(&mut self, attempt: Attempt) -> Result<Stage, Box<Failed>> {
        let fail = |error, attempt: Attempt| {
            let was_reused = attempt.is_reused;
            Box::new(Failed { was_reused, ..Failed::at(attempt.chosen, error) })
        };
        let (Some(request), Some(route)) = (self.request.take(), attempt.chosen.route().cloned()) else {
            return Err(fail(Error::unexpected("the request was sent already"), attempt));
        };
        // A streaming request cannot be sent twice: it goes as it is, and is not kept.
        let request = match request.try_clone() {
            Some(copy) => {
                self.request = Some(request);
                copy
            }
            None => request,
        };
        self.attempts += 1;
        self.count_fallback(&route.request);
        let shared = &self.service.shared;
        let metrics = [(&route.request, PlaneType::Request), (&route.response, PlaneType::Response)]
            .map(|(id, plane)| shared.metrics(&self.runtime, id, plane).begin());
        match attempt.connection.open(request) {
            Ok(stream) => {
                attempt.chosen.pick.sent();
                if let Some(message) = self.control.take() {
                    stream.control(message);
                }
                Ok(Stage::Answering { stream, attempt, metrics, has_begun: false })
            }
            Err(error) => {
                metrics.iter().for_each(|metrics| metrics.fail(error.kind()));
                if attempt.is_reused {
                    self.forget(&attempt);
                }
                Err(fail(error, attempt))
            }
        }
    }

    /// Counts that a transport of the fallback list carries what another one should have.
    fn count_fallback(&mut self, to: &TransportId) {
        let config = &self.runtime.config;
        let from = self.carried_by.replace(to.clone()).or_else(|| config.request_planes.first().cloned());
        if let Some(from) = from.filter(|from| from != to && config.fallback.contains(to)) {
            self.runtime.telemetry.count_fallback(&from, to);
        }
    }

    fn forget(&mut self, attempt: &Attempt) {
        if let Some(route) = attempt.chosen.route() {
            self.service.shared.evict(attempt.chosen.id(), route);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Connecting(connecting) => {
                    let connected = ready!(connecting.as_mut().poll(cx));
                    let sent = match connected {
                        Ok(attempt) => self.send(attempt),
                        Err(failed) => Err(Box::new(failed)),
                    };
                    match sent {
                        Ok(stage) => self.stage = stage,
                        Err(failed) => {
                            if let Some(error) = self.recover(*failed) {
                                return Poll::Ready(Some(Err(error)));
                            }
                        }
                    }
                }
                Stage::Answering { stream, attempt, has_begun, metrics } => {
                    let Poll::Ready(event) = stream.poll_event(cx) else { return self.poll_idle(cx) };
                    self.idle = None;
                    match event {
                        Some(Ok(event)) => {
                            if !*has_begun {
                                *has_begun = true;
                                attempt.chosen.pick.succeeded();
                                self.request = None;
                            }
                            return Poll::Ready(Some(Ok(event)));
                        }
                        None => {
                            attempt.chosen.pick.succeeded();
                            self.stage = Stage::Over;
                            return Poll::Ready(None);
                        }
                        Some(Err(error)) => {
                            metrics.iter().for_each(|metrics| metrics.fail(error.kind()));
                            if let Some(error) = self.lost(error) {
                                return Poll::Ready(Some(Err(error)));
                            }
                        }
                    }
                }
            }
        }
    }

    /// The answer failed. Another attempt, or the error for the caller.
    fn lost(&mut self, error: Error) -> Option<Error> {
        let Stage::Answering { attempt, has_begun, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Some(error);
        };
        if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect) {
            // Whoever calls next shall not meet the same dead connection.
            self.forget(&attempt);
        }
        if has_begun {
            return Some(error);
        }
        let was_reused = attempt.is_reused;
        self.recover(Failed { was_reused, ..Failed::at(attempt.chosen, error) })
    }

    /// An attempt failed before anything of the answer came.
    fn recover(&mut self, failed: Failed) -> Option<Error> {
        self.stage = Stage::Over;
        let Failed { error, tried, was_reused } = failed;
        let Some(mut chosen) = tried else { return Some(error) };
        let (id, is_safe) = (chosen.id(), error.retry() == Retry::Safe);
        let is_lost = matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect);
        if was_reused && is_safe && is_lost && !self.redialled.contains(&id) {
            self.redialled.push(id);
            return self.retry(error, Some(*chosen));
        }
        if is_lost || matches!(error.kind(), ErrorKind::Timeout | ErrorKind::NoService) {
            chosen.pick.failed(Instant::now());
        }
        if !is_safe {
            return Some(error);
        }
        chosen.at += 1;
        if chosen.route().is_some() {
            return self.retry(error, Some(*chosen));
        }
        self.failed.push(id);
        drop(chosen);
        self.retry(error, None)
    }

    fn retry(&mut self, error: Error, next: Option<Chosen>) -> Option<Error> {
        let deadline = self.request.as_ref().and_then(|request| request.context.deadline);
        let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if self.request.is_none() || self.attempts + self.failed.len() >= MAX_ATTEMPTS || is_late {
            return Some(error);
        }
        tracing::debug!(target: "biplane::call", service = %self.service.shared.name, "trying again: {error}");
        self.stage = self.connecting(next, Some(error));
        None
    }

    /// Nothing came. Bounded by the time between items where one is set.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let Some(limit) = self.runtime.config.limits.read_timeout else { return Poll::Pending };
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(idle.as_mut().poll(cx));
        self.stage = Stage::Over;
        let error = Error::timeout(format!("no item within {} s", limit.as_secs_f32()))
            .with_detail(Detail::DeadlineExceeded { items_seen: 0 })
            .with_hint("BIPLANE_READ_TIMEOUT sets the time between items");
        Poll::Ready(Some(Err(error)))
    }
}

/// An instance that has not failed this call. Asks discovery once more before it says that there is none.
async fn choose(service: &Service, failed: &[u64]) -> Result<Pick> {
    let shared = &service.shared;
    let error = match shared.pick(service.direct, failed) {
        Ok(pick) => return Ok(pick),
        Err(error) => error,
    };
    let runtime = shared.runtime()?;
    shared.adopt(&runtime.discovery()?.refresh(&shared.name).await?);
    if let Ok(pick) = shared.pick(service.direct, failed) {
        return Ok(pick);
    }
    let hint = runtime.who_is_there(&shared.name).await;
    Err(error.with_target(shared.name.to_string()).with_phase(Phase::Discover).with_retry(Retry::Safe).with_hint(hint))
}
