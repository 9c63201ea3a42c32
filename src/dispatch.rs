// SPDX-License-Identifier: Apache-2.0
//! The responder's side of every request plane: admission, opening the response stream, running the handler.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{Error, PeerError, Result, Retry};
use crate::message::{Request, RequestContext};
use crate::plane::{Ack, Handler, Opened, ReplyTo, ResponsePlanes};
use crate::stream::{ResponseSender, Supervisor, pipe};
use crate::telemetry::{InFlight, PlaneMetrics};

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
    handler: Arc<dyn Start>,
    planes: Arc<dyn ResponsePlanes>,
    limits: DispatchLimits,
    in_flight: AtomicUsize,
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
        let inner =
            Inner { handler: Arc::new(handler), planes, limits, in_flight: AtomicUsize::new(0), idle: Notify::new() };
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
        launch(self.run(request, reply));
    }

    /// Runs the handler for a request that wants no answer: its items are dropped.
    pub fn launch_one_way(&self, request: Request) {
        let (sender, stream) = pipe(self.inner.limits.credit, self.inner.limits.max_message_size);
        launch(self.run(request, sender));
        tokio::spawn(drain(stream));
    }

    /// The handler as a future that never fails: what goes wrong is told to the caller.
    pub fn run(&self, request: Request, reply: ResponseSender) -> Running {
        let supervisor = reply.supervise();
        let admitted = Admission::try_new(&self.inner);
        let deadline = request.context.deadline;
        let (state, admission) = match admitted {
            Ok(admission) => {
                // The call itself may panic: `handle` is an ordinary function that returns a future.
                let call = AssertUnwindSafe(|| self.inner.handler.clone().start(request, reply));
                match std::panic::catch_unwind(call) {
                    Ok(future) => (State::Running(future), Some(admission)),
                    Err(_) => (State::Refused(panicked()), Some(admission)),
                }
            }
            Err(error) => (State::Refused(PeerError::from(error)), None),
        };
        Running {
            state,
            supervisor: Some(supervisor),
            deadline,
            timer: None,
            metrics: self.metrics.begin(),
            _admission: admission,
        }
    }

    /// Opens the response stream that `reply_to` names and returns the acknowledgement to send, and the handler to run
    /// after it was sent ([`Running`] through [`launch`]).
    ///
    /// An error is the acknowledgement: the handler did not run.
    pub async fn accept(&self, request: Request, reply_to: &ReplyTo) -> Result<(Ack, Running)> {
        let Opened { sender, located } = match reply_to {
            ReplyTo::To(info) => self.open(&request.context, info).await?,
            ReplyTo::Inline | ReplyTo::Nothing => {
                let (sender, stream) = pipe(self.inner.limits.credit, self.inner.limits.max_message_size);
                let running = self.run(request, sender);
                return Ok(match reply_to {
                    ReplyTo::Nothing => {
                        tokio::spawn(drain(stream));
                        (Ack::Accepted, running)
                    }
                    _ => (Ack::Inline(stream), running),
                });
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
        self.inner.in_flight.load(Ordering::Acquire)
    }

    /// Waits until no handler runs, at most `grace`. Says whether it came to that.
    pub async fn drained(&self, grace: Duration) -> bool {
        let until = tokio::time::Instant::now() + grace;
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
    let mut cx = Context::from_waker(std::task::Waker::noop());
    if Pin::new(&mut running).poll(&mut cx).is_pending() {
        tokio::spawn(running);
    }
}

async fn drain(mut stream: crate::stream::ResponseStream) {
    while let Some(Ok(_)) = stream.next().await {}
}

fn panicked() -> PeerError {
    PeerError::from(Error::unexpected("the handler panicked").with_hint("the responder's log has the panic"))
}

type HandlerFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A [`Handler`] behind a pointer: owns itself while it runs, so that its future can move to a task.
trait Start: Send + Sync {
    fn start(self: Arc<Self>, request: Request, reply: ResponseSender) -> HandlerFuture;
}

impl<H: Handler> Start for H {
    fn start(self: Arc<Self>, request: Request, reply: ResponseSender) -> HandlerFuture {
        Box::pin(async move { self.handle(request, reply).await })
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
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    metrics: InFlight,
    _admission: Option<Admission>,
}

impl Running {
    fn settle(&mut self, outcome: Result<(), PeerError>) -> Poll<()> {
        if let Err(error) = &outcome {
            self.metrics.fail(error.kind());
        }
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.settle(outcome);
        }
        Poll::Ready(())
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(supervisor) = &this.supervisor else { return Poll::Ready(()) };
        let future = match &mut this.state {
            State::Running(future) => future,
            State::Refused(error) => {
                let error = error.clone();
                return this.settle(Err(error));
            }
        };
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(outcome)) => return this.settle(outcome.map_err(|error| PeerError::from(error).started())),
            Ok(Poll::Pending) => {}
            Err(_) => return this.settle(Err(panicked())),
        }
        if supervisor.poll_killed(cx).is_ready() {
            return this.settle(Err(PeerError::from(Error::cancelled("the caller went away"))));
        }
        if let Some(deadline) = this.deadline {
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(cx).is_ready() {
                return this
                    .settle(Err(PeerError::from(Error::timeout("the request's deadline passed at the responder"))));
            }
        }
        Poll::Pending
    }
}

/// One of the handlers that may run at once.
struct Admission(Arc<Inner>);

impl Admission {
    fn try_new(inner: &Arc<Inner>) -> Result<Self> {
        let limit = inner.limits.max_in_flight;
        if inner.in_flight.fetch_add(1, Ordering::AcqRel) >= limit {
            inner.leave();
            return Err(Error::overloaded(format!("{limit} requests are in flight at this endpoint"))
                .with_retry(Retry::Safe)
                .with_hint("try another instance, or later"));
        }
        Ok(Self(inner.clone()))
    }
}

impl Inner {
    fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.leave();
    }
}
