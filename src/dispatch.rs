// SPDX-License-Identifier: Apache-2.0
//! The responder's side of every request plane: admission, opening the response stream, running the handler.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::discard::Discard;
use crate::error::{Error, PeerError, Result, Retry};
use crate::message::{Request, RequestContext};
use crate::plane::{Ack, Handler, HandlerFuture, Opened, ReplyTo, ResponsePlanes};
use crate::stream::{Collected, ResponseSender, Supervisor, pipe};
use crate::telemetry::{InFlight, PlaneMetrics};

mod discard;
mod turn;

pub use self::turn::Turn;

/// Hands requests to a handler. A request server gets one per endpoint and clones it freely.
///
/// Three doors: [`launch`](Self::launch) for answers on the request's own link, [`accept`](Self::accept) where a reply-to
/// came with the request, and [`run`](Self::run) for whoever wants to poll the handler itself.
#[derive(Clone)]
pub struct Dispatch {
    inner: Arc<Inner>,
    metrics: PlaneMetrics,
}

struct Inner {
    handler: Box<dyn Start>,
    planes: Arc<dyn ResponsePlanes>,
    limits: DispatchLimits,
    discard: Arc<Discard>,
    in_flight: AtomicUsize,
    /// Those who wait until nobody is in flight.
    drainers: AtomicUsize,
    idle: Notify,
}

/// What a [`Dispatch`] permits.
#[derive(Clone, Copy, Debug)]
pub struct DispatchLimits {
    /// Handlers at once; one more is refused with `Overloaded`, which is safe to retry elsewhere.
    pub max_in_flight: usize,
    /// Bytes of an item.
    pub max_message_size: usize,
    /// Bytes that wait between a handler and its link where the link is no multiplexed one.
    pub credit: usize,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self { max_in_flight: 16_384, max_message_size: 16 << 20, credit: 256 << 10 }
    }
}

impl Dispatch {
    /// Requests go to `handler`, answers to the planes that `planes` knows.
    pub fn new(handler: impl Handler, planes: Arc<dyn ResponsePlanes>, limits: DispatchLimits) -> Self {
        let inner = Inner {
            handler: Box::new(Arc::new(handler)),
            planes,
            limits,
            discard: Arc::new(Discard { max_item: limits.max_message_size }),
            in_flight: AtomicUsize::new(0),
            drainers: AtomicUsize::new(0),
            idle: Notify::new(),
        };
        Self { inner: Arc::new(inner), metrics: PlaneMetrics::default() }
    }

    /// The same endpoint, with its limits in common, for a transport whose requests count under `metrics`.
    pub fn metered(&self, metrics: PlaneMetrics) -> Self {
        Self { inner: self.inner.clone(), metrics }
    }

    /// The limits.
    pub fn limits(&self) -> &DispatchLimits {
        &self.inner.limits
    }

    /// Runs the handler, its answer going to `reply`. Polls it once in place: a handler that is ready costs no task.
    pub fn launch(&self, request: Request, reply: ResponseSender) {
        self.launch_in(&mut Turn::new(Instant::now()), request, reply);
    }

    /// [`launch`](Self::launch) for one of several requests that came together.
    pub fn launch_in(&self, turn: &mut Turn, request: Request, mut reply: ResponseSender) {
        let mut supervisor = reply.supervise_by(turn.supervisor.take());
        let deadline = request.context.deadline;
        self.metrics.begun();
        let place = match Place::take(&self.inner) {
            Ok(place) => place,
            Err(error) => {
                drop(reply);
                let refusal = Err(PeerError::from(error));
                self.count(turn, &refusal);
                return supervisor.settle(refusal);
            }
        };
        let mut future = self.inner.handler.start(request, reply);
        // Nobody is woken by this poll: if it is not the last, the task's own first poll registers the real waker.
        match supervisor.watch(|| poll(&mut future, &mut Context::from_waker(Waker::noop()))) {
            Poll::Ready((outcome, collected)) => {
                self.count(turn, &outcome);
                supervisor.settle_with(outcome, collected);
                turn.supervisor = Some(supervisor);
            }
            Poll::Pending => {
                let state = State::Running(future);
                let metrics = self.metrics.begun_at(turn.arrived());
                let supervisor = Some(supervisor);
                let _place = Some(place.owned());
                drop(tokio::spawn(Running { state, supervisor, deadline, timer: None, metrics, _place }));
            }
        }
    }

    fn count(&self, turn: &mut Turn, outcome: &Result<(), PeerError>) {
        if let Err(error) = outcome {
            self.metrics.error(error.kind());
        }
        turn.answered(&self.metrics);
    }

    /// [`launch_in`](Self::launch_in) for a request that wants no answer: its items are dropped.
    pub fn launch_one_way(&self, turn: &mut Turn, request: Request) {
        self.launch_in(turn, request, self.nobody());
    }

    fn nobody(&self) -> ResponseSender {
        ResponseSender::new(self.inner.discard.clone(), 0)
    }

    /// The handler as a future that never fails: what goes wrong is told to the caller.
    pub fn run(&self, request: Request, mut reply: ResponseSender) -> Running {
        let supervisor = reply.supervise();
        let deadline = request.context.deadline;
        let (state, place) = match Place::take(&self.inner) {
            Ok(place) => (State::Running(self.inner.handler.start(request, reply)), Some(place.owned())),
            Err(error) => (State::Refused(PeerError::from(error)), None),
        };
        let metrics = self.metrics.begin();
        Running { state, supervisor: Some(supervisor), deadline, timer: None, metrics, _place: place }
    }

    /// Opens the response stream that `reply_to` names and returns the acknowledgement to send, and the handler to run
    /// after it was sent ([`Running`] through [`launch`]).
    ///
    /// An error is the acknowledgement: the handler did not run.
    pub async fn accept(&self, request: Request, reply_to: &ReplyTo) -> Result<(Ack, Running)> {
        let Opened { sender, located } = match reply_to {
            ReplyTo::To(info) => self.open(&request.context, info).await?,
            ReplyTo::Nothing => return Ok((Ack::Accepted, self.run(request, self.nobody()))),
            ReplyTo::Inline => {
                let (sender, stream) = pipe(self.inner.limits.credit, self.inner.limits.max_message_size);
                return Ok((Ack::Inline(stream), self.run(request, sender)));
            }
        };
        let running = self.run(request, sender);
        if let State::Refused(error) = &running.state {
            return Err(Error::from(error.clone()));
        }
        Ok((located.map_or(Ack::Accepted, Ack::Located), running))
    }

    async fn open(&self, context: &RequestContext, info: &crate::plane::ResponseConnectionInfo) -> Result<Opened> {
        let plane = self.inner.planes.response_plane(&info.address.transport)?;
        plane
            .create_response_stream(context, info)
            .await
            // Nothing ran yet, whatever went wrong.
            .map_err(|error| error.with_retry(Retry::Safe))
    }

    /// Handlers that run now.
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until no handler runs, at most `grace`. Says whether it came to that.
    pub async fn drained(&self, grace: Duration) -> bool {
        let until = tokio::time::Instant::now() + grace;
        let _drainer = Drainer::new(&self.inner);
        loop {
            let idle = self.inner.idle.notified();
            if self.in_flight() == 0 {
                return true;
            }
            if tokio::time::timeout_at(until, idle).await.is_err() {
                return self.in_flight() == 0;
            }
        }
    }
}

/// Starts `running`: polled once in place, moved to a task of its own only if it is not ready at once.
pub fn launch(mut running: Running) {
    // The first poll has nobody to wake: if it is not the last, the task's own first poll registers the real waker.
    let mut cx = Context::from_waker(Waker::noop());
    if Pin::new(&mut running).poll(&mut cx).is_pending() {
        tokio::spawn(running);
    }
}

fn panicked() -> PeerError {
    PeerError::from(Error::unexpected("the handler panicked").with_hint("the responder's log has the panic"))
}

/// A [`Handler`] of any type.
trait Start: Send + Sync {
    fn start(&self, request: Request, reply: ResponseSender) -> HandlerFuture;
}

impl<H: Handler> Start for Arc<H> {
    fn start(&self, request: Request, reply: ResponseSender) -> HandlerFuture {
        Handler::start(self, request, reply)
    }
}

/// Polls a handler, which may panic. Its error is one of a request that ran.
fn poll(future: &mut HandlerFuture, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
        Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(PeerError::from(error).started())),
        Err(_) => Poll::Ready(Err(panicked())),
    }
}

enum State {
    Running(HandlerFuture),
    Refused(PeerError),
}

/// A handler at work. Ends when the handler ends, panics, is killed by its caller or overtaken by its deadline.
pub struct Running {
    state: State,
    supervisor: Option<Supervisor>,
    deadline: Option<Instant>,
    timer: Option<Timer>,
    metrics: InFlight,
    _place: Option<OwnedPlace>,
}

impl Running {
    fn settle(&mut self, outcome: Result<(), PeerError>, collected: Collected) -> Poll<()> {
        if let Err(error) = &outcome {
            self.metrics.fail(error.kind());
        }
        if let Some(mut supervisor) = self.supervisor.take() {
            supervisor.settle_with(outcome, collected);
        }
        Poll::Ready(())
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(supervisor) = &mut this.supervisor else { return Poll::Ready(()) };
        let future = match &mut this.state {
            State::Running(future) => future,
            State::Refused(error) => {
                let error = error.clone();
                return this.settle(Err(error), None);
            }
        };
        if let Poll::Ready((outcome, collected)) = supervisor.watch(|| poll(future, cx)) {
            return this.settle(outcome, collected);
        }
        if supervisor.poll_killed(cx).is_ready() {
            return this.settle(Err(PeerError::from(Error::cancelled("the caller went away"))), None);
        }
        if let Some(deadline) = this.deadline
            && poll_deadline(&mut this.timer, deadline, cx).is_ready()
        {
            let error = Error::timeout("the request's deadline passed at the responder");
            return this.settle(Err(PeerError::from(error)), None);
        }
        Poll::Pending
    }
}

/// A deadline's timer, and whom it wakes.
struct Timer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    waker: Waker,
}

/// Ready once `deadline` has passed. A handler that waits for something after each item comes here as often: a timer that
/// is set for its task already is only looked at.
fn poll_deadline(timer: &mut Option<Timer>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = match timer {
        Some(timer) if timer.waker.will_wake(cx.waker()) => {
            return if timer.sleep.is_elapsed() { Poll::Ready(()) } else { Poll::Pending };
        }
        Some(timer) => {
            timer.waker.clone_from(cx.waker());
            timer
        }
        none => {
            let sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
            none.insert(Timer { sleep, waker: cx.waker().clone() })
        }
    };
    // A task that has used up its budget must set its timer all the same.
    pin!(tokio::task::unconstrained(timer.sleep.as_mut())).poll(cx)
}

/// One of the handlers that may run at once.
struct Place<'a>(&'a Arc<Inner>);

/// A [`Place`] that a task keeps.
struct OwnedPlace(Arc<Inner>);

impl<'a> Place<'a> {
    fn take(inner: &'a Arc<Inner>) -> Result<Self> {
        let limit = inner.limits.max_in_flight;
        if inner.in_flight.fetch_add(1, Ordering::SeqCst) >= limit {
            inner.leave();
            return Err(Error::overloaded(format!("{limit} requests are in flight at this endpoint"))
                .with_retry(Retry::Safe)
                .with_hint("try another instance, or later"));
        }
        Ok(Self(inner))
    }

    fn owned(self) -> OwnedPlace {
        let owned = OwnedPlace(self.0.clone());
        std::mem::forget(self);
        owned
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for OwnedPlace {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// One who waits until nobody is in flight.
struct Drainer<'a>(&'a Inner);

impl<'a> Drainer<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.drainers.fetch_add(1, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Drainer<'_> {
    fn drop(&mut self) {
        self.0.drainers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inner {
    /// Either this sees who waits, or who waits sees that nobody is left: both write before they look, in one order.
    fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.drainers.load(Ordering::SeqCst) > 0 {
            self.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
