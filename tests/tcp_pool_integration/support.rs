// SPDX-License-Identifier: Apache-2.0
//! A worker with the handlers that the tests call, callers, and peers that speak the wire by hand.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use biplane::capability::TransportCapabilities;
use biplane::config::{Inputs, load};
use biplane::pair::PlanePair;
use biplane::plane::{EndpointGuard, RequestPlaneServer, ResponsePlane, ResponsePlanes};
use biplane::proto::prologue::{self, Prologue};
use biplane::registry::{BuildContext, TransportRegistry};
use biplane::telemetry::Telemetry;
use biplane::{
    Connection, ConnectionInfo, Dispatch, DispatchLimits, Error, Request, ResponseSender, ResponseStream, Result,
    Subject, TransportAddress, TransportId, handler_fn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) type Env<'a> = &'a [(&'a str, &'a str)];

/// Turns a hang into a failure; no test measures time.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("hangs")
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), holding).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

/// The tcp transport of one runtime.
pub(crate) struct Side {
    pub(crate) registry: TransportRegistry,
    pub(crate) telemetry: Telemetry,
}

impl Side {
    /// The environment's settings, then `env`, on loopback ports that the system chooses.
    pub(crate) fn new(env: Env<'_>) -> Self {
        let process = std::env::vars().filter(|(name, _)| name.starts_with("DYN_TCP_"));
        let own = env.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let fixed = ["request.host=127.0.0.1", "request.port=0", "response.host=127.0.0.1", "response.port=0"];
        let fixed = fixed.iter().filter_map(|setting| setting.split_once('='));
        let inputs = Inputs {
            file: None,
            env: process.chain(own).collect(),
            overrides: fixed.map(|(key, value)| (format!("transport.tcp.{key}"), value.to_owned())).collect(),
        };
        let registry = TransportRegistry::builder().collected().unwrap().build().unwrap();
        let config = load(inputs, registry.registrations()).unwrap().config;
        let telemetry = Telemetry::default();
        let context = BuildContext::new(Arc::new(config), telemetry.clone(), 1);
        Self { registry: registry.bind(context), telemetry }
    }

    pub(crate) fn response_plane(&self) -> Arc<dyn ResponsePlane> {
        self.registry.get_response_client(&TransportId::TCP).unwrap()
    }

    /// A connection to the endpoints at `to`: answers come back on the request's link.
    pub(crate) fn inline(&self, to: &TransportAddress) -> PlanePair {
        self.pair(to, None)
    }

    /// The same with answers that call home.
    pub(crate) fn calling_home(&self, to: &TransportAddress) -> PlanePair {
        self.pair(to, Some((TransportId::TCP, self.response_plane())))
    }

    fn pair(&self, to: &TransportAddress, response: Option<(TransportId, Arc<dyn ResponsePlane>)>) -> PlanePair {
        let client = self.registry.get_request_client(&TransportId::TCP).unwrap();
        let info = ConnectionInfo::new(TransportId::TCP, &to.address, TransportCapabilities::default());
        PlanePair::new(client, response, to.clone(), info)
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.telemetry.render();
        let lines = page.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    pub(crate) fn pool_created(&self) -> f64 {
        self.metric("tcp_pool_connections_created_total")
    }

    pub(crate) fn pool_reused(&self) -> f64 {
        self.metric("tcp_pool_connections_reused_total")
    }
}

struct Planes(Arc<dyn ResponsePlane>);

impl ResponsePlanes for Planes {
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        if *transport == TransportId::TCP {
            return Ok(self.0.clone());
        }
        Err(Error::refused(format!("{transport} is not here")))
    }
}

/// A responder.
///
/// `echo` gives the message back; `count` gives as many items as its message says, each its number in eight bytes; `flood`
/// gives items of 64 KiB for ever; `hang` never answers; `wait` answers once [`Worker::released`] holds a permit; `sizes`
/// tries an item of as many bytes as its message says, then tells how that went.
pub(crate) struct Worker {
    pub(crate) side: Side,
    pub(crate) address: TransportAddress,
    pub(crate) server: Arc<dyn RequestPlaneServer>,
    pub(crate) running: Arc<AtomicUsize>,
    pub(crate) released: Arc<tokio::sync::Semaphore>,
    _guards: Vec<EndpointGuard>,
}

impl Worker {
    pub(crate) async fn start(env: Env<'_>) -> Self {
        let side = Side::new(env);
        let server = side.registry.get_request_server(&TransportId::TCP).unwrap();
        let running = Arc::new(AtomicUsize::new(0));
        let released = Arc::new(tokio::sync::Semaphore::new(0));
        let mut guards = Vec::new();
        for name in ["echo", "count", "flood", "hang", "wait", "sizes"] {
            let (running, released) = (running.clone(), released.clone());
            let handler = handler_fn(move |request: Request, reply: ResponseSender| {
                let (running, released) = (Running::new(&running), released.clone());
                async move {
                    let outcome = answer(name, request, &reply, &released).await;
                    drop(running);
                    outcome
                }
            });
            let dispatch = Dispatch::new(handler, Arc::new(Planes(side.response_plane())), DispatchLimits::default());
            guards.push(server.register_endpoint(Subject::from_static(name), dispatch).await.unwrap());
        }
        let address = guards[0].address().clone();
        Self { side, address, server, running, released, _guards: guards }
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.address.address.parse().unwrap()
    }
}

/// A handler that runs, counted.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(name: &str, request: Request, reply: &ResponseSender, released: &tokio::sync::Semaphore) -> Result<()> {
    match name {
        "echo" => reply.send(request.message).await,
        "count" => {
            let count: u64 = request.message.text()?.parse().map_err(|_| Error::protocol("no number"))?;
            for number in 0..count {
                reply.send(number.to_be_bytes().to_vec()).await?;
            }
            Ok(())
        }
        "flood" => loop {
            reply.send(vec![7; 64 << 10]).await?;
        },
        "wait" => {
            let _permit = released.acquire().await.map_err(|_| Error::closed("the test is over"))?;
            reply.send(request.message).await
        }
        "sizes" => {
            let size: usize = request.message.text()?.parse().map_err(|_| Error::protocol("no number"))?;
            let outcome = reply.send(vec![7; size]).await;
            reply.send(format!("{:?}", outcome.map_err(|error| error.kind()))).await
        }
        _ => pending().await,
    }
}

pub(crate) fn ask(subject: &'static str, body: impl Into<biplane::Message>) -> Request {
    Request::new(Subject::from_static(subject), body).with_timeout(Duration::from_secs(50))
}

/// Echoes `body`; panics if anything else comes back.
pub(crate) async fn echo(connection: &dyn Connection, body: &str) {
    let answer = connection.request(ask("echo", body.to_owned())).await.unwrap();
    assert_eq!(answer.text().unwrap(), body);
}

/// Everything that comes, and the error that ended it.
pub(crate) async fn drain(stream: &mut ResponseStream) -> (u64, Option<Error>) {
    let mut seen = 0;
    loop {
        match stream.next().await {
            Some(Ok(_)) => seen += 1,
            Some(Err(error)) => return (seen, Some(error)),
            None => return (seen, None),
        }
    }
}

/// A peer whose prologue was exchanged and that speaks by hand from then on.
pub(crate) async fn shake_hands(mut socket: TcpStream) -> TcpStream {
    socket.write_all(&Prologue::default().encode()).await.unwrap();
    let mut theirs = [0; prologue::LEN];
    socket.read_exact(&mut theirs).await.unwrap();
    Prologue::decode(&theirs).unwrap();
    socket
}

pub(crate) async fn raw_client(address: SocketAddr) -> TcpStream {
    shake_hands(TcpStream::connect(address).await.unwrap()).await
}
