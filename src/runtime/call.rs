// SPDX-License-Identifier: Apache-2.0
//! One call by name, from the choice of an instance to the end of its answer: connects, and tries elsewhere as long as
//! nothing of the answer has arrived and the error says that the request did not run.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::Inner;
use super::attempt::{Attempt, Chosen, Failed};
use super::lane::Lane;
use super::service::Service;
use crate::connection::Inbound;
use crate::error::{Detail, Error, ErrorKind, Phase, Result, Retry};
use crate::message::{ControlMessage, Message, Request, RequestContext};
use crate::stream::{Arrivals, Event, ResponseStream, Source, Taken};
use crate::target::TransportId;

/// Attempts of one call, on all instances and transports together.
const MAX_ATTEMPTS: usize = 8;

/// Calls that are over and kept for the next ones of their service. A caller ends one before it begins the next, so that
/// few serve many.
const MAX_SPARE: usize = 64;

/// A call, or the room for one: its service keeps those that are over, so that a call allocates nothing.
pub(super) struct Call {
    state: Mutex<State>,
    this: Weak<Self>,
}

/// Calls that are over, with nothing in them.
#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<Arc<Call>>>);

struct State {
    /// Nothing between two calls.
    service: Option<Service>,
    /// A call goes on when its caller has let go of the runtime, and so keeps it.
    runtime: Option<Arc<Inner>>,
    asked: Asked,
    /// Instances that failed this call.
    failed: Vec<u64>,
    /// Instances whose old connection had died: they get one fresh one before they count as failed.
    redialled: Vec<u64>,
    attempts: usize,
    /// The transport of the last attempt, if that failed.
    carried_by: Option<TransportId>,
    /// What the caller said before there was a stream to say it to.
    control: Option<ControlMessage>,
    /// The time between items, where a limit is set.
    idle: Option<Pin<Box<tokio::time::Sleep>>>,
    stage: Stage,
}

/// What is to be sent, if it is.
enum Asked {
    Nothing,
    /// For the first time.
    Whole(Request),
    /// Again. Kept until the answer begins; the subject is the service's.
    Again(RequestContext, Message),
}

type Connecting = Pin<Box<dyn Future<Output = Result<Attempt, Failed>> + Send>>;

enum Stage {
    Connecting(Connecting),
    Answering { stream: ResponseStream, attempt: Attempt, has_begun: bool },
    Over,
}

/// Sends `request` to an instance of `service`. If a connection is there, it is on its way when this returns.
pub(super) fn call(runtime: Arc<Inner>, service: &Service, request: Request, now: Instant) -> ResponseStream {
    let call = service.shared.spare.take();
    call.state().begin(runtime, service, request, now);
    ResponseStream::new(call, 0)
}

impl Spare {
    fn take(&self) -> Arc<Call> {
        let spare = self.calls().pop();
        spare.unwrap_or_else(|| Arc::new_cyclic(|this| Call { state: Mutex::new(State::new()), this: this.clone() }))
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Arc<Call>>> {
        self.0.lock()
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Makes it room for another call of its service.
    fn retire(&self, mut state: MutexGuard<'_, State>) {
        let (service, _runtime) = state.clear();
        drop(state);
        let Some(service) = service else { return };
        let Some(this) = self.this.upgrade() else { return };
        let mut spare = service.shared.spare.calls();
        if spare.len() < MAX_SPARE {
            spare.push(this);
        }
    }
}

impl Source for Call {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.state().poll(cx, ResponseStream::poll_event)
    }

    fn poll_item(&self, _key: u64, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        let mut state = self.state();
        let mut taken = ready!(state.poll(cx, |stream, cx| stream.poll_taken(queue, cx)));
        if let Some(Ok(Taken { is_last, arrived, .. })) = &mut taken
            && *is_last
        {
            state.end(*arrived);
            if queue.is_items() {
                // The caller has all there is, and asks this call for nothing more: the next one may have it.
                self.retire(state);
            } else {
                // It may yet have something in its queue to forward.
                *is_last = false;
            }
        }
        Poll::Ready(taken)
    }

    fn give_back(&self, _key: u64, credit: u32) {
        if let Stage::Answering { stream, .. } = &self.state().stage {
            stream.give_back(credit);
        }
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

    /// The one handle of the call is being dropped: nobody else asks for anything any more.
    fn release(&self, _key: u64) {
        self.retire(self.state());
    }
}

impl State {
    const fn new() -> Self {
        Self {
            service: None,
            runtime: None,
            asked: Asked::Nothing,
            failed: Vec::new(),
            redialled: Vec::new(),
            attempts: 0,
            carried_by: None,
            control: None,
            idle: None,
            stage: Stage::Over,
        }
    }

    /// Lets go of everything, in place. Whose call it was: to be dropped without the lock, since they may be the last.
    fn clear(&mut self) -> (Option<Service>, Option<Arc<Inner>>) {
        self.stage = Stage::Over;
        self.asked = Asked::Nothing;
        self.failed.clear();
        self.redialled.clear();
        self.attempts = 0;
        self.carried_by = None;
        self.control = None;
        self.idle = None;
        (self.service.take(), self.runtime.take())
    }

    /// The answer is over: all of it had come at `at`, if that is known.
    fn end(&mut self, at: Option<Instant>) {
        if let Stage::Answering { attempt, .. } = &mut self.stage {
            attempt.chosen.end(at);
        }
        self.stage = Stage::Over;
    }

    fn begin(&mut self, runtime: Arc<Inner>, service: &Service, request: Request, now: Instant) {
        self.service = Some(service.clone());
        if let Err(failed) = self.begin_at_once(&runtime, service, request, now) {
            self.stage = Stage::Connecting(Box::pin(async move { Err(*failed) }));
        }
        self.runtime = Some(runtime);
    }

    /// The common case has everything at hand: an instance and a connection to it.
    ///
    /// An instance is picked once: a pick that came to nothing would still be a turn, and where turns go round, an instance
    /// without a connection would lose each of its turns to the next one, and never get a connection.
    fn begin_at_once(
        &mut self,
        runtime: &Arc<Inner>,
        service: &Service,
        request: Request,
        now: Instant,
    ) -> Result<(), Box<Failed>> {
        let chosen = match service.shared.pick(service.direct, now, &[]) {
            Ok(pick) => match Chosen::new(pick, runtime) {
                Ok(chosen) => Some(chosen),
                Err(failed) => {
                    self.asked = Asked::Whole(request);
                    return Err(failed);
                }
            },
            Err(_) => None,
        };
        let at_hand = chosen.as_ref().and_then(Chosen::lane).and_then(Lane::cached);
        match (chosen, at_hand) {
            (Some(chosen), Some(connection)) => {
                self.send(runtime, Attempt { chosen, connection, is_reused: true }, request, now)
            }
            (chosen, _) => {
                self.asked = Asked::Whole(request);
                self.connect(runtime.clone(), service, chosen, None);
                Ok(())
            }
        }
    }

    /// Chooses an instance, or goes on with the lanes that are left for one, and connects. If nobody is left to choose,
    /// `before` is the error: what went wrong says more than that.
    fn connect(&mut self, runtime: Arc<Inner>, service: &Service, next: Option<Chosen>, before: Option<Error>) {
        let (service, failed) = (service.clone(), self.failed.clone());
        let deadline = self.asked.deadline();
        self.stage = Stage::Connecting(Box::pin(async move {
            let chosen = match next {
                Some(next) => next,
                None => {
                    let pick = service.choose(&failed).await;
                    let pick = pick.map_err(|error| Failed::nobody(before.unwrap_or(error)))?;
                    Chosen::new(pick, &runtime).map_err(|failed| *failed)?
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
                Ok((connection, is_reused)) => Ok(Attempt { chosen, connection, is_reused }),
                Err(error) => Err(Failed::at(chosen, error)),
            }
        }));
    }

    /// Puts the request on the connection.
    fn send(
        &mut self,
        runtime: &Inner,
        mut attempt: Attempt,
        request: Request,
        now: Instant,
    ) -> Result<(), Box<Failed>> {
        self.asked = Asked::again(&request);
        self.attempts += 1;
        attempt.chosen.begin(now);
        if let Some(lane) = attempt.chosen.lane() {
            // That a transport of the fallback list carries what another one should have.
            let to = &lane.route.request;
            let from = match &self.carried_by {
                Some(from) if from != to && runtime.config.fallback.contains(to) => Some(from),
                Some(_) => None,
                None => lane.in_place_of.as_ref(),
            };
            if let Some(from) = from {
                runtime.telemetry.count_fallback(from, to);
            }
        }
        match attempt.connection.open_at(request, now) {
            Ok(stream) => {
                attempt.chosen.pick.sent();
                if let Some(message) = self.control.take() {
                    stream.control(message);
                }
                self.stage = Stage::Answering { stream, attempt, has_begun: false };
                Ok(())
            }
            Err(error) => {
                if attempt.is_reused {
                    attempt.forget();
                }
                Err(self.failed(attempt, error))
            }
        }
    }

    /// What was sent, or could not be, came to this.
    fn failed(&mut self, attempt: Attempt, error: Error) -> Box<Failed> {
        if let Some(lane) = attempt.chosen.lane() {
            lane.fail(error.kind());
            self.carried_by = Some(lane.route.request.clone());
        }
        attempt.failed(error)
    }

    /// Goes on until `read` has something from the answer.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut ResponseStream, &mut Context<'_>) -> Poll<Option<Result<T>>>,
    ) -> Poll<Option<Result<T>>> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Connecting(connecting) => {
                    let connected = ready!(connecting.as_mut().poll(cx));
                    if let Some(error) = self.connected(connected) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Stage::Answering { stream, attempt, has_begun } => {
                    let polled = read(stream, cx);
                    match &polled {
                        Poll::Pending => return self.poll_idle(cx),
                        Poll::Ready(Some(Ok(_))) if *has_begun => self.idle = None,
                        Poll::Ready(Some(Ok(_))) => {
                            *has_begun = true;
                            attempt.chosen.pick.succeeded();
                            self.asked = Asked::Nothing;
                            self.idle = None;
                        }
                        Poll::Ready(None) => {
                            attempt.chosen.pick.succeeded();
                            self.stage = Stage::Over;
                        }
                        Poll::Ready(Some(Err(_))) => {
                            self.idle = None;
                            let Poll::Ready(Some(Err(error))) = polled else { continue };
                            match self.lost(error) {
                                Some(error) => return Poll::Ready(Some(Err(error))),
                                None => continue,
                            }
                        }
                    }
                    return polled;
                }
            }
        }
    }

    /// There is a connection to send on, or none to be had. Another attempt, or the error for the caller.
    fn connected(&mut self, connected: Result<Attempt, Failed>) -> Option<Error> {
        let attempt = match connected {
            Ok(attempt) => attempt,
            Err(failed) => return self.recover(failed),
        };
        let (request, runtime) = match self.request() {
            Ok(ready) => ready,
            Err(error) => {
                self.stage = Stage::Over;
                return Some(error);
            }
        };
        let sent = self.send(&runtime, attempt, request, Instant::now());
        sent.err().and_then(|failed| self.recover(*failed))
    }

    /// What is to be sent, and whose call it is.
    fn request(&mut self) -> Result<(Request, Arc<Inner>)> {
        let (Some(service), Some(runtime)) = (&self.service, &self.runtime) else {
            return Err(Error::unexpected("the call is over"));
        };
        let request = match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => return Err(Error::unexpected("the request was sent already")),
            Asked::Whole(request) => request,
            Asked::Again(context, message) => {
                Request::new(service.shared.subject.clone(), message).with_context(context)
            }
        };
        Ok((request, runtime.clone()))
    }

    /// The answer failed. Another attempt, or the error for the caller.
    fn lost(&mut self, error: Error) -> Option<Error> {
        let Stage::Answering { attempt, has_begun, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Some(error);
        };
        let is_lost = is_lost(&error);
        if is_lost {
            // Whoever calls next shall not meet the same dead connection.
            attempt.forget();
        }
        if !has_begun {
            let failed = self.failed(attempt, error);
            return self.recover(*failed);
        }
        if is_lost {
            // Nor the same instance, if there is another: it may have other links that nobody knows yet to be as dead, and
            // what is written to one of those is not sent again.
            attempt.chosen.pick.failed(Instant::now());
        }
        Some(self.failed(attempt, error).error)
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
        let is_late = self.asked.deadline().is_some_and(|deadline| deadline <= Instant::now());
        let is_sent = matches!(self.asked, Asked::Nothing);
        if is_sent || self.attempts + self.failed.len() >= MAX_ATTEMPTS || is_late {
            return Some(error);
        }
        let Some(service) = self.service.clone() else { return Some(error) };
        let Ok(runtime) = service.shared.runtime() else { return Some(error) };
        tracing::debug!(target: "biplane::call", service = %service.shared.name, "trying again: {error}");
        self.connect(runtime, &service, next, Some(error));
        None
    }

    /// Nothing came. Bounded by the time between items where one is set.
    fn poll_idle<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let limit = self.service.as_ref().and_then(|service| service.shared.read_timeout);
        let Some(limit) = limit else { return Poll::Pending };
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(idle.as_mut().poll(cx));
        let error = Error::timeout(format!("no item within {} s", limit.as_secs_f32()))
            .with_detail(Detail::DeadlineExceeded { items_seen: 0 })
            .with_hint("BIPLANE_READ_TIMEOUT sets the time between items");
        self.stage = Stage::Over;
        Poll::Ready(Some(Err(error)))
    }
}

/// Whether it was the way to the instance that failed.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect)
}

impl Asked {
    /// What there is to send once more; nothing of a streaming request, which can be sent only once.
    fn again(request: &Request) -> Self {
        match request.items {
            None => Self::Again(request.context.clone(), request.message.clone()),
            Some(_) => Self::Nothing,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Nothing => None,
            Self::Whole(request) => request.context.deadline,
            Self::Again(context, _) => context.deadline,
        }
    }
}
