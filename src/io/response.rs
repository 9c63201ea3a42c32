// SPDX-License-Identifier: Apache-2.0
//! A response plane over byte links: the responder calls home.
//!
//! The caller listens and gives out a one-time token per answer; the responder leases a pooled link to the caller, opens a
//! stream on it with the token and sends its items there.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OnceCell, oneshot};

use super::accept::Accepting;
use super::bytes::{Door, Links};
use super::known::KnownLinks;
use super::link::{MuxLink, Service};
use super::request::{check_transport, pool};
use super::targets::Targets;
use crate::error::{Error, PeerError, Phase, Result, Retry};
use crate::message::RequestContext;
use crate::plane::{Opened, Pending, PendingResponse, ResponseConnectionInfo, ResponsePlane};
use crate::pool::{PoolKey, PoolSettings, PoolStats};
use crate::proto::mux::Key;
use crate::proto::open::TOKEN_LEN;
use crate::stream::{Event, ResponseStream};
use crate::target::TransportAddress;
use crate::telemetry::PoolMetrics;
use crate::token::{Stock, Token};

/// Answers that may be awaited at once.
const MAX_AWAITED: usize = 65_536;

/// The name of the token in a [`ResponseConnectionInfo`]'s metadata.
const TOKEN: &str = "token";

/// Carries answers over pooled links from the responder to the caller.
pub struct MuxResponsePlane {
    links: Links,
    server: OnceCell<StreamServer>,
    targets: Targets,
    /// The pool's links, leased ones too.
    dialled: KnownLinks,
    call_home_timeout: Duration,
}

impl MuxResponsePlane {
    /// A plane whose links to callers are pooled as `settings` say. An answer must arrive within `call_home_timeout` of
    /// its reservation, and then of its acknowledgement.
    pub fn new(
        links: Links,
        settings: PoolSettings,
        call_home_timeout: Duration,
        metrics: impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static,
    ) -> Self {
        let dialled = KnownLinks::default();
        let pool = pool(links.clone(), settings, dialled.clone(), metrics);
        let targets = Targets::new(pool, links.transport.id());
        Self { links, server: OnceCell::new(), targets, dialled, call_home_timeout }
    }

    /// How the pool of links to callers fares.
    pub fn pool_stats(&self) -> PoolStats {
        self.targets.pool().stats()
    }

    async fn server(&self) -> Result<&StreamServer> {
        self.server
            .get_or_try_init(|| async {
                let listener = self.links.transport.bind(Door::Responses).await?;
                let awaited = Arc::new(Awaited::new());
                let accepting = Accepting::start(self.links.clone(), listener, awaited.clone());
                Ok(StreamServer { accepting, awaited })
            })
            .await
    }
}

#[async_trait]
impl ResponsePlane for MuxResponsePlane {
    async fn expect(&self, context: &RequestContext, _to: &TransportAddress) -> Result<PendingResponse> {
        let server = self.server().await?;
        server.accepting.check_open()?;
        let (place, arrival) = server.awaited.reserve(context.deadline, self.call_home_timeout)?;
        let address = TransportAddress::new(self.links.transport.id(), server.accepting.address());
        let mut reply_to = ResponseConnectionInfo::new(address, context);
        reply_to.metadata.insert(TOKEN.to_owned(), place.token.text());
        let (deadline, timeout) = (context.deadline, self.call_home_timeout);
        let pending = Box::new(Arriving { place, stage: Stage::Awaited(arrival), deadline, timeout });
        Ok(PendingResponse { reply_to, pending })
    }

    async fn create_response_stream(&self, context: &RequestContext, info: &ResponseConnectionInfo) -> Result<Opened> {
        check_transport(self.targets.transport(), &info.address)?;
        let token = info.metadata.get(TOKEN).and_then(|text| Token::read(text)).ok_or_else(|| {
            Error::protocol(format!("the reply-to of {} lacks a token of 32 hexadecimal digits", info.context_id))
        })?;
        let target = self.targets.of(&info.address.address);
        loop {
            let lease = target.checkout(context.deadline).await?;
            let (link, is_reused) = (Arc::clone(&lease), lease.is_reused());
            match link.open_call_home(token.0, Some(Box::new(lease))) {
                Ok(sender) => return Ok(Opened { sender, located: None }),
                // A link that died in the pool: nothing was sent, a fresh one decides.
                Err(error) if is_reused && error.retry() == Retry::Safe => {}
                Err(error) => return Err(error.with_phase(Phase::Connect)),
            }
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.targets.close();
        let listening = async {
            if let Some(server) = self.server.get() {
                server.accepting.close(grace).await;
            }
        };
        tokio::join!(self.dialled.close(tokio::time::Instant::now() + grace), listening);
        Ok(())
    }
}

impl std::fmt::Debug for MuxResponsePlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MuxResponsePlane({})", self.links.transport.id())
    }
}

/// The caller's listener.
struct StreamServer {
    accepting: Accepting,
    awaited: Arc<Awaited>,
}

/// Answers that were asked for and did not come yet, by token.
///
/// The map's keyed hash leaves nothing to time but a full match, and that is compared in constant time.
struct Awaited(Mutex<Book>);

struct Book {
    waiting: HashMap<Token, Waiting>,
    tokens: Stock,
}

struct Waiting {
    /// Until when the token works.
    expires: Instant,
    /// Bounds the whole answer.
    deadline: Option<Instant>,
    arrival: oneshot::Sender<ResponseStream>,
}

/// A reservation. Drop makes its token worthless.
struct Place {
    token: Token,
    awaited: Arc<Awaited>,
    /// The answer came: the token is worth nothing any more.
    is_used: bool,
}

impl Awaited {
    fn new() -> Self {
        Self(Mutex::new(Book { waiting: HashMap::new(), tokens: Stock::new() }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock()
    }

    fn reserve(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        window: Duration,
    ) -> Result<(Place, oneshot::Receiver<ResponseStream>)> {
        let (arrival, arriving) = oneshot::channel();
        let mut book = self.book();
        if book.waiting.len() >= MAX_AWAITED {
            return Err(Error::overloaded(format!("{MAX_AWAITED} answers are awaited already")).with_retry(Retry::Safe));
        }
        let token = book.tokens.token()?;
        book.waiting.insert(token, Waiting { expires: Instant::now() + window, deadline, arrival });
        drop(book);
        Ok((Place { token, awaited: self.clone(), is_used: false }, arriving))
    }

    /// Takes the reservation: a token works once.
    fn take(&self, token: &Token) -> Option<Waiting> {
        let (known, waiting) = self.book().waiting.remove_entry(token)?;
        (known.is(token) && Instant::now() < waiting.expires).then_some(waiting)
    }
}

impl Place {
    /// The request was acknowledged: from here on the answer has `window`.
    fn renew(&self, window: Duration) {
        if let Some(waiting) = self.awaited.book().waiting.get_mut(&self.token) {
            waiting.expires = Instant::now() + window;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_used {
            self.awaited.book().waiting.remove(&self.token);
        }
    }
}

impl Service for Awaited {
    fn call_home(&self, link: &Arc<MuxLink>, key: Key, token: [u8; TOKEN_LEN]) {
        match self.take(&Token(token)) {
            // A caller that left meanwhile drops the stream, which cancels the responder.
            Some(waiting) => drop(waiting.arrival.send(link.claim(key, waiting.deadline))),
            None => {
                tracing::debug!(target: "biplane::link", peer = link.peer(), "refused an answer with an unknown token");
                let error = Error::refused("no answer is awaited under this token: it is unknown, used or expired");
                link.refuse(key, &PeerError::from(error));
            }
        }
    }
}

struct Arriving {
    place: Place,
    stage: Stage,
    /// When the caller stops waiting for anything.
    deadline: Option<Instant>,
    /// From the acknowledgement.
    timeout: Duration,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one of them stands in a box already, and a second box would cost answers"
)]
enum Stage {
    Awaited(oneshot::Receiver<ResponseStream>),
    /// It overtook the acknowledgement.
    Here(ResponseStream, Option<Event>),
    Lost,
}

impl Pending for Arriving {
    fn resolve(self: Box<Self>, _located: Option<ResponseConnectionInfo>) -> Result<ResponseStream> {
        let Self { mut place, stage, deadline, timeout } = *self;
        match stage {
            Stage::Here(stream, None) => Ok(stream),
            Stage::Here(stream, Some(event)) => Ok(stream.with_unread(event)),
            Stage::Lost => Err(Error::closed("the answer was lost before its request was acknowledged")),
            Stage::Awaited(mut arrival) => {
                if let Ok(stream) = arrival.try_recv() {
                    place.is_used = true;
                    return Ok(stream);
                }
                place.renew(timeout);
                Ok(ResponseStream::deferred(async move {
                    let window = tokio::time::Instant::now() + timeout;
                    let deadline = deadline.map(tokio::time::Instant::from).filter(|deadline| *deadline < window);
                    let arrived = tokio::time::timeout_at(deadline.unwrap_or(window), arrival).await;
                    place.is_used = matches!(arrived, Ok(Ok(_)));
                    drop(place);
                    match arrived {
                        Err(_) if deadline.is_some() => Err(Error::deadline(0)),
                        Ok(Ok(stream)) => Ok(stream),
                        Ok(Err(_)) => Err(Error::closed("this runtime's listener for answers was closed")),
                        Err(_) => Err(Error::timeout(format!(
                            "the request was acknowledged, but its answer did not call home within {} s",
                            timeout.as_secs_f32()
                        ))
                        .with_hint("check that the responder reaches this host; BIPLANE_ADVERTISE_HOST sets the name it is given")),
                    }
                }))
            }
        }
    }

    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            match &mut self.stage {
                Stage::Awaited(arrival) => match std::task::ready!(std::pin::Pin::new(arrival).poll(cx)) {
                    Ok(stream) => {
                        self.place.is_used = true;
                        self.stage = Stage::Here(stream, None);
                    }
                    Err(_) => {
                        self.stage = Stage::Lost;
                        return Poll::Ready(Error::closed("this runtime's listener for answers was closed"));
                    }
                },
                Stage::Here(_, Some(_)) | Stage::Lost => return Poll::Pending,
                Stage::Here(stream, unread) => match std::task::ready!(stream.poll_event(cx)) {
                    Some(Ok(event)) => *unread = Some(event),
                    Some(Err(error)) => {
                        self.stage = Stage::Lost;
                        return Poll::Ready(error);
                    }
                    // A clean end is no loss; `resolve` gives the ended stream on.
                    None => return Poll::Pending,
                },
            }
        }
    }
}
