// SPDX-License-Identifier: Apache-2.0
//! A listening HTTP server: both versions on one port, bounded in links, heads and streams; one task per link.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Request, Response, Version};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::body::Body;
use super::http2_server;
use super::idle::{Activity, Busy, HEAD_TIMEOUT, IDLE_TIMEOUT, PARK_AFTER};
use super::incoming::Incoming;
use super::listen::Events;
use super::long_stream;
use super::names::MAX_HEAD;
use super::sniff::{Replayed, sniff};
use crate::config::HttpVersion;
use crate::error::{Error, Phase, Result};

/// Links at once. One more is told so and closed.
const MAX_LINKS: usize = 10_000;

/// Requests at once on one HTTP/2 link.
pub(super) const MAX_STREAMS: u32 = 256;

/// HTTP/2 flow control: what may be under way to us on one stream, and on one link.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
pub(super) const LINK_WINDOW: u32 = 10 << 20;

/// Bytes of a frame of HTTP/2 to us. The customary 16 KiB would cut a message of 16 KiB in two, of which one is made again.
pub(super) const MAX_FRAME: u32 = 64 << 10;

/// Bodies of more bytes than this are announced by `content-length` on HTTP/2: of a smaller one it tells little that the
/// frames do not.
pub(super) const ANNOUNCED: usize = 64 << 10;

/// What was sent and is not acknowledged after this time was sent to a peer that is dead, or reads nothing.
#[cfg(target_os = "linux")]
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// After an accept that failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a link over the limit is told. HTTP/2 clients take it for what it is, too: no HTTP/2.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain\r\n\r\ntoo many connections at this server\n";

/// Who secures the links of a server; `None` leaves them in clear text.
#[cfg(feature = "tls")]
pub(super) type Guard = Option<Arc<crate::io::tls::ServerTls>>;
/// There is no TLS in this build.
#[cfg(not(feature = "tls"))]
pub(super) type Guard = Option<Infallible>;

/// On what terms links are accepted.
pub(super) struct Terms {
    /// Links at once. One more is told so and closed.
    pub(super) max_links: usize,
    /// Who secures them.
    pub(super) guard: Guard,
}

/// Answers the requests of a server.
pub(super) trait Site: Send + Sync + 'static {
    /// Answers one. Dropped when the client goes away before the head was sent.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// A server at work. Drop ends it at once.
pub(super) struct Listening {
    address: SocketAddr,
    /// When everything must be over; set by `close`.
    closing: watch::Sender<Option<Instant>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listening {
    /// Serves `site` on `listener`.
    pub(super) fn start(listener: TcpListener, site: Arc<impl Site>) -> Result<Self> {
        Self::start_on(listener, site, Terms { max_links: MAX_LINKS, guard: None })
    }

    /// Serves `site` on `listener`, on terms of its own.
    pub(super) fn start_on(listener: TcpListener, site: Arc<impl Site>, terms: Terms) -> Result<Self> {
        let address = listener
            .local_addr()
            .map_err(|error| Error::unexpected("no local address").with_phase(Phase::Listen).with_source(error))?;
        let (closing, closed) = watch::channel(None);
        let task = tokio::spawn(accept(listener, site, terms, closed));
        Ok(Self { address, closing, task: Mutex::new(Some(task)) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets what is in flight finish for at most `grace`, ends the rest.
    pub(super) async fn close(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.closing.send_if_modified(|closing| closing.replace(until).is_none());
        let task = self.task.lock().take();
        if let Some(task) = task {
            // The task ends itself at its deadline.
            let _ = task.await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    site: Arc<impl Site>,
    terms: Terms,
    mut closing: watch::Receiver<Option<Instant>>,
) {
    let mut links = JoinSet::new();
    let until = loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if links.len() < terms.max_links => {
                    links.spawn(link(stream, site.clone(), terms.guard.clone(), closing.clone()));
                }
                Ok((stream, _)) => refuse(&stream, terms.max_links),
                Err(error) => {
                    tracing::warn!(target: "biplane::http", "accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = links.join_next() => {}
            changed = closing.changed() => match changed {
                Ok(()) => break *closing.borrow(),
                // The server was dropped; the links end with the set.
                Err(_) => return,
            },
        }
    };
    drop(listener);
    let all = async { while links.join_next().await.is_some() {} };
    match until {
        Some(until) => drop(tokio::time::timeout_at(until, all).await),
        None => all.await,
    }
}

fn refuse(stream: &TcpStream, max_links: usize) {
    tracing::warn!(target: "biplane::http", "{max_links} links are open: one more was refused");
    // A fresh socket's send buffer is empty; whoever does not read it sees the link close.
    let _ = stream.try_write(FULL);
}

async fn link(stream: TcpStream, site: Arc<impl Site>, guard: Guard, closing: watch::Receiver<Option<Instant>>) {
    // Without it every small chunk would wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, WRITE_TIMEOUT.as_millis() as u32);
    match guard {
        None => serve(stream, site, closing).await,
        #[cfg(feature = "tls")]
        // On the heap: a session of TLS is large, and most links have none.
        Some(guard) => match Box::pin(guard.accept(stream)).await {
            Ok(stream) => Box::pin(serve(stream, site, closing)).await,
            Err(error) => tracing::debug!(target: "biplane::http", "a handshake failed: {error}"),
        },
        #[cfg(not(feature = "tls"))]
        Some(none) => match none {},
    }
}

async fn serve<S>(mut stream: S, site: Arc<impl Site>, mut closing: watch::Receiver<Option<Instant>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut patience = HEAD_TIMEOUT;
    loop {
        let sniffed = tokio::select! {
            sniffed = timeout(patience, sniff(stream)) => sniffed,
            _ = closing.changed() => return,
        };
        // What a link at work needs is on the heap, so that one at rest does not need it.
        let served = match sniffed {
            Ok(Ok((HttpVersion::Http1, stream))) => serve_requests(stream, &site, &closing).await,
            Ok(Ok((HttpVersion::Http2, stream))) => {
                let ended = Box::pin(http2_server::serve(stream, &site, closing)).await;
                return ended.unwrap_or_else(|error| {
                    tracing::debug!(target: "biplane::http", "a link ended: {error}");
                });
            }
            // Silent, or gone: there is nobody to tell.
            Ok(Err(_)) | Err(_) => return,
        };
        match served {
            Ok(Some(parked)) => (stream, patience) = (parked, IDLE_TIMEOUT.saturating_sub(PARK_AFTER)),
            Ok(None) => return,
            Err(error) => return tracing::debug!(target: "biplane::http", "a link ended: {error}"),
        }
    }
}

/// Serves until the link ends; or gives it back when it is at rest.
async fn serve_requests<S>(
    mut stream: Replayed<S>,
    site: &Arc<impl Site>,
    closing: &watch::Receiver<Option<Instant>>,
) -> hyper::Result<Option<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let Some(Left { mut io, ahead, lasting }) = Box::pin(serve_http1(stream, site, closing.clone())).await? else {
            return Ok(None);
        };
        let ahead = match lasting {
            None => ahead,
            Some(events) => match long_stream::write(&mut io, events, ahead).await {
                Ok(Some(ahead)) => ahead,
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::debug!(target: "biplane::http", "a link ended: {error}");
                    return Ok(None);
                }
            },
        };
        if ahead.is_empty() {
            return Ok(Some(io));
        }
        // The beginning of a request came before the last one was answered.
        stream = Replayed::new(ahead, io);
    }
}

/// A link that hyper needs no longer for the time being.
struct Left<S> {
    io: S,
    /// What was read and not yet looked at.
    ahead: Bytes,
    /// The rest of a response.
    lasting: Option<Box<Events>>,
}

/// Serves until the link ends; or gives it back when nothing is under way on it but events that come now and then.
async fn serve_http1<S>(
    stream: Replayed<S>,
    site: &Arc<impl Site>,
    mut closing: watch::Receiver<Option<Instant>>,
) -> hyper::Result<Option<Left<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    activity.read();
    let io = TokioIo::new(stream.watched_by(activity.clone()));
    let service = service_fn(|request| answer(site, request, activity.serve()));
    let mut link = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD)
        .serve_connection(io, service);
    let mut closed_seen = false;
    {
        let mut closed = pin!(closing.changed());
        let mut timer = pin!(sleep(HEAD_TIMEOUT));
        let ended = poll_fn(|cx| {
            if !closed_seen && closed.as_mut().poll(cx).is_ready() {
                closed_seen = true;
                Pin::new(&mut link).graceful_shutdown();
            }
            if let Poll::Ready(done) = Pin::new(&mut link).poll(cx) {
                return Poll::Ready(Some(done));
            }
            // The deadline moves with what the link does; the timer follows lazily.
            while let Some(deadline) = activity.deadline() {
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) if activity.deadline() == Some(deadline) => return Poll::Ready(None),
                    Poll::Ready(()) => {}
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        });
        if let Some(done) = ended.await {
            return done.map(|()| None);
        }
    }
    let lasting = activity.take_over();
    if lasting.is_none() && (closed_seen || !activity.is_at_rest()) {
        return Ok(None);
    }
    let parts = link.into_parts();
    // A copy: the few bytes there are, or none, would hold on to the whole buffer that they came in.
    let ahead = Bytes::copy_from_slice(&parts.read_buf);
    Ok(Some(Left { io: parts.io.into_inner().into_inner(), ahead, lasting }))
}

async fn answer(
    site: &Arc<impl Site>,
    request: Request<hyper::body::Incoming>,
    busy: Busy,
) -> Result<Response<Body>, Infallible> {
    let connection = request.headers().get_all(CONNECTION);
    let stays = request.version() == Version::HTTP_11
        && connection.iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"));
    let response = site.answer(request.map(Incoming::Http1)).await;
    if let (true, Some(events)) = (stays, response.body().handover()) {
        busy.lasts(events);
    }
    Ok(response.map(|body| body.with_busy(busy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Site for Nothing {
        async fn answer(&self, _request: Request<Incoming>) -> Response<Body> {
            Response::new(Body::full(""))
        }
    }

    #[tokio::test]
    async fn a_link_at_rest_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_send, closing) = watch::channel(None);
        let link = link(stream, Arc::new(Nothing), None, closing);
        assert!(size_of_val(&link) < 2048, "{} bytes", size_of_val(&link));
    }
}
