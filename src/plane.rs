// SPDX-License-Identifier: Apache-2.0
//! The second face: requests and answers on wires that are chosen independently.
//!
//! A caller reserves the answer first ([`ResponsePlane::expect`]), sends the request with the reply-to that it got
//! ([`RequestPlaneClient::send_request`]) and resolves the [`Ack`]. A responder's request server hands what arrives to
//! [`Dispatch`], which opens the response stream that the reply-to names **before** the request is acknowledged: a failed
//! dial is then the acknowledgement's error, and a responder that dies later is seen at once as a closed link.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::message::{Request, RequestContext, Subject};
use crate::stream::{ResponseSender, ResponseStream};
use crate::target::{Target, TransportAddress, TransportId};

/// The four kinds of things that a registry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaneType {
    /// Connections by URL.
    Connection,
    /// The plane that carries requests.
    Request,
    /// The plane that carries answers.
    Response,
    /// Where instances are published and found.
    Discovery,
}

impl PlaneType {
    /// The word for logs, metrics and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Response => "response",
            Self::Discovery => "discovery",
        }
    }
}

impl fmt::Display for PlaneType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A service. It cannot tell which plane carries its answer.
///
/// Written `async fn handle(&self, ..)` without a macro: the one box that run-time selection needs is made where the
/// handler is registered, not twice.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. `Ok` with the sender dropped is a clean end; an error becomes the caller's
    /// [`PeerError`](crate::PeerError).
    ///
    /// The future is polled in place by the link's driver and moved to a task of its own only if it is not ready at once,
    /// so a handler must not block the thread. It is dropped when the caller goes away, says kill, or its deadline passes.
    fn handle(&self, request: Request, reply: ResponseSender) -> impl Future<Output = Result<()>> + Send;

    /// [`handle`](Self::handle) as a future that keeps its handler, so that it can move to a task.
    #[doc(hidden)]
    fn start(self: &Arc<Self>, request: Request, reply: ResponseSender) -> HandlerFuture
    where
        Self: Sized,
    {
        let this = self.clone();
        Box::pin(async move { this.handle(request, reply).await })
    }
}

/// A handler at work.
#[doc(hidden)]
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A handler made of a closure.
///
/// ```
/// # use biplane::{handler_fn, Request, ResponseSender};
/// let echo = handler_fn(|request: Request, mut reply: ResponseSender| async move { reply.send(request.message).await });
/// ```
pub fn handler_fn<F, Fut>(function: F) -> impl Handler
where
    F: Fn(Request, ResponseSender) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    FnHandler(function)
}

struct FnHandler<F>(F);

impl<F, Fut> Handler for FnHandler<F>
where
    F: Fn(Request, ResponseSender) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    fn handle(&self, request: Request, reply: ResponseSender) -> impl Future<Output = Result<()>> + Send {
        (self.0)(request, reply)
    }

    /// Its futures borrow nothing: one goes into the box as it is, where another future about it would move the request
    /// once more.
    fn start(self: &Arc<Self>, request: Request, reply: ResponseSender) -> HandlerFuture {
        Box::pin((self.0)(request, reply))
    }
}

/// Where the answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// Back on the request's own link.
    Inline,
    /// Nowhere: a one-way request.
    Nothing,
    /// To the place that the caller reserved. Boxed: most answers come back on their request's link.
    To(Box<ResponseConnectionInfo>),
}

/// A place for an answer. Its text form, for headers, is JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseConnectionInfo {
    /// Which response transport, and where; the address is empty where only the responder can know it.
    pub address: TransportAddress,
    /// The request's id.
    pub context_id: String,
    /// A name within the address, if the transport uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What else the transport needs, such as a one-time token.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub metadata: HashMap<String, String>,
}

impl ResponseConnectionInfo {
    /// A place without a subject and metadata.
    pub fn new(address: TransportAddress, context: &RequestContext) -> Self {
        Self { address, context_id: context.id.to_string(), subject: None, metadata: HashMap::new() }
    }

    /// The most bytes that the text form may have.
    pub const MAX_TEXT: usize = 8 * 1024;

    /// The text form, one line of JSON in ASCII.
    pub fn to_text(&self) -> String {
        // A struct of strings and string maps always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the text form, which may be a peer's.
    pub fn from_text(text: &str) -> Result<Self> {
        if text.len() > Self::MAX_TEXT {
            return Err(Error::too_large("a reply-to", Self::MAX_TEXT as u64, text.len() as u64));
        }
        serde_json::from_str(text)
            .map_err(|error| Error::protocol("the reply-to is no response connection info").with_source(error))
    }
}

/// The responder took the request.
#[derive(Debug)]
pub enum Ack {
    /// The answer comes to where it was asked to.
    Accepted,
    /// The answer is there to be fetched.
    Located(ResponseConnectionInfo),
    /// The answer is here.
    Inline(ResponseStream),
}

/// Sends requests.
#[async_trait]
pub trait RequestPlaneClient: Send + Sync + 'static {
    /// Sends one request and waits for its acknowledgement, at most as long as the context's deadline and the transport's
    /// own acknowledgement timeout allow.
    ///
    /// An error's [`Retry`](crate::Retry) says whether the request may have run. Cancel-safe: a dropped future cancels.
    async fn send_request(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack>;

    /// The address and the subject that a URL means, in the transport's own form. Provided: `host:port`, and the path as
    /// subject. A subject of `None` leaves it to the caller.
    fn locate(&self, target: &Target) -> Result<(String, Option<Subject>)> {
        Ok((target.authority()?, target.subject()?))
    }
}

/// Receives requests. Binds when the first endpoint is registered.
#[async_trait]
pub trait RequestPlaneServer: Send + Sync + 'static {
    /// Serves `subject`. A second registration of a subject is an error. Dropping the guard unregisters it.
    async fn register_endpoint(&self, subject: Subject, dispatch: Dispatch) -> Result<EndpointGuard>;

    /// Stops accepting, lets what is in flight finish for at most `grace`, closes.
    async fn close(&self, grace: Duration) -> Result<()>;
}

/// Both ends of a request transport.
#[derive(Clone)]
pub struct RequestPlane {
    /// Sends.
    pub client: Arc<dyn RequestPlaneClient>,
    /// Receives.
    pub server: Arc<dyn RequestPlaneServer>,
}

/// Carries answers.
#[async_trait]
pub trait ResponsePlane: Send + Sync + 'static {
    /// The caller reserves an answer to a request that will go to `to`. The context's deadline bounds the whole answer.
    async fn expect(&self, context: &RequestContext, to: &TransportAddress) -> Result<PendingResponse>;

    /// The responder opens the stream that the caller reserved. Cancel-safe.
    async fn create_response_stream(&self, context: &RequestContext, info: &ResponseConnectionInfo) -> Result<Opened>;

    /// Ends what is open after at most `grace`.
    async fn close(&self, grace: Duration) -> Result<()>;
}

/// A reserved answer. Dropping it gives the reservation back.
pub struct PendingResponse {
    /// What to tell the responder.
    pub reply_to: ResponseConnectionInfo,
    /// How to get at the answer.
    pub pending: Box<dyn Pending>,
}

/// The transport's part of a [`PendingResponse`].
pub trait Pending: Send + 'static {
    /// The answer's stream, once the request was acknowledged; `located` is what [`Ack::Located`] carried.
    fn resolve(self: Box<Self>, located: Option<ResponseConnectionInfo>) -> Result<ResponseStream>;

    /// Ready when the answer is already lost, so that a caller need not wait for an acknowledgement that cannot come.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let _ = cx;
        Poll::Pending
    }
}

/// A response stream that the responder opened.
#[derive(Debug)]
pub struct Opened {
    /// Where the handler puts its items.
    pub sender: ResponseSender,
    /// Where the caller finds them, if it must fetch.
    pub located: Option<ResponseConnectionInfo>,
}

/// A registered endpoint. Drop unregisters it; requests that run go on.
pub struct EndpointGuard {
    address: TransportAddress,
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl EndpointGuard {
    /// `address` is what discovery publishes; `unregister` runs on drop.
    pub fn new(address: TransportAddress, unregister: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { address, on_drop: Some(Box::new(unregister)) }
    }

    /// What discovery publishes.
    pub fn address(&self) -> &TransportAddress {
        &self.address
    }
}

impl Drop for EndpointGuard {
    fn drop(&mut self) {
        if let Some(unregister) = self.on_drop.take() {
            unregister();
        }
    }
}

impl fmt::Debug for EndpointGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointGuard({})", self.address)
    }
}

/// Finds the response plane that a reply-to names; given to [`Dispatch`] by the runtime.
pub trait ResponsePlanes: Send + Sync + 'static {
    /// The plane of `transport`, or a refusal that lists what is registered.
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>>;
}
