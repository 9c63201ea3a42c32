// SPDX-License-Identifier: Apache-2.0
//! What a case works with: a responder that serves every behaviour, and callers connected to it.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::case::Failure;
use super::config::suite_config;
use super::harness::{Claims, Harness, Parts, PlaneParts};
use super::payload::Payload;
use super::probe::Probe;
use super::proxy::{FaultProxy, Plan};
use super::service::{Behaviour, Service};
use crate::config::Config;
use crate::connection::{Connection, ConnectionInfo, Inbound, Transport};
use crate::dispatch::{Dispatch, DispatchLimits};
use crate::error::{Error, PeerError, Result};
use crate::message::{Message, Request, Subject, random_u64};
use crate::pair::PlanePair;
use crate::plane::{EndpointGuard, ResponsePlane, ResponsePlanes};
use crate::proto::json;
use crate::stream::ResponseStream;
use crate::target::{Target, TransportAddress, TransportId};

/// A case that asks for nothing else gives up after this: long enough for a loaded machine, within the case's limit.
const PATIENCE: Duration = Duration::from_secs(15);

type Plane = Arc<dyn ResponsePlane>;

pub(super) struct Fixture {
    pub(super) claims: Claims,
    pub(super) config: Arc<Config>,
    pub(super) probe: Arc<Probe>,
    /// The first caller. [`Fixture::dial`] makes more.
    pub(super) caller: Arc<dyn Connection>,
    responder: Responder,
    /// Keeps fixtures apart that share a broker.
    prefix: String,
}

enum Responder {
    Listener(Listening),
    Planes { parts: PlaneParts, endpoints: Mutex<HashMap<String, EndpointGuard>> },
}

impl Fixture {
    pub(super) async fn start(harness: &Arc<dyn Harness>, tune: fn(&mut Config)) -> Result<Self, Failure> {
        let mut config = suite_config(&harness.registrations(), harness.settings())?;
        tune(&mut config);
        let config = Arc::new(config);
        let claims = harness.claims();
        let prefix = format!("c{:016x}", random_u64());
        let probe = Arc::new(Probe::default());
        let responder = match harness.start(config.clone()).await? {
            Parts::Connection { transport, listen } => {
                let dispatches = dispatches(&prefix, &probe, &config, Arc::new(Known(HashMap::new())));
                Responder::Listener(Listening::start(transport, &listen, dispatches, probe.clone(), &claims).await?)
            }
            Parts::Planes(parts) => {
                let known = Arc::new(Known(parts.responder.clone()));
                let mut endpoints = HashMap::new();
                for (name, dispatch) in dispatches(&prefix, &probe, &config, known) {
                    let subject = Subject::new(name.clone())?;
                    endpoints.insert(name, parts.server.register_endpoint(subject, dispatch).await?);
                }
                Responder::Planes { parts, endpoints: Mutex::new(endpoints) }
            }
        };
        let caller = connect(&responder, &claims, &|address| address).await?;
        Ok(Self { claims, config, probe, caller, responder, prefix })
    }

    /// Ends everything. Errors are no failure of a case: what matters is that nothing is left afterwards.
    pub(super) async fn stop(self) {
        let _ = self.caller.close(Duration::ZERO).await;
        match self.responder {
            Responder::Listener(listening) => listening.stop().await,
            Responder::Planes { parts, endpoints } => {
                drop(endpoints);
                let _ = parts.server.close(Duration::ZERO).await;
                for plane in parts.caller.values().chain(parts.responder.values()) {
                    let _ = plane.close(Duration::ZERO).await;
                }
            }
        }
    }

    /// The responder dies: whatever it does is given up at once.
    pub(super) async fn kill_responder(&self) {
        match &self.responder {
            Responder::Listener(listening) => listening.kill().await,
            Responder::Planes { parts, .. } => {
                let _ = parts.server.close(Duration::ZERO).await;
                for plane in parts.responder.values() {
                    let _ = plane.close(Duration::ZERO).await;
                }
            }
        }
    }

    /// The responder closes in order: what is in flight may finish.
    pub(super) async fn close_responder(&self, grace: Duration) -> Result<()> {
        match &self.responder {
            Responder::Listener(listening) => listening.close(grace).await,
            Responder::Planes { parts, .. } => parts.server.close(grace).await,
        }
    }

    /// One more caller.
    pub(super) async fn dial(&self) -> Result<Arc<dyn Connection>> {
        connect(&self.responder, &self.claims, &|address| address).await
    }

    /// One more caller, whose requests go through a fault proxy.
    pub(super) async fn dial_through(&self, plan: Plan) -> Result<(FaultProxy, Arc<dyn Connection>), Failure> {
        let target = socket_address(&self.address(Behaviour::Echo).address)
            .ok_or_else(|| Failure::new("the harness says over_tcp, its address has no IP:port"))?;
        let proxy = FaultProxy::start(target, plan).await?;
        let (from, to) = (target.to_string(), proxy.local_addr().to_string());
        let through =
            |address: TransportAddress| TransportAddress { address: address.address.replace(&from, &to), ..address };
        let connection = connect(&self.responder, &self.claims, &through).await?;
        Ok((proxy, connection))
    }

    /// Where a raw socket can reach the responder.
    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        socket_address(&self.address(Behaviour::Echo).address)
    }

    /// The address of an endpoint, or of the listener.
    pub(super) fn address(&self, behaviour: Behaviour) -> TransportAddress {
        match &self.responder {
            Responder::Listener(listening) => listening.address.clone(),
            Responder::Planes { endpoints, .. } => {
                let endpoints = endpoints.lock();
                let guard = endpoints.get(self.subject(behaviour).as_str());
                guard.map_or_else(|| TransportAddress::new(TransportId::MEM, ""), |guard| guard.address().clone())
            }
        }
    }

    /// The planes; `None` for a connection transport.
    pub(super) fn planes(&self) -> Option<&PlaneParts> {
        match &self.responder {
            Responder::Listener(_) => None,
            Responder::Planes { parts, .. } => Some(parts),
        }
    }

    /// The transport; `None` for planes.
    pub(super) fn transport(&self) -> Option<&Arc<dyn Transport>> {
        match &self.responder {
            Responder::Listener(listening) => Some(&listening.transport),
            Responder::Planes { .. } => None,
        }
    }

    /// The caller's and the responder's response plane.
    pub(super) fn response_planes(&self) -> Result<(Plane, Plane), Failure> {
        let id = self.claims.response.as_ref();
        let found = id
            .zip(self.planes())
            .and_then(|(id, parts)| Some((parts.caller.get(id).cloned()?, parts.responder.get(id).cloned()?)));
        found.ok_or_else(|| Failure::new("the harness claims a response plane and brings none"))
    }

    /// Unregisters an endpoint.
    pub(super) fn unregister(&self, behaviour: Behaviour) {
        let subject = self.subject(behaviour);
        match &self.responder {
            Responder::Listener(listening) => drop(listening.router.write().remove(subject.as_str())),
            Responder::Planes { endpoints, .. } => {
                let guard = endpoints.lock().remove(subject.as_str());
                drop(guard);
            }
        }
    }

    /// The responder's end of the newest connection.
    pub(super) async fn accepted(&self) -> Result<Arc<dyn Connection>, Failure> {
        let Responder::Listener(listening) = &self.responder else {
            return Err(Failure::new("planes accept no connections"));
        };
        let found = tokio::time::timeout(PATIENCE, listening.accepted.lock().await.recv()).await;
        found.ok().flatten().ok_or_else(|| Failure::new("the listener accepted no connection"))
    }

    pub(super) fn subject(&self, behaviour: Behaviour) -> Subject {
        subject(&self.prefix, behaviour)
    }

    /// A request that gives up by itself.
    pub(super) fn ask(&self, behaviour: Behaviour, message: impl Into<Message>) -> Request {
        Request::new(self.subject(behaviour), message).with_timeout(PATIENCE)
    }

    /// A JSON object, with the `_meta` that every request must have in this setting. One that has a `_meta` keeps it beside.
    pub(super) fn with_meta(&self, object: &'static str) -> Bytes {
        let object = Bytes::from_static(object.as_bytes());
        let Payload::JsonRpc { meta: Some(meta) } = self.claims.payload else { return object };
        json::members(meta.as_bytes())
            .fold(object, |object, (name, value)| json::set(&object, &["_meta", &String::from_utf8_lossy(name)], value))
    }

    /// Params with this progress token.
    pub(super) fn with_token(&self, token: &str) -> Bytes {
        json::set(&self.with_meta("{}"), &["_meta", "progressToken"], token.as_bytes())
    }

    /// Opens a request on the first caller.
    pub(super) fn open(&self, behaviour: Behaviour, message: impl Into<Message>) -> Result<ResponseStream> {
        self.caller.open(self.ask(behaviour, message))
    }

    /// The largest message that must pass.
    pub(super) fn max_message_size(&self) -> usize {
        let configured = self.config.limits.max_message_size;
        let claimed = self.claims.capabilities.max_message_size.and_then(|claimed| usize::try_from(claimed).ok());
        claimed.map_or(configured, |claimed| claimed.min(configured))
    }
}

fn subject(prefix: &str, behaviour: Behaviour) -> Subject {
    Subject::new(format!("{prefix}.{}", behaviour.name())).unwrap_or(Subject::from_static("conformance"))
}

fn dispatches(
    prefix: &str,
    probe: &Arc<Probe>,
    config: &Config,
    planes: Arc<dyn ResponsePlanes>,
) -> HashMap<String, Dispatch> {
    let limits = DispatchLimits {
        max_in_flight: config.limits.max_in_flight,
        max_message_size: config.limits.max_message_size,
        ..DispatchLimits::default()
    };
    let one = |behaviour| {
        let service = Service { behaviour, probe: probe.clone() };
        (subject(prefix, behaviour).as_str().to_owned(), Dispatch::new(service, planes.clone(), limits))
    };
    Behaviour::ALL.into_iter().map(one).collect()
}

/// The response planes of the responder.
struct Known(HashMap<TransportId, Arc<dyn ResponsePlane>>);

impl ResponsePlanes for Known {
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        self.0.get(transport).cloned().ok_or_else(|| {
            Error::refused(format!("no response transport {transport:?} is registered at the responder"))
        })
    }
}

async fn connect(
    responder: &Responder,
    claims: &Claims,
    through: &(dyn Fn(TransportAddress) -> TransportAddress + Sync),
) -> Result<Arc<dyn Connection>> {
    match responder {
        Responder::Listener(listening) => {
            let address = through(listening.address.clone()).address;
            let url = if address.contains("://") { address } else { format!("{}://{address}", listening.scheme) };
            let connection = listening.transport.connect(&Target::parse(&url, |_| false)?).await?;
            if claims.initialize {
                initialize(&*connection).await?;
            }
            Ok(claims.payload.coded(connection))
        }
        Responder::Planes { parts, endpoints } => {
            let response = claims.response.as_ref().and_then(|id| Some((id.clone(), parts.caller.get(id).cloned()?)));
            let pair = |guard: &EndpointGuard| {
                let to = through(guard.address().clone());
                let info = ConnectionInfo::new(to.transport.clone(), to.address.clone(), claims.capabilities);
                PlanePair::new(parts.client.clone(), response.clone(), to, info)
            };
            let endpoints = endpoints.lock();
            let pairs: HashMap<_, _> = endpoints.iter().map(|(name, guard)| (name.clone(), pair(guard))).collect();
            let (id, capabilities) = (TransportId::from_static("conformance"), claims.capabilities);
            Ok(Arc::new(Pairs { pairs, info: ConnectionInfo::new(id, "the suite's responder", capabilities) }))
        }
    }
}

const INITIALIZE: &str = "initialize";
const IS_INITIALIZED: &str = "notifications/initialized";
const INITIALIZED: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"conformance","version":"0"}}"#;

/// The beginning of a session of MCP's legacy era.
async fn initialize(connection: &dyn Connection) -> Result<()> {
    let params =
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"conformance","version":"0"}}"#;
    let request = Request::new(Subject::from_static(INITIALIZE), params).with_timeout(PATIENCE);
    connection.request(request).await?;
    connection.notify(&Subject::from_static(IS_INITIALIZED), Message::new("")).await
}

/// The first `IP:port` in an address.
fn socket_address(address: &str) -> Option<SocketAddr> {
    address.split(['/', '@', '?', ' ']).find_map(|part| part.parse().ok())
}

/// A pair of planes per endpoint, as one caller.
struct Pairs {
    pairs: HashMap<String, PlanePair>,
    info: ConnectionInfo,
}

impl Pairs {
    fn pair(&self, subject: &Subject) -> Result<&PlanePair> {
        let found = self.pairs.get(subject.as_str());
        found.ok_or_else(|| Error::no_service(format!("the suite has no endpoint {subject}")))
    }
}

#[async_trait]
impl Connection for Pairs {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.pair(&request.subject)?.open(request)
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.pair(subject)?.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        match self.pairs.values().next() {
            Some(pair) => pair.receive().await,
            None => Ok(None),
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        // Side by side: the grace is one, however many endpoints there are.
        let mut closing: Vec<_> = self.pairs.values().map(|pair| pair.close(grace)).collect();
        std::future::poll_fn(|cx| {
            closing.retain_mut(|pair| pair.as_mut().poll(cx).is_pending());
            if closing.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        Ok(())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pairs({})", self.info.peer)
    }
}

/// A connection transport's responder: accepts, receives, dispatches by subject.
struct Listening {
    transport: Arc<dyn Transport>,
    scheme: String,
    address: TransportAddress,
    router: Router,
    accepted: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arc<dyn Connection>>>,
    live: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
struct Router(Arc<parking_lot::RwLock<HashMap<String, Dispatch>>>);

impl Router {
    fn write(&self) -> parking_lot::RwLockWriteGuard<'_, HashMap<String, Dispatch>> {
        self.0.write()
    }

    fn route(&self, request: Request, reply: crate::ResponseSender) {
        let found = self.0.read().get(request.subject.as_str()).cloned();
        match found {
            Some(dispatch) => dispatch.launch(request, reply),
            None => reply.fail(PeerError::from(Error::no_service(format!("nobody serves {}", request.subject)))),
        }
    }
}

impl Listening {
    async fn start(
        transport: Arc<dyn Transport>,
        listen: &str,
        dispatches: HashMap<String, Dispatch>,
        probe: Arc<Probe>,
        claims: &Claims,
    ) -> Result<Self> {
        let (payload, has_sessions) = (claims.payload, claims.initialize);
        let target = Target::parse(listen, |_| false)?;
        let listener = transport.listen(&target).await?;
        let address = listener.local_address();
        let router = Router(Arc::new(parking_lot::RwLock::new(dispatches)));
        let (sender, accepted) = mpsc::unbounded_channel();
        let live = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn({
            let (router, live) = (router.clone(), live.clone());
            async move {
                while let Ok(Some(connection)) = listener.accept().await {
                    let connection = payload.coded(connection);
                    live.lock().push(connection.clone());
                    // Where there are sessions, what asks what we are before it opens one is nobody's peer.
                    if !has_sessions || connection.info().session.is_some() {
                        // Cases that do not look at accepted connections leave them in the queue.
                        let _ = sender.send(connection.clone());
                    }
                    tokio::spawn(serve(connection, router.clone(), probe.clone()));
                }
            }
        });
        let scheme = target.scheme().to_owned();
        let accepted = tokio::sync::Mutex::new(accepted);
        Ok(Self { transport, scheme, address, router, accepted, live, accepting })
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        let live = std::mem::take(&mut *self.live.lock());
        for connection in live {
            connection.close(grace).await?;
        }
        Ok(())
    }

    async fn kill(&self) {
        self.accepting.abort();
        let _ = self.close(Duration::ZERO).await;
    }

    async fn stop(self) {
        self.kill().await;
    }
}

async fn serve(connection: Arc<dyn Connection>, router: Router, probe: Arc<Probe>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        match inbound {
            Inbound::Request(request, reply) if request.subject.as_str() == INITIALIZE => {
                let reply = reply.send(INITIALIZED).await.map(|()| reply);
                reply.into_iter().for_each(crate::ResponseSender::close);
            }
            Inbound::Request(request, reply) => router.route(request, reply),
            Inbound::Notification(subject, _) if subject.as_str() == IS_INITIALIZED => {}
            Inbound::Notification(_, message) => probe.record(|log| log.one_way.push(message)),
        }
    }
}
