// SPDX-License-Identifier: Apache-2.0
//! `http`: MCP over HTTP, and the planes that plain `curl`, proxies and browsers understand.
//!
//! * Request plane: `POST {root}/{subject}`; the answer is the response's body, or goes where `x-biplane-reply-to` says.
//! * Response plane: the responder holds the answer and the caller fetches it, `GET {root}/{token}`.
//! * `DELETE {root}/{token}?how=stop|kill` controls an answer of either kind.
//!
//! * Connections: [`StreamableHttp`] (`http`) and [`TwoEndpointHttp`] (`sse`), as clients and as servers. MCP servers are
//!   anybody's, so clear text is HTTP/1.1 there; under TLS the handshake agrees on the version.
//!
//! Servers speak HTTP/1.1 and HTTP/2 (prior knowledge) on one port; callers speak what `BIPLANE_HTTP_VERSION` says. Items
//! are written as [`proto::body`](crate::proto::body) has it. Requests carry one message: there is no streaming upwards.

mod accept;
mod answer;
mod body;
mod call;
mod control;
mod date;
mod endpoint;
mod event_stream;
mod gather;
mod head;
mod heartbeat;
mod http2_client;
mod http2_response;
mod http2_server;
mod idle;
mod incoming;
mod known;
mod link;
mod links;
mod listen;
mod listening;
mod live;
mod long_stream;
mod names;
mod outbox;
mod place;
mod reach;
mod refusal;
mod reply;
mod request_client;
mod request_server;
mod response_client;
mod response_server;
mod secure;
mod sniff;
mod speech;
mod streamable;
mod two_endpoint;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::known::Known;
use self::links::Links;
use self::listen::{Faces, Listens};
use crate::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use crate::connection::Transport;
use crate::error::Result;
use crate::message::RequestContext;
use crate::plane::{Opened, PendingResponse, RequestPlane, ResponseConnectionInfo, ResponsePlane};
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::{TransportAddress, TransportId};

pub use self::listen::{ListenSettings, Revisions};
pub use self::request_client::HttpRequestClient;
pub use self::request_server::HttpRequestServer;
pub use self::response_client::HttpResponseClient;
pub use self::response_server::HttpResponseServer;
pub use self::streamable::StreamableHttp;
pub use self::two_endpoint::TwoEndpointHttp;

/// Of the planes: one link carries requests and answers.
const PLANES: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Streaming,
    sharing: Sharing::Any,
    rendezvous: Rendezvous::INLINE,
    persistent_connections: true,
    server_push: false,
    max_message_size: None,
};

const REQUEST: TransportCapabilities = TransportCapabilities { exchange: Exchange::Unary, ..PLANES };

const RESPONSE: TransportCapabilities = TransportCapabilities { rendezvous: Rendezvous::FETCH, ..PLANES };

/// Of connections to MCP servers: they speak JSON-RPC, which is nothing that a plane could be made of.
const CONNECTION: TransportCapabilities =
    TransportCapabilities { exchange: Exchange::Unary, rendezvous: Rendezvous::NONE, server_push: true, ..PLANES };

/// MCP by URL: Streamable HTTP.
pub const HTTP_CONNECTION: TransportRegistration = TransportRegistration::connection("http", build_connection)
    .schemes(&["http", "https"])
    .priority(20)
    .capabilities(CONNECTION);

/// The id of the older transport.
const SSE: TransportId = TransportId::from_static("sse");

/// MCP by URL: the transport of 2024-11-05, for servers that speak nothing else.
pub const SSE_CONNECTION: TransportRegistration = TransportRegistration::connection("sse", build_two_endpoint)
    .schemes(&["http", "https"])
    .priority(25)
    .capabilities(CONNECTION);

/// The request plane.
pub const HTTP_REQUEST: TransportRegistration =
    TransportRegistration::request("http", build_request).schemes(&["http"]).priority(20).capabilities(REQUEST);

/// The response plane.
pub const HTTP_RESPONSE: TransportRegistration =
    TransportRegistration::response("http", build_response).schemes(&["http"]).priority(20).capabilities(RESPONSE);

crate::register_transport!(HTTP_CONNECTION, SSE_CONNECTION, HTTP_REQUEST, HTTP_RESPONSE);

fn links(context: &BuildContext) -> Result<Arc<Links>> {
    context.shared(|| Links::new(context.config().clone(), context.telemetry().clone()))
}

fn build_connection(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    let known = context.shared(|| Ok(Known::default()))?;
    let listens = Listens::new(context, Faces::Streamable, TransportId::HTTP)?;
    Ok(Arc::new(StreamableHttp::new(links(context)?, known, listens)))
}

fn build_two_endpoint(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    let known = context.shared(|| Ok(Known::default()))?;
    let listens = Listens::new(context, Faces::TwoEndpoint, SSE)?;
    Ok(Arc::new(TwoEndpointHttp::new(links(context)?, known, listens)))
}

fn build_request(context: &BuildContext) -> Result<RequestPlane> {
    Ok(RequestPlane {
        client: Arc::new(HttpRequestClient::new(links(context)?)),
        server: Arc::new(HttpRequestServer::new(context.config().clone())),
    })
}

fn build_response(context: &BuildContext) -> Result<Arc<dyn ResponsePlane>> {
    Ok(Arc::new(HttpResponsePlane {
        client: HttpResponseClient::new(links(context)?),
        server: HttpResponseServer::new(context.config().clone()),
    }))
}

/// Both ends of the response plane.
struct HttpResponsePlane {
    client: HttpResponseClient,
    server: HttpResponseServer,
}

#[async_trait]
impl ResponsePlane for HttpResponsePlane {
    async fn expect(&self, context: &RequestContext, _to: &TransportAddress) -> Result<PendingResponse> {
        Ok(self.client.expect(context))
    }

    async fn create_response_stream(&self, context: &RequestContext, _info: &ResponseConnectionInfo) -> Result<Opened> {
        self.server.create_response_stream(context).await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.server.close(grace).await;
        Ok(())
    }
}
