// SPDX-License-Identifier: Apache-2.0
//! `tcp`: connections, the request plane and the call-home response plane over TCP.
//!
//! All three are the mux of `docs/wire.md` through the byte door of [`io`](crate::io); what is TCP's own stands here: how to
//! dial, how to listen, which socket options, and TLS where `DYN_TCP_TLS_*` says so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};

use crate::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use crate::config::{Bind, Config, Port};
use crate::connection::Transport;
use crate::error::{Error, Result};
use crate::io::advertise::advertised_host;
use crate::io::bind::{bind_guarded, bind_tcp};
use crate::io::tune::tune;
use crate::io::{
    BoxedBytes, ByteListener, ByteTransport, Door, Links, MuxLink, MuxRequestClient, MuxRequestServer, MuxResponsePlane,
};
use crate::plane::{RequestPlane, ResponsePlane};
use crate::pool::Pool;
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::{Target, TransportId};
use crate::telemetry::PoolFamily;

#[cfg(not(feature = "tls"))]
mod clear_text;
#[cfg(feature = "tls")]
mod security;

#[cfg(not(feature = "tls"))]
use clear_text::Security;
#[cfg(feature = "tls")]
use security::Security;

/// Sends requests over TCP.
pub type TcpRequestClient = MuxRequestClient;
/// Serves requests over TCP.
pub type TcpRequestServer = MuxRequestServer;
/// The caller's listener for answers and the responder's pool of links to it.
pub type TcpStreamServer = MuxResponsePlane;
/// The responder's links to its callers.
pub type TcpResponseConnectionPool = Pool<Arc<MuxLink>>;

const CLAIMS: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Duplex,
    sharing: Sharing::Any,
    rendezvous: Rendezvous { inline: true, call_home: true, fetch: false },
    persistent_connections: true,
    server_push: true,
    max_message_size: None,
};

/// Connections by `tcp://host:port`.
pub const CONNECTION: TransportRegistration =
    TransportRegistration::connection("tcp", build_transport).schemes(&["tcp"]).capabilities(CLAIMS).priority(10);

/// The request plane.
pub const REQUEST: TransportRegistration = TransportRegistration::request("tcp", build_request_plane)
    .schemes(&["tcp"])
    .capabilities(TransportCapabilities { rendezvous: Rendezvous::INLINE, server_push: false, ..CLAIMS })
    .priority(10);

/// The response plane.
pub const RESPONSE: TransportRegistration = TransportRegistration::response("tcp", build_response_plane)
    .schemes(&["tcp"])
    .capabilities(TransportCapabilities { rendezvous: Rendezvous::CALL_HOME, server_push: false, ..CLAIMS })
    .priority(10);

/// All of them, for explicit registration.
pub const REGISTRATIONS: [TransportRegistration; 3] = [CONNECTION, REQUEST, RESPONSE];

crate::register_transport!(CONNECTION, REQUEST, RESPONSE);

fn build_transport(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    Ok(links(context).into_transport(CLAIMS))
}

fn build_request_plane(context: &BuildContext) -> Result<RequestPlane> {
    Ok(links(context).into_request_plane(context))
}

fn build_response_plane(context: &BuildContext) -> Result<Arc<dyn ResponsePlane>> {
    Ok(links(context).response_plane(context, PoolFamily::Tcp))
}

fn links(context: &BuildContext) -> Links {
    let config = context.config();
    Links::new(Tcp { config: config.clone(), security: Security::new(config.tcp.tls.as_ref()) }, config)
}

#[derive(Debug)]
struct Tcp {
    config: Arc<Config>,
    security: Security,
}

#[async_trait]
impl ByteTransport for Tcp {
    fn id(&self) -> TransportId {
        TransportId::TCP
    }

    fn address(&self, target: &Target) -> Result<String> {
        if target.scheme() != "tcp" {
            return Err(Error::unsupported(format!("tcp dials tcp:// only, not {target}")));
        }
        target.authority()
    }

    async fn dial(&self, address: &str) -> Result<BoxedBytes> {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::ConnectionRefused => "nobody listens there: check that it is up, and the port",
                _ => "check the host name and that the network lets it through",
            };
            Error::connect("the connection failed").with_source(error).with_hint(hint)
        })?;
        tune(&stream, &self.config)
            .map_err(|error| Error::connect("the socket was lost at once").with_source(error))?;
        self.security.dialled(stream, address).await
    }

    async fn bind(&self, door: Door<'_>) -> Result<Box<dyn ByteListener>> {
        let (bind, variable) = match door {
            Door::Requests => (self.config.tcp.request.clone(), "DYN_TCP_REQUEST_PORT"),
            Door::Responses => (self.config.tcp.response.clone(), "DYN_TCP_RESPONSE_STREAM_PORT"),
            Door::At(address) => (parse(address)?, "the URL's port"),
        };
        let listener = match self.security.prepare_to_accept()? {
            true => bind_guarded(&bind, variable).await?,
            false => bind_tcp(&bind, variable).await?,
        };
        let port = listener
            .local_addr()
            .map_err(|error| Error::unexpected("the listener has no address").with_source(error))?
            .port();
        let host = advertised_host(&self.config, &bind.host);
        Ok(Box::new(Listening { listener, address: format!("{host}:{port}"), config: self.config.clone() }))
    }

    async fn secure(&self, accepted: BoxedBytes) -> Result<BoxedBytes> {
        self.security.accepted(accepted).await
    }
}

fn parse(address: &str) -> Result<Bind> {
    let parsed = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parsed.ok_or_else(|| Error::config(format!("{address:?} is no host:port")))?;
    Ok(Bind { host: host.to_owned(), port: Port::Set(port) })
}

struct Listening {
    listener: TcpListener,
    address: String,
    config: Arc<Config>,
}

#[async_trait]
impl ByteListener for Listening {
    fn address(&self) -> String {
        self.address.clone()
    }

    async fn accept(&self) -> io::Result<(BoxedBytes, String)> {
        let (stream, peer): (TcpStream, SocketAddr) = self.listener.accept().await?;
        // A socket that is gone already fails at its first read, which is where it is reported.
        let _ = tune(&stream, &self.config);
        Ok((Box::new(stream), peer.to_string()))
    }
}
