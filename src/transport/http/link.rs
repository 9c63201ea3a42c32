// SPDX-License-Identifier: Apache-2.0
//! A caller's link to an origin: one socket that speaks HTTP/1.1 or HTTP/2, under our own pool.

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::http2_client::{Http2Session, Sent};
use super::incoming::Incoming;
use super::reach;
use super::secure::Security;
use super::speech::Speech;
use crate::config::{Config, HttpVersion};
use crate::error::{Error, Phase, Result};
use crate::pool::{Lease, Link, PoolKey};

/// Requests that share a link. Somewhat less than the 256 that our own servers take, so that streams which are being
/// reset leave room.
pub(super) const fn leases_per_link(version: HttpVersion) -> usize {
    match version {
        HttpVersion::Http1 => 1,
        HttpVersion::Http2 => 250,
    }
}

/// Bytes of a response's head.
const MAX_RESPONSE_HEAD: usize = 64 << 10;

/// What a dial needs to know.
pub(super) struct Dialling {
    pub(super) config: Arc<Config>,
    pub(super) security: Security,
}

/// A link. Its one task ends when the link and all its exchanges are over.
pub(super) struct HttpLink(Mutex<Sender>);

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(Http2Session),
    /// Without a sender hyper ends the link as soon as nothing is under way.
    Closed,
}

/// Why a request has no response.
pub(super) struct SendFailure {
    /// The peer has not looked at the request.
    pub(super) unsent: bool,
    /// The library's account; `None` if the link was closed before.
    pub(super) cause: Option<BoxError>,
}

impl HttpLink {
    /// Dials what `key` names. The pool bounds the time.
    pub(super) async fn dial(key: &PoolKey, dialling: &Dialling) -> Result<Self> {
        let (authority, config) = (&key.authority, &dialling.config);
        let sender = match Speech::of(&key.security) {
            Speech::Plane => {
                let stream = reach::anywhere(authority).await?;
                sender(stream, config.http.version).await
            }
            Speech::Plain => {
                let stream = reach::guarded(authority, config.http.allow_link_local).await?;
                sender(stream, HttpVersion::Http1).await
            }
            Speech::Secure => {
                let stream = reach::guarded(authority, config.http.allow_link_local).await?;
                let (stream, version) = dialling.security.session(stream, authority).await?;
                sender(stream, version).await
            }
        };
        let failed = |error| {
            Error::connect(format!("no HTTP session with {authority}")).with_phase(Phase::Connect).with_source(error)
        };
        Ok(Self(Mutex::new(sender.map_err(failed)?)))
    }

    /// Sends a request.
    pub(super) fn send(&self, head: Request<()>, body: Bytes) -> Result<Sending<'_>, SendFailure> {
        match &mut *self.sender() {
            Sender::Http2(session) => session.send(head, body).map(Sending::Http2),
            Sender::Http1(_) => Ok(Sending::Http1(Box::pin(self.send_http1(head.map(|()| Body::full(body)))))),
            Sender::Closed => Err(SendFailure { unsent: true, cause: None }),
        }
    }

    async fn send_http1(&self, request: Request<Body>) -> Result<Response<Incoming>, SendFailure> {
        let ready = poll_fn(|cx| match &mut *self.sender() {
            Sender::Http1(sender) => sender.poll_ready(cx),
            Sender::Http2(_) | Sender::Closed => Poll::Ready(Ok(())),
        });
        ready.await.map_err(|cause| SendFailure { unsent: true, cause: Some(Box::new(cause)) })?;
        let sent = match &mut *self.sender() {
            Sender::Http1(sender) => sender.try_send_request(request),
            Sender::Http2(_) | Sender::Closed => return Err(SendFailure { unsent: true, cause: None }),
        };
        match sent.await {
            Ok(response) => Ok(response.map(Incoming::Http1)),
            // hyper gives the request back if no byte of it was written.
            Err(mut failure) => Err(SendFailure {
                unsent: TrySendError::<Request<Body>>::take_message(&mut failure).is_some(),
                cause: Some(Box::new(failure.into_error())),
            }),
        }
    }

    /// Whether requests share the link.
    pub(super) fn is_multiplexed(&self) -> bool {
        !matches!(&*self.sender(), Sender::Http1(_))
    }

    /// What was agreed on.
    pub(super) fn version(&self) -> HttpVersion {
        if self.is_multiplexed() { HttpVersion::Http2 } else { HttpVersion::Http1 }
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.0.lock()
    }
}

/// A request that waits for the head of its response. Dropping it cancels the request: HTTP/2 resets the stream, HTTP/1.1
/// must give up the link. It is small, because very many may wait.
pub(super) enum Sending<'a> {
    Http1(Pin<Box<dyn Future<Output = Result<Response<Incoming>, SendFailure>> + Send + 'a>>),
    Http2(Sent),
}

impl Future for Sending<'_> {
    type Output = Result<Response<Incoming>, SendFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Http1(sending) => sending.as_mut().poll(cx),
            Self::Http2(sent) => Pin::new(sent).poll(cx),
        }
    }
}

impl Link for HttpLink {
    fn is_usable(&self) -> bool {
        match &mut *self.sender() {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(session) => session.is_open(),
            Sender::Closed => false,
        }
    }

    fn has_room(&self) -> bool {
        // Of a link that is usable: what its capacity leaves.
        true
    }

    fn capacity(&self) -> Option<usize> {
        Some(leases_per_link(self.version()))
    }

    fn close(&self) {
        let sender = std::mem::replace(&mut *self.sender(), Sender::Closed);
        drop(sender);
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

async fn sender<S>(stream: S, version: HttpVersion) -> Result<Sender, BoxError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Ok(match version {
        HttpVersion::Http2 => Sender::Http2(Http2Session::over(stream, MAX_RESPONSE_HEAD as u32).await?),
        HttpVersion::Http1 => {
            let io = TokioIo::new(stream);
            let (sender, link) = http1::Builder::new().max_header_size(MAX_RESPONSE_HEAD).handshake(io).await?;
            tokio::spawn(async move {
                if let Err(error) = link.await {
                    tracing::debug!(target: "biplane::http", "a link ended: {error}");
                }
            });
            Sender::Http1(sender)
        }
    })
}

/// A lease that knows whether its exchange came to an end: an HTTP/1.1 link that did not is of no further use.
pub(super) struct Hold {
    link: Arc<HttpLink>,
    lease: Option<Lease<HttpLink>>,
    complete: bool,
}

impl Hold {
    pub(super) fn new(lease: Lease<HttpLink>) -> Self {
        Self { link: lease.link().clone(), lease: Some(lease), complete: false }
    }

    /// A link that nobody else has, and that ends with this.
    pub(super) fn alone(link: HttpLink) -> Self {
        Self { link: Arc::new(link), lease: None, complete: false }
    }

    /// The link.
    pub(super) fn link(&self) -> &HttpLink {
        &self.link
    }

    /// Whether the link had served before.
    pub(super) fn is_reused(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_reused)
    }

    /// The response's body was read to its end.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if !self.complete && !self.link.is_multiplexed() {
            lease.discard();
        }
    }
}

/// How long a `DELETE` and its like may take: a word on the side, nobody waits for it.
pub(super) const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
