// SPDX-License-Identifier: Apache-2.0
//! One call by name, from the choice of an instance to the end of its answer: connects, and tries elsewhere as long as
//! nothing of the answer has arrived and the error says that the request did not run.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use parking_lot::Mutex;

use super::Inner;
use super::attempt::{Attempt, Chosen, Failed};
use super::lane::Lane;
use super::service::Service;
use crate::connection::Connection;
use crate::error::{Detail, Error, ErrorKind, Phase, Result, Retry};
use crate::message::{Request, Subject};
use crate::stream::{Overseer, ResponseStream};
use crate::target::TransportId;

mod spare;

/// Attempts of one call, on all instances and transports together.
const MAX_ATTEMPTS: usize = 8;

/// A call, or the room for one.
#[derive(Default)]
pub(super) struct Call {
    /// A call goes on when its caller has let go of the runtime, and so keeps it. Nothing between two calls.
    runtime: Option<Arc<Inner>>,
    /// Known as long as no instance is, which knows it too.
    service: Option<Service>,
    /// The one instance that may answer.
    direct: Option<u64>,
    /// What is to be sent, kept until the answer begins; its subject is the service's. Of a streaming request nothing is
    /// kept once it is sent: its items can be sent only once.
    asked: Option<Request>,
    /// Instances that failed this call.
    failed: Vec<u64>,
    /// Instances whose old connection had died: they get one fresh one before they count as failed.
    redialled: Vec<u64>,
    attempts: usize,
    /// The transport of the last attempt, if that failed.
    carried_by: Option<TransportId>,
    /// The time between items, where a limit is set.
    idle: Option<Idle>,
    stage: Stage,
}

/// How long nothing has come.
struct Idle {
    since_item: u64,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Attempt, Failed>> + Send>>;

#[derive(Default)]
enum Stage {
    /// Polled by the reader only. The mutex makes it fit for sharing, and is never locked.
    Connecting(Mutex<Connecting>),
    Answering {
        attempt: Attempt,
        has_begun: bool,
    },
    #[default]
    Over,
}

/// Sends `request` to an instance of `service`. If a connection is there, it is on its way when this returns.
pub(super) fn call(runtime: Arc<Inner>, service: &Service, request: Request, now: Instant) -> Result<ResponseStream> {
    let mut call = spare::take();
    call.direct = service.direct;
    call.asked = Some(request);
    let Some(mut attempt) = call.begin(&runtime, service, now) else {
        call.runtime = Some(runtime);
        return Ok(ResponseStream::found_by(call));
    };
    let mut opened = call.send(&runtime, &service.shared.subject, &mut attempt, now);
    call.runtime = Some(runtime);
    // The stream stays where it is: each time that it were moved would cost as much as a lock.
    match opened {
        Ok(ref mut stream) => {
            call.sent(attempt);
            stream.oversee(call);
        }
        Err(error) => {
            let failed = call.not_sent(attempt, error);
            call.fail_later(service, failed);
            return Ok(ResponseStream::found_by(call));
        }
    }
    opened
}

impl Overseer for Call {
    fn came(&mut self) {
        self.idle = None;
        if let Stage::Answering { attempt, has_begun } = &mut self.stage
            && !mem::replace(has_begun, true)
        {
            attempt.chosen.pick.succeeded();
            self.asked = None;
        }
    }

    fn poll_pending(&mut self, seen: u64, cx: &mut Context<'_>) -> Poll<Result<ResponseStream>> {
        loop {
            match &mut self.stage {
                Stage::Answering { .. } => return self.poll_idle(seen, cx),
                Stage::Over => return Poll::Ready(Err(Error::unexpected("the call is over"))),
                Stage::Connecting(connecting) => {
                    let connected = ready!(connecting.get_mut().as_mut().poll(cx));
                    if let Some(found) = self.connected(connected) {
                        return Poll::Ready(found);
                    }
                }
            }
        }
    }

    fn failed(&mut self, error: Error) -> Option<Error> {
        self.idle = None;
        self.lost(error)
    }

    fn ended(mut self: Box<Self>, at: Option<Instant>) {
        if let Stage::Answering { attempt, .. } = &mut self.stage {
            attempt.chosen.pick.succeeded();
            attempt.chosen.end(at);
        }
        self.clear();
        spare::keep(self);
    }
}

impl Call {
    /// Lets go of everything, in place.
    fn clear(&mut self) {
        self.stage = Stage::Over;
        self.asked = None;
        self.failed.clear();
        self.redialled.clear();
        self.attempts = 0;
        self.carried_by = None;
        self.idle = None;
        self.service = None;
        self.runtime = None;
    }

    /// The common case has everything at hand: an instance and a connection to it.
    ///
    /// An instance is picked once: a pick that came to nothing would still be a turn, and where turns go round, an instance
    /// without a connection would lose each of its turns to the next one, and never get a connection.
    #[inline]
    fn begin(&mut self, runtime: &Arc<Inner>, service: &Service, now: Instant) -> Option<Attempt> {
        let chosen = match service.shared.pick(service.direct, now, &[]) {
            Ok(pick) => match Chosen::new(pick, runtime, service) {
                Ok(chosen) => Some(chosen),
                Err(failed) => {
                    self.fail_later(service, failed);
                    return None;
                }
            },
            Err(_) => None,
        };
        match chosen {
            Some(chosen) if chosen.lane().is_some_and(|lane| lane.connection().is_some()) => {
                Some(Attempt { chosen, is_reused: true })
            }
            chosen => {
                self.connect(runtime.clone(), service.clone(), chosen, None);
                None
            }
        }
    }

    /// What to do now is found out by whoever reads.
    #[cold]
    fn fail_later(&mut self, service: &Service, failed: Box<Failed>) {
        self.service = Some(service.clone());
        self.stage = Stage::connecting(async move { Err(*failed) });
    }

    /// Chooses an instance, or goes on with the lanes that are left for one, and connects. If nobody is left to choose,
    /// `before` is the error: what went wrong says more than that.
    fn connect(&mut self, runtime: Arc<Inner>, service: Service, next: Option<Chosen>, before: Option<Error>) {
        self.service = Some(service.clone());
        let failed = self.failed.clone();
        let deadline = self.deadline();
        self.stage = Stage::connecting(async move {
            let chosen = match next {
                Some(next) => next,
                None => {
                    let pick = service.choose(&failed).await;
                    let pick = pick.map_err(|error| Failed::nobody(before.unwrap_or(error)))?;
                    Chosen::new(pick, &runtime, &service).map_err(|failed| *failed)?
                }
            };
            let Some(lane) = chosen.lane() else {
                let error = Error::no_transport("no route is left to this instance");
                return Err(Failed::at(chosen, error));
            };
            let connecting = lane.connected(&runtime, || service.shared.count_connected());
            let connected = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), connecting)
                    .await
                    .unwrap_or_else(|_| Err(Error::deadline(0).with_phase(Phase::Connect))),
                None => connecting.await,
            };
            match connected {
                Ok((_, is_reused)) => Ok(Attempt { chosen, is_reused }),
                Err(error) => Err(Failed::at(chosen, error)),
            }
        });
    }

    /// Puts the request on the connection.
    #[inline]
    fn send(
        &mut self,
        runtime: &Inner,
        subject: &Subject,
        attempt: &mut Attempt,
        now: Instant,
    ) -> Result<ResponseStream> {
        self.attempts += 1;
        attempt.chosen.begin(now);
        match attempt.chosen.lane().and_then(|lane| Some((lane, lane.connection()?))) {
            Some((lane, connection)) => {
                self.count_fallback(runtime, lane);
                self.open(&**connection, subject, now)
            }
            None => Err(Error::unexpected("the way to the instance has no connection")),
        }
    }

    #[inline]
    fn sent(&mut self, attempt: Attempt) {
        attempt.chosen.pick.sent();
        self.stage = Stage::Answering { attempt, has_begun: false };
    }

    #[cold]
    fn not_sent(&mut self, mut attempt: Attempt, error: Error) -> Box<Failed> {
        if attempt.is_reused {
            attempt.chosen.forget();
        }
        self.attempt_failed(attempt, error)
    }

    #[inline]
    fn open(&mut self, connection: &dyn Connection, subject: &Subject, now: Instant) -> Result<ResponseStream> {
        match &self.asked {
            Some(Request { context, message, items: None, .. }) => connection.open_kept(subject, context, message, now),
            Some(_) => self.open_streaming(connection, subject),
            None => Err(Error::unexpected("the request was sent already")),
        }
    }

    #[cold]
    fn open_streaming(&mut self, connection: &dyn Connection, subject: &Subject) -> Result<ResponseStream> {
        let Some(request) = self.asked.take() else { return Err(Error::unexpected("the request was sent already")) };
        connection.open(Request { subject: subject.clone(), ..request })
    }

    /// That a transport of the fallback list carries what another one should have.
    fn count_fallback(&self, runtime: &Inner, lane: &Lane) {
        let to = &lane.route().request;
        let from = match &self.carried_by {
            Some(from) if from != to && runtime.config.fallback.contains(to) => Some(from),
            Some(_) => None,
            None => lane.in_place_of(),
        };
        if let Some(from) = from {
            runtime.telemetry.count_fallback(from, to);
        }
    }

    /// What was sent, or could not be, came to this.
    fn attempt_failed(&mut self, attempt: Attempt, error: Error) -> Box<Failed> {
        if let Some(lane) = attempt.chosen.lane() {
            lane.fail(error.kind());
            self.carried_by = Some(lane.route().request.clone());
        }
        attempt.failed(error)
    }

    /// There is a connection to send on, or none to be had. The answer's stream, or the error for the caller; nothing if there
    /// is another attempt.
    fn connected(&mut self, connected: Result<Attempt, Failed>) -> Option<Result<ResponseStream>> {
        let mut attempt = match connected {
            Ok(attempt) => attempt,
            Err(failed) => return self.recover(failed).map(Err),
        };
        let (Some(service), Some(runtime)) = (self.service.clone(), self.runtime.clone()) else {
            self.stage = Stage::Over;
            return Some(Err(Error::unexpected("the call is over")));
        };
        match self.send(&runtime, &service.shared.subject, &mut attempt, Instant::now()) {
            Ok(stream) => {
                self.sent(attempt);
                Some(Ok(stream))
            }
            Err(error) => {
                let failed = self.not_sent(attempt, error);
                self.recover(*failed).map(Err)
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref()?.context.deadline
    }

    /// The answer failed. Another attempt, or the error for the caller.
    fn lost(&mut self, error: Error) -> Option<Error> {
        let Stage::Answering { mut attempt, has_begun } = mem::take(&mut self.stage) else {
            return Some(error);
        };
        let is_lost = is_lost(&error);
        if is_lost {
            // Whoever calls next shall not meet the same dead connection.
            attempt.chosen.forget();
        }
        if !has_begun {
            if self.service.is_none() {
                self.service = attempt.chosen.service(self.direct);
            }
            let failed = self.attempt_failed(attempt, error);
            return self.recover(*failed);
        }
        if is_lost {
            // Nor the same instance, if there is another: it may have other links that nobody knows yet to be as dead, and
            // what is written to one of those is not sent again.
            attempt.chosen.pick.failed(Instant::now());
        }
        Some(self.attempt_failed(attempt, error).error)
    }

    /// An attempt failed before anything of the answer came.
    fn recover(&mut self, failed: Failed) -> Option<Error> {
        self.stage = Stage::Over;
        let Failed { error, tried, was_reused } = failed;
        let Some(mut chosen) = tried else { return Some(error) };
        let (id, is_safe) = (chosen.id(), error.retry() == Retry::Safe);
        let is_lost = is_lost(&error);
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
        if chosen.goes_on() {
            return self.retry(error, Some(*chosen));
        }
        self.failed.push(id);
        drop(chosen);
        self.retry(error, None)
    }

    fn retry(&mut self, error: Error, next: Option<Chosen>) -> Option<Error> {
        let is_late = self.deadline().is_some_and(|deadline| deadline <= Instant::now());
        let is_sent = self.asked.is_none();
        if is_sent || self.attempts + self.failed.len() >= MAX_ATTEMPTS || is_late {
            return Some(error);
        }
        let Some(service) = self.service.clone() else { return Some(error) };
        let Ok(runtime) = service.shared.runtime() else { return Some(error) };
        tracing::debug!(target: "biplane::call", service = %service.shared.name, "trying again: {error}");
        self.connect(runtime, service, next, Some(error));
        None
    }

    /// Nothing came. Bounded by the time between items where one is set.
    fn poll_idle(&mut self, seen: u64, cx: &mut Context<'_>) -> Poll<Result<ResponseStream>> {
        let limit = self.runtime.as_ref().and_then(|runtime| runtime.config.limits.read_timeout);
        let Some(limit) = limit else { return Poll::Pending };
        let idle = match &mut self.idle {
            Some(idle) if idle.since_item == seen => idle,
            idle => idle.insert(Idle { since_item: seen, sleep: Box::pin(tokio::time::sleep(limit)) }),
        };
        ready!(idle.sleep.as_mut().poll(cx));
        let error = Error::timeout(format!("no item within {} s", limit.as_secs_f32()))
            .with_detail(Detail::DeadlineExceeded { items_seen: 0 })
            .with_hint("BIPLANE_READ_TIMEOUT sets the time between items");
        self.stage = Stage::Over;
        Poll::Ready(Err(error))
    }
}

impl Stage {
    fn connecting(connecting: impl Future<Output = Result<Attempt, Failed>> + Send + 'static) -> Self {
        Self::Connecting(Mutex::new(Box::pin(connecting)))
    }
}

/// Whether it was the way to the instance that failed.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect)
}
