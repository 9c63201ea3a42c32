// SPDX-License-Identifier: Apache-2.0
//! A request plane over byte links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::accept::Accepting;
use super::bytes::{ByteTransport, Door, Links, STREAMS_PER_LINK};
use super::known::KnownLinks;
use super::link::{MuxLink, NoService, Service};
use super::targets::Targets;
use crate::dispatch::{Dispatch, Turn, launch};
use crate::error::{Detail, Error, PeerError, Phase, Result, Retry};
use crate::message::{Message, Request, Subject};
use crate::plane::{Ack, EndpointGuard, ReplyTo, RequestPlaneClient, RequestPlaneServer, ResponseConnectionInfo};
use crate::pool::{Pool, PoolKey, PoolSettings};
use crate::stream::ResponseSender;
use crate::target::{Target, TransportAddress, TransportId};
use crate::telemetry::PoolMetrics;

/// Sends requests over pooled links.
pub struct MuxRequestClient {
    transport: Arc<dyn ByteTransport>,
    targets: Targets,
}

impl MuxRequestClient {
    /// A client whose links are pooled as `settings` say.
    pub fn new(
        links: Links,
        settings: PoolSettings,
        metrics: impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static,
    ) -> Self {
        let transport = links.transport.clone();
        let pool = pool(links, settings, KnownLinks::default(), metrics);
        Self { targets: Targets::new(pool, transport.id()), transport }
    }
}

/// A pool of links that only ask. `known` learns of each, and ends the dialling when it is closed.
pub(super) fn pool(
    links: Links,
    settings: PoolSettings,
    known: KnownLinks,
    metrics: impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static,
) -> Pool<Arc<MuxLink>> {
    Pool::new(settings, metrics, move |key: PoolKey| {
        let (links, known) = (links.clone(), known.clone());
        Box::pin(async move {
            let link = links.dial(&key.authority, Arc::new(NoService), STREAMS_PER_LINK).await?;
            if known.add(&link) { Ok(link) } else { Err(Error::closed("this plane was closed during the dial")) }
        })
    })
}

/// Refuses addresses that are another transport's to understand.
pub(super) fn check_transport(ours: &TransportId, address: &TransportAddress) -> Result<()> {
    if *ours == address.transport {
        return Ok(());
    }
    Err(Error::unsupported(format!("{ours} does not carry to {address}")).with_retry(Retry::Safe))
}

#[async_trait]
impl RequestPlaneClient for MuxRequestClient {
    async fn send_request(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        check_transport(self.targets.transport(), to)?;
        let lease = self.targets.of(&to.address).checkout(request.context.deadline).await?;
        let link = Arc::clone(&lease);
        let has_items = request.items.is_some();
        let mut stream = link.open(request, reply_to.clone(), Some(Box::new(lease)), Instant::now)?;
        if *reply_to == ReplyTo::Inline {
            return Ok(Ack::Inline(stream));
        }
        let acknowledged = async {
            match stream.next().await {
                None => Ok(Ack::Accepted),
                Some(Ok(message)) if message.body.is_empty() => Ok(Ack::Accepted),
                Some(Ok(message)) => Ok(Ack::Located(ResponseConnectionInfo::from_text(message.text()?)?)),
                Some(Err(error)) => Err(error),
            }
        };
        let ack = acknowledged.await.map_err(|error| error.with_phase(Phase::Acknowledge))?;
        if has_items {
            // The items that follow go on this stream, which must be read to its end for that.
            tokio::spawn(async move { while stream.next().await.is_some_and(|item| item.is_ok()) {} });
        }
        Ok(ack)
    }

    /// The subject is the parameter `subject`; without one it is the path, unless the path is the address.
    fn locate(&self, target: &Target) -> Result<(String, Option<Subject>)> {
        let address = self.transport.address(target)?;
        let subject = match target.query("subject") {
            Some(text) => Some(Subject::new(text.into_owned())?),
            None if target.url().has_host() => target.subject()?,
            None => None,
        };
        Ok((address, subject))
    }
}

/// Serves requests from one listener, which binds when the first endpoint is registered.
pub struct MuxRequestServer {
    links: Links,
    router: Arc<Router>,
    accepting: OnceCell<Accepting>,
}

impl MuxRequestServer {
    /// A server of `links`.
    pub fn new(links: Links) -> Self {
        Self { links, router: Arc::default(), accepting: OnceCell::new() }
    }

    async fn accepting(&self) -> Result<&Accepting> {
        self.accepting
            .get_or_try_init(|| async {
                let listener = self.links.transport.bind(Door::Requests).await?;
                Ok(Accepting::start(self.links.clone(), listener, self.router.clone()))
            })
            .await
    }
}

#[async_trait]
impl RequestPlaneServer for MuxRequestServer {
    async fn register_endpoint(&self, subject: Subject, dispatch: Dispatch) -> Result<EndpointGuard> {
        let accepting = self.accepting().await?;
        accepting.check_open()?;
        let address = TransportAddress::new(self.links.transport.id(), accepting.address());
        self.router.add(subject.clone(), dispatch)?;
        let router = Arc::downgrade(&self.router);
        Ok(EndpointGuard::new(address, move || {
            if let Some(router) = router.upgrade() {
                router.remove(&subject);
            }
        }))
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        if let Some(accepting) = self.accepting.get() {
            accepting.close(grace).await;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Router(Mutex<BTreeMap<Subject, Arc<Dispatch>>>);

impl Router {
    fn add(&self, subject: Subject, dispatch: Dispatch) -> Result<()> {
        use std::collections::btree_map::Entry;
        match self.0.lock().entry(subject) {
            Entry::Occupied(entry) => Err(Error::config(format!("the endpoint {} is registered already", entry.key()))
                .with_detail(Detail::AlreadyRegistered)),
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(dispatch));
                Ok(())
            }
        }
    }

    fn remove(&self, subject: &Subject) {
        self.0.lock().remove(subject);
    }

    fn find(&self, subject: &Subject) -> Option<Arc<Dispatch>> {
        self.0.lock().get(subject).cloned()
    }
}

impl Service for Router {
    fn is_supervised(&self) -> bool {
        true
    }

    fn request(
        &self,
        _link: &Arc<MuxLink>,
        turn: &mut Turn,
        request: Request,
        reply_to: ReplyTo,
        reply: ResponseSender,
    ) {
        let Some(taker) = turn.taker(&request.subject, || self.find(&request.subject)) else {
            let error = Error::no_service(format!("no endpoint {} is registered here", request.subject));
            return reply.refuse(error.with_retry(Retry::Safe));
        };
        let (_, dispatch) = &taker;
        match reply_to {
            ReplyTo::Inline => dispatch.launch_in(turn, request, reply),
            ReplyTo::Nothing => {
                // The end of the stream says that the request was taken; what becomes of it, nobody asked.
                reply.close();
                dispatch.launch_one_way(turn, request);
            }
            // Opening the answer may mean dialling: not on the link's driver.
            ReplyTo::To(_) => drop(tokio::spawn(acknowledge(dispatch.clone(), request, reply_to, reply))),
        }
        turn.put_taker(taker);
    }
}

async fn acknowledge(dispatch: Arc<Dispatch>, request: Request, reply_to: ReplyTo, reply: ResponseSender) {
    let has_items = request.items.is_some();
    let accepting = dispatch.accept(request, &reply_to);
    let accepted = tokio::select! {
        accepted = accepting => accepted,
        // The caller gave up before it had an answer: the half-open answer is dropped with the future.
        _ = reply.stopped() => return reply.fail(PeerError::from(Error::cancelled("the caller went away"))),
    };
    let (ack, running) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return reply.refuse(error),
    };
    let body = match ack {
        Ack::Located(info) => Bytes::from(info.to_text()),
        Ack::Accepted | Ack::Inline(_) => Bytes::new(),
    };
    if reply.send(Message::new(body)).await.is_err() {
        // A caller that never hears of its acknowledgement may ask elsewhere: do not run the handler twice.
        return drop(running);
    }
    if has_items {
        // The end of this stream tells the caller that no further item is wanted.
        running.await;
        reply.close();
    } else {
        reply.close();
        launch(running);
    }
}

impl std::fmt::Debug for MuxRequestServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MuxRequestServer({})", self.links.transport.id())
    }
}
