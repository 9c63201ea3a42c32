// SPDX-License-Identifier: Apache-2.0
//! The first face: a [`Connection`] is what you have when request and answer share a wire, and what a pair of planes looks
//! like from outside.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::capability::TransportCapabilities;
use crate::error::{Error, Result};
use crate::message::{Message, Request, RequestContext, SessionId, Subject};
use crate::stream::{ResponseSender, ResponseStream};
use crate::target::{Target, TransportAddress, TransportId};

mod json;

/// A logical session with a peer. Many may share one link.
#[async_trait]
pub trait Connection: Debug + Send + Sync + 'static {
    /// What this connection is.
    fn info(&self) -> &ConnectionInfo;

    /// Sends a request and returns its answer's stream: the primitive that all else stands on.
    ///
    /// Never waits: dialling, admission and credit are states of the stream, and their failures its first item. An error
    /// here means that nothing was sent. The request leaves at the latest when the stream is first polled. Dropping the
    /// stream cancels the request.
    fn open(&self, request: Request) -> Result<ResponseStream>;

    /// [`open`](Self::open) for a caller that keeps the request, to send it elsewhere if need be, and has just looked at the
    /// clock. A transport that writes it at once need neither own it nor look too.
    #[doc(hidden)]
    fn open_kept(
        &self,
        subject: &Subject,
        context: &RequestContext,
        message: &Message,
        now: Instant,
    ) -> Result<ResponseStream> {
        let _ = now;
        let (subject, context, message) = (subject.clone(), context.clone(), message.clone());
        self.open(Request { subject, context, message, items: None })
    }

    /// Sends a request and waits for its one item. None, or a second one, is a `Protocol` error.
    ///
    /// Cancel-safe: dropping the future cancels the request.
    async fn request(&self, request: Request) -> Result<Message> {
        let mut stream = self.open(request)?;
        let item = match stream.next().await {
            Some(item) => item?,
            None => return Err(Error::protocol("the answer to a unary request has no item")),
        };
        match stream.next().await {
            None => Ok(item),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Err(Error::protocol("the answer to a unary request has more than one item")
                .with_hint("read it with open()")),
        }
    }

    /// Sends a message that has no answer. Done when it has been handed to the link.
    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        let _ = message;
        Err(Error::unsupported(format!("{} carries no notifications (to {subject})", self.info().transport)))
    }

    /// The next message that the peer sent unasked; `None` after close. One receiver at a time.
    async fn receive(&self) -> Result<Option<Inbound>>;

    /// Has `answerer` answer the peer's requests where they come in. What it does not take still comes by
    /// [`receive`](Self::receive), and so do notifications. Until the connection is over it holds the answerer. A transport
    /// that would gain nothing by it goes on as it is.
    fn answer_in_place(&self, answerer: Arc<dyn Answerer>) {
        drop(answerer);
    }

    /// Refuses new requests, lets those in flight finish for at most `grace`, then closes. Closing twice is fine.
    async fn close(&self, grace: Duration) -> Result<()>;

    /// The session, where the transport has them.
    fn session_id(&self) -> Option<&SessionId> {
        self.info().session.as_ref()
    }

    /// Whether requests run side by side.
    fn is_multiplexed(&self) -> bool {
        self.info().multiplexed
    }
}

/// What a [`Connection`] is.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Who carries it.
    pub transport: TransportId,
    /// The other end, for people.
    pub peer: String,
    /// The session, where the transport has them.
    pub session: Option<SessionId>,
    /// What was negotiated.
    pub capabilities: TransportCapabilities,
    /// Requests run side by side.
    pub multiplexed: bool,
}

impl ConnectionInfo {
    /// A multiplexed connection without a session.
    pub fn new(
        transport: impl Into<TransportId>,
        peer: impl Into<String>,
        capabilities: TransportCapabilities,
    ) -> Self {
        Self { transport: transport.into(), peer: peer.into(), session: None, capabilities, multiplexed: true }
    }
}

/// Answers a peer's requests without a task between: see [`Connection::answer_in_place`].
pub trait Answerer: Send + Sync + 'static {
    /// The answer, whose events are read by whoever passes them to the peer; or the request, if it has to wait for
    /// something first. Called on the way in, so it must not block.
    fn answer(&self, request: Request) -> std::result::Result<ResponseStream, Box<Request>>;
}

/// What a peer sends unasked.
#[derive(Debug)]
pub enum Inbound {
    /// Wants no answer.
    Notification(Subject, Message),
    /// Wants one.
    Request(Request, ResponseSender),
}

/// Makes connections of one transport.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Dials. Returns `Unsupported` if the target is none of this transport's: before any I/O where that can be told from
    /// the target, else before anything was asked of the peer but what it is.
    ///
    /// Cancel-safe: dropping the future leaves neither link nor task behind.
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>>;

    /// Finds out who is at the target, for a person, where the transport can meet peers of several kinds; `None` where it
    /// cannot. Sends no more than that takes. As with [`connect`](Self::connect), `Unsupported` means that it is a peer for
    /// another transport.
    async fn probe(&self, target: &Target) -> Result<Option<String>> {
        let _ = target;
        Ok(None)
    }

    /// Listens.
    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        Err(Error::unsupported(format!("this transport does not listen (asked for {target})")))
    }

    /// Ends what the transport keeps beside its connections: programs that it started. Called when the runtime is shut
    /// down. Closing twice is fine.
    async fn close(&self, grace: Duration) -> Result<()> {
        let _ = grace;
        Ok(())
    }
}

/// Accepts connections of one transport.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// Where it listens, with the port that the system chose.
    fn local_address(&self) -> TransportAddress;

    /// The next connection; `None` after the listener was closed. A peer that fails its handshake is no error here.
    /// Cancel-safe.
    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>>;

    /// Accepts nothing more, and lets what is under way finish for at most `grace` where connections end with their
    /// listener. Others live on. Closing twice is fine, and dropping the listener closes it without grace.
    async fn close(&self, grace: Duration) -> Result<()> {
        let _ = grace;
        Ok(())
    }
}
