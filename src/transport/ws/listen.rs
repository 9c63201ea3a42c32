// SPDX-License-Identifier: Apache-2.0
//! The listening end: accept, secure, upgrade, each link on its own and in bounded time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::admitted::Admitted;
use super::burst::Burst;
use super::head;
use super::security::{Guard, Security};
use super::upgrade::judge;
use super::wire::Wire;
use super::{CLAIMS, HANDSHAKE_TIMEOUT, ID, is_secure, tune};
use crate::config::{Bind, Config, Port};
use crate::connection::{Connection, ConnectionInfo, Listener};
use crate::error::{Error, Result};
use crate::io::admission::{Door, Gate};
use crate::io::advertise::advertised_host;
use crate::io::bind::{bind_guarded, bind_tcp};
use crate::io::messages::{self, Settings};
use crate::io::{BoxedBytes, Principal};
use crate::target::{Target, TransportAddress};

/// Links at once. One more is told so and closed.
const MAX_LINKS: usize = 10_000;

/// Connections that wait for [`Listener::accept`]; further ones wait in their handshake.
const MAX_BACKLOG: usize = 128;

/// To read a refusal.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a link over the limit is told, where no TLS has to come first.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 37\r\n\r\ntoo many connections at this listener";

pub(super) async fn listen(
    config: &Arc<Config>,
    security: &Security,
    gate: &Arc<Gate>,
    target: &Target,
) -> Result<Box<dyn Listener>> {
    let url = target.url();
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Error::config(format!("{target} lacks a host")).with_hint("write ws://127.0.0.1:9000/path"));
    };
    let bind = Bind { host: host.trim_matches(['[', ']']).to_owned(), port: Port::Set(port) };
    let (guard, listener) = match is_secure(target) {
        true => {
            let guard = security.guard(config)?;
            (Some(guard), bind_guarded(&bind, "the URL's port").await?)
        }
        false => (None, bind_tcp(&bind, "the URL's port").await?),
    };
    let bound =
        listener.local_addr().map_err(|error| Error::unexpected("the listener has no address").with_source(error))?;
    let place = format!("{}:{}", advertised_host(config, &bind.host), bound.port());
    let house = House {
        config: config.clone(),
        gate: gate.clone(),
        door: Door::new(bound, guard.is_some()).named(&bind.host),
        path: url.path().to_owned(),
        guard,
    };
    let address = format!("{}://{place}{}", target.scheme(), house.path);
    Ok(Box::new(Listening::start(listener, house, address, MAX_LINKS)))
}

/// What every link of a listener needs.
struct House {
    config: Arc<Config>,
    gate: Arc<Gate>,
    door: Door,
    path: String,
    guard: Option<Guard>,
}

/// Drop stops it; connections that it accepted go on.
struct Listening {
    address: String,
    receiver: Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
    task: AbortHandle,
}

impl Listening {
    fn start(listener: TcpListener, house: House, address: String, max_links: usize) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_BACKLOG);
        let task = tokio::spawn(accept(listener, Arc::new(house), sender, max_links)).abort_handle();
        Self { address, receiver: Mutex::new(receiver), task }
    }
}

#[async_trait]
impl Listener for Listening {
    fn local_address(&self) -> TransportAddress {
        TransportAddress::new(ID, &self.address)
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        Ok(self.receiver.lock().await.recv().await)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, house: Arc<House>, sender: mpsc::Sender<Arc<dyn Connection>>, max_links: usize) {
    let places = Arc::new(Semaphore::new(max_links));
    let mut pause = Duration::from_millis(5);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = Duration::from_millis(5);
                let Ok(place) = places.clone().try_acquire_owned() else {
                    refuse(&stream, &house, max_links);
                    continue;
                };
                tokio::spawn(welcome(stream, peer, house.clone(), sender.clone(), place));
            }
            Err(error) => {
                // Out of descriptors, mostly. Waiting is what helps; spinning is what hurts.
                tracing::warn!(target: "biplane::ws", "accept failed, trying again in {pause:?}: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

fn refuse(stream: &TcpStream, house: &House, max_links: usize) {
    tracing::warn!(target: "biplane::ws", "{max_links} links are open: one more was refused");
    if house.guard.is_none() {
        // A fresh socket's send buffer is empty; whoever does not read it sees the link close.
        let _ = stream.try_write(FULL);
    }
}

async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    house: Arc<House>,
    sender: mpsc::Sender<Arc<dyn Connection>>,
    place: OwnedSemaphorePermit,
) {
    tune(&stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, &house)).await {
        Ok(Some((stream, principal))) => {
            let config = &house.config;
            let limits = super::settings(config.limits.max_message_size);
            let socket = WebSocketStream::from_raw_socket(Burst::new(stream), Role::Server, Some(limits)).await;
            let wire = Wire::new(socket, config.limits.write_timeout, Some(place));
            let info = ConnectionInfo::new(ID, peer.to_string(), CLAIMS);
            let settings = Settings::listener(config.limits.max_message_size);
            let connection = messages::connection(wire, info, settings);
            let connection = match principal {
                Some(principal) => Arc::new(Admitted::new(connection, &principal)),
                None => connection,
            };
            // Whoever cannot be handed over is dropped, which closes it.
            let _ = sender.send(connection).await;
        }
        Ok(None) => {}
        Err(_) => tracing::debug!(target: "biplane::ws", %peer, "no handshake in time"),
    }
}

/// The upgraded stream and who is at its other end; `None` if there is no link, which the peer was told.
async fn shake_hands(stream: TcpStream, house: &House) -> Option<(BoxedBytes, Option<Principal>)> {
    let mut stream: BoxedBytes = match &house.guard {
        None => Box::new(stream),
        Some(guard) => match guard.accepted(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(target: "biplane::ws", "no TLS session: {error}");
                return None;
            }
        },
    };
    let request = head::read(&mut stream).await.ok()?;
    let judged = request.and_then(|request| judge(&request, &house.path, &house.door, &house.gate.admission()));
    match judged {
        Ok(granted) => {
            stream.write_all(granted.response.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            Some((stream, granted.principal))
        }
        Err(refusal) => {
            tracing::debug!(target: "biplane::ws", "refused with {}: {}", refusal.status, refusal.reason);
            let _ = tokio::time::timeout(FAREWELL, refusal.tell(&mut stream)).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::io::admission::Admission;

    async fn start(max_links: usize) -> (Listening, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr().unwrap();
        let house = House {
            config: Arc::new(Config::defaults().unwrap()),
            gate: Arc::new(Gate::new(Admission::default())),
            door: Door::new(bound, false),
            path: "/".to_owned(),
            guard: None,
        };
        (Listening::start(listener, house, format!("ws://{bound}/"), max_links), bound)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn upgrade(bound: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(bound).await.unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {bound}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn one_link_too_many_is_told_so_and_a_place_is_free_again_when_its_link_ends() {
        let (listening, bound) = start(1).await;
        let first = upgrade(bound).await;
        let connection = listening.accept().await.unwrap().unwrap();
        let told = answer(&mut TcpStream::connect(bound).await.unwrap()).await;
        assert!(told.starts_with("HTTP/1.1 503 ") && told.ends_with("at this listener"), "{told}");
        let length = told.split("\r\n\r\n").nth(1).unwrap().len();
        assert!(told.contains(&format!("content-length: {length}\r\n")), "{told}");

        drop(first);
        assert!(connection.receive().await.unwrap().is_none());
        loop {
            // The place is given back by the link's own task, a moment later.
            let _second = upgrade(bound).await;
            if let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::from_millis(50), listening.accept()).await {
                break;
            }
        }
    }

    /// Waits for the real handshake timeout: its clock is the socket's.
    #[tokio::test]
    async fn whoever_does_not_ask_is_closed() {
        let (_listening, bound) = start(10).await;
        let mut silent = TcpStream::connect(bound).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        assert_eq!(tokio::time::timeout(HANDSHAKE_TIMEOUT * 6, answer(&mut silent)).await.unwrap(), "");
    }
}
