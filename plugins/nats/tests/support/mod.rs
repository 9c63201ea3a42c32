// SPDX-License-Identifier: Apache-2.0
//! What the tests share: runtimes of one plane each, and a response plane that lives in a map.

// Each test binary uses its part of this.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use biplane::config::{Inputs, load};
use biplane::plane::{
    Ack, EndpointGuard, Opened, Pending, PendingResponse, ReplyTo, RequestPlane, ResponseConnectionInfo, ResponsePlane,
    ResponsePlanes,
};
use biplane::registry::{BuildContext, Factory};
use biplane::stream::pipe;
use biplane::telemetry::Telemetry;
use biplane::{
    Detail, Dispatch, DispatchLimits, Error, ErrorKind, Handler, Request, RequestContext, ResponseSender,
    ResponseStream, Result, Subject, TransportAddress, TransportId, handler_fn,
};

/// Nothing in a test takes this long, however slow the machine; a test that would hang fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, but not for ever.
pub async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the test hangs")
}

/// One runtime: its own connection to the broker, its own request plane.
pub struct Node {
    pub plane: RequestPlane,
    pub telemetry: Telemetry,
    pub answers: Arc<Answers>,
}

impl Node {
    /// A node whose section `[transport.nats]` is `section`. The process's own environment has no say.
    pub fn new(instance_id: u64, section: &[(&str, &str)], answers: &Arc<Answers>) -> Result<Self> {
        let overrides = section.iter().map(|(key, text)| (format!("transport.nats.{key}"), (*text).to_owned()));
        let inputs = Inputs { overrides: overrides.collect(), ..Inputs::default() };
        let config = load(inputs, &[biplane_nats::REQUEST])?.config;
        let context = BuildContext::new(Arc::new(config), Telemetry::default(), instance_id);
        let telemetry = context.telemetry().clone();
        let Factory::Request(build) = biplane_nats::REQUEST.factory else { panic!("not a request plane") };
        Ok(Self { plane: build(&context)?, telemetry, answers: answers.clone() })
    }

    /// A node at the server with this URL.
    pub fn at(url: &str, instance_id: u64, answers: &Arc<Answers>) -> Self {
        Self::new(instance_id, &[("server", url)], answers).unwrap()
    }

    pub async fn serve(&self, subject: &'static str, handler: impl Handler) -> EndpointGuard {
        self.register(subject, handler, DispatchLimits::default()).await.unwrap()
    }

    pub async fn register(
        &self,
        subject: &'static str,
        handler: impl Handler,
        limits: DispatchLimits,
    ) -> Result<EndpointGuard> {
        let dispatch = Dispatch::new(handler, Arc::new(Planes(self.answers.clone())), limits);
        patiently(self.plane.server.register_endpoint(Subject::from_static(subject), dispatch)).await
    }

    /// Sends a request whose answer comes on the map.
    pub async fn call(&self, to: &TransportAddress, request: Request) -> Result<ResponseStream> {
        let expected = self.answers.expect(&request.context, to).await?;
        let reply_to = ReplyTo::To(Box::new(expected.reply_to));
        let located = match patiently(self.plane.client.send_request(to, request, &reply_to)).await? {
            Ack::Located(info) => Some(info),
            _ => None,
        };
        expected.pending.resolve(located)
    }

    /// Waits until the server says that nobody listens at `to`, whose guard was dropped. The last request on its way there
    /// may be lost with the subscription.
    pub async fn until_gone(&self, to: &TransportAddress, subject: &'static str) {
        let gone = async {
            loop {
                match self.ask(to, request(subject, "")).await {
                    Err(error) if error.detail() == Some(&Detail::NoResponders) => break,
                    // Turned away by the endpoint itself, or lost with its subscription: not gone yet.
                    Err(error) if !matches!(error.kind(), ErrorKind::NoService | ErrorKind::Timeout) => {
                        panic!("{error:?}")
                    }
                    _ => {}
                }
            }
        };
        patiently(gone).await;
    }

    /// The whole answer of one request, as text.
    pub async fn ask(&self, to: &TransportAddress, request: Request) -> Result<Vec<String>> {
        let mut stream = self.call(to, request).await?;
        let mut items = Vec::new();
        while let Some(item) = patiently(stream.next()).await {
            items.push(item?.text()?.to_owned());
        }
        Ok(items)
    }
}

/// A request for `subject` with a body.
pub fn request(subject: &'static str, body: impl Into<biplane::Message>) -> Request {
    Request::new(Subject::from_static(subject), body)
}

/// Sends back what it gets.
pub fn echo() -> impl Handler {
    handler_fn(|request: Request, reply: ResponseSender| async move { reply.send(request.message).await })
}

/// Says `name` to everyone.
pub fn says(name: &'static str) -> impl Handler {
    handler_fn(move |_: Request, reply: ResponseSender| async move { reply.send(name).await })
}

/// A response plane within the process: the answer waits in a map under the request's id.
#[derive(Default)]
pub struct Answers {
    waiting: Mutex<HashMap<String, ResponseSender>>,
    /// While it is set, opening an answer waits.
    pub hold: tokio::sync::watch::Sender<bool>,
}

const ANSWERS: TransportId = TransportId::from_static("answers");

#[async_trait]
impl ResponsePlane for Answers {
    async fn expect(&self, context: &RequestContext, _to: &TransportAddress) -> Result<PendingResponse> {
        let (sender, stream) = pipe(64 << 10, 16 << 20);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(context.id.to_string(), sender);
        let reply_to = ResponseConnectionInfo::new(TransportAddress::new(ANSWERS, ""), context);
        Ok(PendingResponse { reply_to, pending: Box::new(Reserved(stream)) })
    }

    async fn create_response_stream(&self, _: &RequestContext, info: &ResponseConnectionInfo) -> Result<Opened> {
        // The sender of the watch lives as long as this.
        let _ = self.hold.subscribe().wait_for(|hold| !hold).await;
        let sender = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&info.context_id);
        let sender = sender.ok_or_else(|| Error::refused("nobody expects this answer"))?;
        Ok(Opened { sender, located: None })
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        Ok(())
    }
}

struct Reserved(ResponseStream);

impl Pending for Reserved {
    fn resolve(self: Box<Self>, _: Option<ResponseConnectionInfo>) -> Result<ResponseStream> {
        Ok(self.0)
    }

    fn poll_lost(&mut self, _: &mut Context<'_>) -> Poll<Error> {
        Poll::Pending
    }
}

/// The one response plane that a node knows.
struct Planes(Arc<Answers>);

impl ResponsePlanes for Planes {
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        if *transport == ANSWERS {
            return Ok(self.0.clone());
        }
        Err(Error::no_transport(format!("no response plane {transport}")))
    }
}
