// SPDX-License-Identifier: Apache-2.0
//! A caller's link to an origin: one socket that speaks HTTP/1.1 or HTTP/2, under our own pool.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::incoming;
use super::listening::{LINK_WINDOW, MAX_STREAMS, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW};
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

/// Streams that we reset are remembered while frames for them may still be under way; a frame for a forgotten one ends
/// the link. All of a link's callers may give up at once, a few times within the second that the memory lasts.
const REMEMBERED_RESETS: usize = MAX_STREAMS as usize * 16;

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
    Http2(http2::SendRequest<Body>),
    /// Without a sender hyper ends the link as soon as nothing is under way.
    Closed,
}

/// Why a request has no response.
pub(super) struct SendFailure {
    /// The peer has not looked at the request.
    pub(super) unsent: bool,
    /// hyper's account; `None` if the link was closed before.
    pub(super) cause: Option<hyper::Error>,
}

impl HttpLink {
    /// Dials what `key` names. The pool bounds the time.
    pub(super) async fn dial(key: &PoolKey, dialling: &Dialling) -> Result<Self> {
        let (authority, config) = (&key.authority, &dialling.config);
        let sender = match Speech::of(&key.security) {
            Speech::Plane => {
                let stream = reach::anywhere(authority).await?;
                match config.http.version {
                    HttpVersion::Http1 => http1_sender(stream).await,
                    HttpVersion::Http2 => http2_sender(stream).await,
                }
            }
            Speech::Plain => http1_sender(reach::guarded(authority, config.http.allow_link_local).await?).await,
            Speech::Secure => {
                let stream = reach::guarded(authority, config.http.allow_link_local).await?;
                match dialling.security.session(stream, authority).await? {
                    (stream, HttpVersion::Http1) => http1_sender(stream).await,
                    (stream, HttpVersion::Http2) => http2_sender(stream).await,
                }
            }
        };
        let failed = |error| {
            Error::connect(format!("no HTTP session with {authority}")).with_phase(Phase::Connect).with_source(error)
        };
        Ok(Self(Mutex::new(sender.map_err(failed)?)))
    }

    /// Sends a request and waits for the head of its response. Dropping the future cancels the request: HTTP/2 resets the
    /// stream, HTTP/1.1 must give up the link.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, SendFailure> {
        let closed = SendFailure { unsent: true, cause: None };
        let ready = poll_fn(|cx| match &mut *self.sender() {
            Sender::Http1(sender) => sender.poll_ready(cx),
            Sender::Http2(sender) => sender.poll_ready(cx),
            Sender::Closed => std::task::Poll::Ready(Ok(())),
        });
        ready.await.map_err(|cause| SendFailure { unsent: true, cause: Some(cause) })?;
        let sent = match &mut *self.sender() {
            Sender::Http1(sender) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender) => Either::Right(sender.try_send_request(request)),
            Sender::Closed => return Err(closed),
        };
        sent.await.map_err(|mut failure: TrySendError<Request<Body>>| {
            // hyper gives the request back if no byte of it was written.
            let returned = failure.take_message().is_some();
            let cause = failure.into_error();
            SendFailure { unsent: returned || incoming::is_refused_stream(&cause), cause: Some(cause) }
        })
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for HttpLink {
    fn is_usable(&self) -> bool {
        match &*self.sender() {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
            Sender::Closed => false,
        }
    }

    fn has_room(&self) -> bool {
        match &*self.sender() {
            Sender::Http1(_) => true,
            // Zero before the peer's settings have come: then hyper's own assumption holds.
            Sender::Http2(sender) => !sender.is_closed(),
            Sender::Closed => false,
        }
    }

    fn capacity(&self) -> Option<usize> {
        Some(leases_per_link(self.version()))
    }

    fn close(&self) {
        let sender = std::mem::replace(&mut *self.sender(), Sender::Closed);
        drop(sender);
    }
}

async fn http1_sender<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> hyper::Result<Sender> {
    let (sender, link) =
        http1::Builder::new().max_header_size(MAX_RESPONSE_HEAD).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { ended(link.await) });
    Ok(Sender::Http1(sender))
}

async fn http2_sender<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> hyper::Result<Sender> {
    let mut tasks = super::tasks::LinkTasks::default();
    let (sender, link) = http2::Builder::new(tasks.executor())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW)
        .max_header_list_size(MAX_RESPONSE_HEAD as u32)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        ended(tasks.drive(link).await);
        // What is under way outlives the last handle of the link.
        tasks.finish().await;
    });
    Ok(Sender::Http2(sender))
}

fn ended(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(target: "biplane::http", "a link ended: {error}");
    }
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
