// SPDX-License-Identifier: Apache-2.0
//! What stands above the links on each side: instances, routes, attempts, metrics, admission, the handler. The link below
//! is a stub that answers at once, so that what is counted is all of it and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use biplane::plane::{ResponsePlane, ResponsePlanes};
use biplane::stream::{Sink, Source, Unended};
use biplane::telemetry::Telemetry;
use biplane::{
    Connection, ConnectionInfo, ControlMessage, Dispatch, DispatchLimits, Error, Event, Inbound, Message, PeerError,
    PlaneType, Request, ResponseSender, ResponseStream, Result, Subject, TransportId,
};
use bytes::Bytes;

use super::call::{Pair, echo, read};
use super::{Rounds, awaited, repeated, runtime};

static BODY: &[u8] = &[7; 128];

/// A call of a service whose connection answers at once, with one item.
pub(super) fn caller(rounds: Rounds) -> f64 {
    let runtime = runtime();
    let stub = |inner: Arc<dyn Connection>| -> Arc<dyn Connection> {
        Arc::new(Stub { inner, source: Arc::new(AtOnce(AtomicBool::new(false))) })
    };
    let pair = runtime.block_on(Pair::new("tcp", "tcp", Some(Box::new(stub))));
    let body = Bytes::from_static(BODY);
    awaited(&runtime, rounds, || pair.call(&body, 1))
}

/// The same request and reading of its answer without a service: what of [`caller`] is the caller's own.
pub(super) fn caller_floor(rounds: Rounds) -> f64 {
    let runtime = runtime();
    let source = Arc::new(AtOnce(AtomicBool::new(false)));
    let body = Bytes::from_static(BODY);
    awaited(&runtime, rounds, || async {
        let request = Request::new(Subject::from_static(Pair::NAME), body.clone());
        drop(std::hint::black_box(request));
        read(ResponseStream::new(source.clone(), 0), 1).await;
    })
}

#[derive(Debug)]
struct Stub {
    inner: Arc<dyn Connection>,
    source: Arc<AtOnce>,
}

#[async_trait]
impl Connection for Stub {
    fn info(&self) -> &ConnectionInfo {
        self.inner.info()
    }

    fn open(&self, _: Request) -> Result<ResponseStream> {
        Ok(ResponseStream::new(self.source.clone(), 0))
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.inner.receive().await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.inner.close(grace).await
    }
}

/// An item, an end, an item, an end.
#[derive(Debug)]
struct AtOnce(AtomicBool);

impl Source for AtOnce {
    fn poll_next(&self, _: u64, _: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let has_ended = self.0.fetch_xor(true, Ordering::Relaxed);
        Poll::Ready((!has_ended).then(|| Ok(Event::Item(Message::new(Bytes::from_static(BODY))))))
    }

    fn control(&self, _: u64, _: ControlMessage) {}

    fn release(&self, _: u64) {}
}

/// A request handed to a handler that echoes it, the answer to a sink that takes everything.
pub(super) fn responder(rounds: Rounds) -> f64 {
    let runtime = runtime();
    let _entered = runtime.enter();
    let telemetry = Telemetry::default();
    let dispatch = Dispatch::new(biplane::handler_fn(echo), Arc::new(NoPlanes), DispatchLimits::default());
    let dispatch = dispatch.metered(telemetry.plane(&TransportId::TCP, PlaneType::Request));
    let sink: Arc<dyn Sink> = Arc::new(Takes);
    let (subject, body) = (Subject::from_static("bench"), Bytes::from_static(BODY));
    repeated(rounds, || {
        let request = Request::new(subject.clone(), body.clone()).with_timeout(Duration::from_secs(60));
        dispatch.launch(request, ResponseSender::new(sink.clone(), 0));
    })
}

/// The same request and handler without a dispatch, in the box that it needs: what of [`responder`] is the handler's own.
pub(super) fn responder_floor(rounds: Rounds) -> f64 {
    let sink: Arc<dyn Sink> = Arc::new(Takes);
    let (subject, body) = (Subject::from_static("bench"), Bytes::from_static(BODY));
    let mut cx = Context::from_waker(Waker::noop());
    repeated(rounds, || {
        let request = Request::new(subject.clone(), body.clone()).with_timeout(Duration::from_secs(60));
        let mut answering = Box::pin(echo(request, ResponseSender::new(sink.clone(), 0)));
        assert!(std::hint::black_box(&mut answering).as_mut().poll(&mut cx).is_ready());
    })
}

struct NoPlanes;

impl ResponsePlanes for NoPlanes {
    fn response_plane(&self, _: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        Err(Error::unsupported("answers go back on the request's own link"))
    }
}

struct Takes;

impl Sink for Takes {
    fn poll_ready(&self, _: u64, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn push(&self, _: u64, _: Event) -> Result<()> {
        Ok(())
    }

    fn control(&self, _: u64, _: ControlMessage) -> Result<()> {
        Ok(())
    }

    fn end(&self, _: u64, _: Result<(), PeerError>) {}

    fn poll_stopped(&self, _: u64, _: &mut Context<'_>) -> Poll<ControlMessage> {
        Poll::Pending
    }

    fn poll_killed(&self, _: u64, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn retain(&self, _: u64) {}

    fn release(&self, _: u64, _: Unended) {}
}
