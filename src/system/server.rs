// SPDX-License-Identifier: Apache-2.0
//! The server for `/health`, `/live` and `/metrics`: HTTP/1.1, one request per connection, everything bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::health::Health;
use super::link::{Clock, Link};
use super::pages::Pages;
use crate::config::{Bind, Port, SystemConfig};
use crate::error::{Error, Result};
use crate::io::bind::bind_tcp;
use crate::telemetry::Telemetry;

/// Connections at once. The next one waits in the system's backlog until one of them is done, which [`EXCHANGE`] bounds.
const MAX_CONNECTIONS: usize = 64;

/// For the head of a request to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// For a whole connection, so that a reader who does not read keeps nothing for long.
const EXCHANGE: Duration = Duration::from_secs(15);

/// After a failed accept; most often the process is out of descriptors, and trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a runtime's health and metrics until it is dropped.
///
/// - `GET /health`: `{"status": "starting" | "ready" | "draining", "instance_id": …, "endpoints": [{"name", "in_flight"}]}`;
///   200 when ready, else 503.
/// - `GET /live`: 200 for as long as the process answers.
/// - `GET /metrics`: the Prometheus text format.
///
/// It has no authentication: bind it where operators are, which is why its default host is the loopback address.
#[derive(Debug)]
pub struct SystemServer {
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl SystemServer {
    /// Binds and serves. Port 0 lets the system choose; no port at all is an error, because then nobody asked for a server.
    ///
    /// Must run within a tokio runtime. Cancel-safe.
    pub async fn bind(config: &SystemConfig, telemetry: Telemetry, health: Health) -> Result<Self> {
        let Some(port) = config.port else {
            return Err(Error::config("the system server has no port").with_hint("set DYN_SYSTEM_PORT"));
        };
        let bind = Bind { host: config.host.clone(), port: Port::Set(port) };
        let listener = bind_tcp(&bind, "DYN_SYSTEM_PORT").await?;
        let local = listener
            .local_addr()
            .map_err(|error| Error::unexpected("the system server has no address").with_source(error))?;
        let task = tokio::spawn(accept(listener, Arc::new(Pages { telemetry, health })));
        tracing::debug!(address = %local, "the system server listens");
        Ok(Self { local, task })
    }

    /// Where it listens, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SystemServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts until it is dropped, and with it all connections.
async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((socket, _)) => {
                connections.spawn(serve(socket, pages.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the system server cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let response = pages.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let exchange = http1::Builder::new()
        .timer(Clock)
        .header_read_timeout(HEAD)
        // One request each: a scraper comes every few seconds, and a connection that waits for more would hold a place.
        .keep_alive(false)
        // A client may say that it has no more to send and still want its answer.
        .half_close(true)
        .serve_connection(Link(socket), service);
    match tokio::time::timeout(EXCHANGE, exchange).await {
        Ok(Ok(())) => {}
        // Somebody else's fault, and no reason to wake anybody.
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the system server failed"),
        Err(_) => tracing::debug!("a connection of the system server took too long"),
    }
}

#[cfg(test)]
mod tests;
