// SPDX-License-Identifier: Apache-2.0
//! Two planes seen as one connection.
//!
//! A [`PlanePair`] reserves the answer, sends the request with the reply-to that it got, and resolves the
//! acknowledgement: `expect` → `send_request` → `resolve` covers every rendezvous. Without a response plane the answer
//! comes back inline, on the request's own link.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Phase, Result, Retry};
use crate::message::{Message, Request, Subject};
use crate::plane::{Ack, PendingResponse, ReplyTo, RequestPlaneClient, ResponsePlane};
use crate::stream::ResponseStream;
use crate::stream::roster::{Beginning, Roster, Terms};
use crate::target::{TransportAddress, TransportId};

/// How long a notification may wait for its acknowledgement: it carries no deadline of its own, and nothing waits
/// without one.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// A request plane and a response plane, as a [`Connection`] to one endpoint.
///
/// [`open`](Connection::open) never waits: reserving, sending and the acknowledgement are states of the stream, bounded
/// by the request's deadline. The answer's own deadline is kept by the plane that carries it. Server push is not
/// claimed: [`receive`](Connection::receive) waits, and gives `None` after close.
pub struct PlanePair {
    planes: Arc<Planes>,
    info: ConnectionInfo,
    calls: Arc<Roster>,
}

struct Planes {
    client: Arc<dyn RequestPlaneClient>,
    response: Option<(TransportId, Arc<dyn ResponsePlane>)>,
    to: TransportAddress,
}

impl PlanePair {
    /// Requests go to `to` through `client`. Answers come through `response`, or inline if there is none.
    pub fn new(
        client: Arc<dyn RequestPlaneClient>,
        response: Option<(TransportId, Arc<dyn ResponsePlane>)>,
        to: TransportAddress,
        info: ConnectionInfo,
    ) -> Self {
        Self { planes: Arc::new(Planes { client, response, to }), info, calls: Roster::new() }
    }

    /// Where requests go.
    pub fn address(&self) -> &TransportAddress {
        &self.planes.to
    }
}

#[async_trait]
impl Connection for PlanePair {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        if request.context.deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std()) {
            return Err(Error::deadline(0).with_phase(Phase::Send).with_retry(Retry::Safe));
        }
        let opening = Box::pin(call(self.planes.clone(), request));
        // The planes below know the answer's deadline and limits; a second timer per request would guard nothing.
        let terms = Terms { deadline: None, max_item: usize::MAX, forward: None };
        Ok(self.calls.admit(Beginning::Opening(opening), terms)?.stream())
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.calls.check_open()?;
        let request = Request::new(subject.clone(), message).with_timeout(NOTIFY_TIMEOUT);
        let deadline = request.context.deadline;
        let sending = self.planes.client.send_request(&self.planes.to, request, &ReplyTo::Nothing);
        match bounded(deadline, sending).await.map_err(|error| self.planes.locate(error))? {
            Ack::Accepted => Ok(()),
            // Dropping it cancels what nobody reads.
            Ack::Located(_) | Ack::Inline(_) => Err(self.planes.misdirected("a one-way request")),
        }
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.calls.closed().await;
        Ok(None)
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.calls.close(grace).await;
        Ok(())
    }
}

async fn call(planes: Arc<Planes>, request: Request) -> Result<ResponseStream> {
    let deadline = request.context.deadline;
    bounded(deadline, planes.exchange(request)).await.map_err(|error| planes.locate(error))
}

/// Fails with a typed deadline error once `deadline` has passed. The request may have run by then, so it is not safe to
/// repeat.
async fn bounded<T>(deadline: Option<Instant>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(deadline) = deadline else { return work.await };
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(done) => done,
        Err(_) => Err(Error::deadline(0).with_phase(Phase::Acknowledge)),
    }
}

impl Planes {
    async fn exchange(&self, request: Request) -> Result<ResponseStream> {
        let Some((_, plane)) = &self.response else {
            return match self.client.send_request(&self.to, request, &ReplyTo::Inline).await? {
                Ack::Inline(stream) => Ok(stream),
                Ack::Accepted | Ack::Located(_) => Err(self.misdirected("a request for an inline answer")),
            };
        };
        let PendingResponse { reply_to, mut pending } = plane.expect(&request.context, &self.to).await?;
        let reply_to = ReplyTo::To(Box::new(reply_to));
        let ack = {
            let mut sending = self.client.send_request(&self.to, request, &reply_to);
            // The acknowledgement first: it says more than the loss of the answer, which often follows from it.
            poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(ack) => Poll::Ready(ack),
                Poll::Pending => pending.poll_lost(cx).map(|error| Err(error.with_phase(Phase::Acknowledge))),
            })
            .await?
        };
        match ack {
            Ack::Accepted => pending.resolve(None),
            Ack::Located(info) => pending.resolve(Some(info)),
            Ack::Inline(_) => Err(self.misdirected("a request whose answer was asked for elsewhere")),
        }
    }

    /// The responder must obey the reply-to that it was sent; an answer elsewhere has no reader.
    fn misdirected(&self, what: &str) -> Error {
        self.locate(
            Error::protocol(format!("{what} was acknowledged with an answer in another place"))
                .with_phase(Phase::Acknowledge)
                .with_hint("the responder's request transport does not honour reply-to"),
        )
    }

    fn locate(&self, error: Error) -> Error {
        // A service's own words are passed on as they are.
        if error.kind() == crate::ErrorKind::Peer {
            return error;
        }
        error.with_transport(&self.to.transport).with_target(&self.to.address)
    }
}

impl fmt::Debug for PlanePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanePair(to {}", self.planes.to)?;
        match &self.planes.response {
            Some((transport, _)) => write!(f, ", answers by {transport})"),
            None => f.write_str(", answers inline)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::task::Context;

    use super::*;
    use crate::capability::TransportCapabilities;
    use crate::message::RequestContext;
    use crate::plane::{Opened, Pending, ResponseConnectionInfo};
    use crate::stream::pipe;
    use crate::{ControlMessage, ErrorKind, ResponseSender};

    /// A request plane that does what its one scripted acknowledgement says.
    struct Scripted(Mutex<Option<Result<Ack>>>);

    #[async_trait]
    impl RequestPlaneClient for Scripted {
        async fn send_request(&self, _: &TransportAddress, _: Request, _: &ReplyTo) -> Result<Ack> {
            let ack = self.0.lock().take();
            match ack {
                Some(ack) => ack,
                None => std::future::pending().await,
            }
        }
    }

    /// A response plane whose answer is there at once, or already lost.
    struct Ready(Mutex<Option<Result<ResponseStream>>>);
    struct ReadyAnswer(Option<Result<ResponseStream>>);

    #[async_trait]
    impl ResponsePlane for Ready {
        async fn expect(&self, context: &RequestContext, to: &TransportAddress) -> Result<PendingResponse> {
            let answer = self.0.lock().take();
            Ok(PendingResponse {
                reply_to: ResponseConnectionInfo::new(to.clone(), context),
                pending: Box::new(ReadyAnswer(answer)),
            })
        }

        async fn create_response_stream(&self, _: &RequestContext, _: &ResponseConnectionInfo) -> Result<Opened> {
            Err(Error::unsupported("a caller's half only"))
        }

        async fn close(&self, _: Duration) -> Result<()> {
            Ok(())
        }
    }

    impl Pending for ReadyAnswer {
        fn resolve(self: Box<Self>, _: Option<ResponseConnectionInfo>) -> Result<ResponseStream> {
            self.0.unwrap_or_else(|| Err(Error::protocol("resolved without an answer")))
        }

        fn poll_lost(&mut self, _: &mut Context<'_>) -> Poll<Error> {
            match self.0.take() {
                Some(Err(error)) => Poll::Ready(error),
                other => {
                    self.0 = other;
                    Poll::Pending
                }
            }
        }
    }

    fn pair(ack: Option<Result<Ack>>, answer: Option<Result<ResponseStream>>) -> PlanePair {
        let response = answer.map(|answer| {
            let plane: Arc<dyn ResponsePlane> = Arc::new(Ready(Mutex::new(Some(answer))));
            (TransportId::TCP, plane)
        });
        let info = ConnectionInfo::new("tcp", "test", TransportCapabilities::UNARY);
        PlanePair::new(Arc::new(Scripted(Mutex::new(ack))), response, TransportAddress::tcp("test:1"), info)
    }

    fn ask() -> Request {
        Request::new(Subject::from_static("s"), "body")
    }

    fn answer() -> (ResponseSender, ResponseStream) {
        pipe(1024, 1024)
    }

    #[tokio::test]
    async fn an_answer_that_overtook_the_ack_is_read_after_it() {
        let (sender, stream) = answer();
        sender.send("early").await.unwrap();
        sender.close();
        let pair = pair(Some(Ok(Ack::Accepted)), Some(Ok(stream)));
        assert_eq!(&pair.request(ask()).await.unwrap().body[..], b"early");
    }

    #[tokio::test]
    async fn a_lost_answer_ends_the_wait_for_an_ack_that_cannot_come() {
        let pair = pair(None, Some(Err(Error::peer_closed(0, false))));
        let error = pair.request(ask()).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Closed, Some(Phase::Acknowledge)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_bounds_the_wait_for_the_ack() {
        let (_sender, stream) = answer();
        let pair = pair(None, Some(Ok(stream)));
        let error = pair.request(ask().with_timeout(Duration::from_secs(3))).await.unwrap_err();
        assert_eq!((error.kind(), error.items_seen()), (ErrorKind::Timeout, Some(0)));
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_deadline() {
        let (_sender, stream) = answer();
        let pair = pair(Some(Ok(Ack::Inline(stream))), None);
        let error = pair.open(ask().with_timeout(Duration::ZERO)).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Safe));
    }

    #[tokio::test]
    async fn an_inline_answer_where_another_place_was_named_is_a_protocol_error() {
        let (sender, stream) = answer();
        let (_unused, reserved) = answer();
        let pair = pair(Some(Ok(Ack::Inline(stream))), Some(Ok(reserved)));
        assert_eq!(pair.request(ask()).await.unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(sender.stopped().await, ControlMessage::Kill, "what nobody reads is cancelled");
    }

    #[tokio::test]
    async fn dropping_the_stream_before_the_ack_gives_the_reservation_back() {
        let (sender, stream) = answer();
        let pair = pair(None, Some(Ok(stream)));
        let mut stream = pair.open(ask()).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(stream.poll_item(&mut cx).is_pending());
        drop(stream);
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
    }

    #[tokio::test]
    async fn kill_before_the_ack_ends_the_request() {
        let (_sender, stream) = answer();
        let pair = pair(None, Some(Ok(stream)));
        let mut stream = pair.open(ask()).unwrap();
        stream.control(ControlMessage::Kill);
        assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn close_cuts_what_is_left_and_ends_receive() {
        let (sender, stream) = answer();
        let pair = pair(Some(Ok(Ack::Inline(stream))), None);
        let mut stream = pair.open(ask()).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(stream.poll_item(&mut cx).is_pending());
        pair.close(Duration::ZERO).await.unwrap();
        assert!(pair.receive().await.unwrap().is_none());
        assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(pair.open(ask()).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
        pair.close(Duration::ZERO).await.unwrap();
    }
}
