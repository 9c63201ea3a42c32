// SPDX-License-Identifier: Apache-2.0
//! NATS as a request plane: requests are published, acknowledged through an inbox, answered on any response plane.
//!
//! Link it with `use biplane_nats as _;`, or hand [`REQUEST`] to a registry's builder. `NATS_SERVER` elects it.
//!
//! Every endpoint has two NATS subjects: `biplane.rpc.<service>`, which its instances share as one queue group, and
//! `biplane.rpc.<service>.<instance>`, which is the instance's own and what discovery publishes. The process has one
//! connection to the broker, made on first use and shared by caller and responder; it heals itself.
//!
//! What the plane does not do is refused before anything is sent: answers on the request's own link
//! ([`ReplyTo::Inline`](biplane::plane::ReplyTo::Inline)) and streaming request bodies.

#![forbid(unsafe_code)]

mod ack;
mod client;
mod config;
mod connection;
mod endpoint;
mod failure;
mod inbox;
mod link;
mod server;
mod subject;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

use std::sync::Arc;

use biplane::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use biplane::plane::RequestPlane;
use biplane::registry::{BuildContext, TransportRegistration};
use biplane::{PlaneType, Result, TransportId};

use crate::client::NatsRequestClient;
use crate::config::{NatsConfig, Settings};
use crate::connection::Connection;
use crate::server::NatsRequestServer;

pub use crate::subject::group_address;

/// The id of the plane.
const ID: &str = "nats";

/// What a nats-server takes unless its configuration says otherwise: 1 MiB, of which headers use a part. A server with
/// another `max_payload` is honoured when a message is sent; a constant can only speak of the default.
const MAX_MESSAGE_SIZE: u64 = (1 << 20) - (16 << 10);

const CAPABILITIES: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Unary,
    sharing: Sharing::Any,
    rendezvous: Rendezvous::NONE,
    persistent_connections: true,
    server_push: false,
    max_message_size: Some(MAX_MESSAGE_SIZE),
};

/// The request plane `nats`.
pub const REQUEST: TransportRegistration = TransportRegistration::request(ID, build)
    .schemes(&["nats"])
    .priority(30)
    .capabilities(CAPABILITIES)
    .env(config::ENV)
    .elected_by(config::SERVER_VARIABLE)
    .origin(concat!(env!("CARGO_PKG_NAME"), "@", env!("CARGO_PKG_VERSION")));

biplane::register_transport!(REQUEST);

fn build(context: &BuildContext) -> Result<RequestPlane> {
    let settings = Settings::parse(context.section::<NatsConfig>(ID)?)?;
    let limits = &context.config().limits;
    let connection = context.shared(|| {
        let name = format!("biplane {:016x}", context.instance_id());
        Ok(Connection::new(settings.clone(), limits.connect_timeout, name))
    })?;
    let metrics = context.telemetry().plane(&TransportId::NATS, PlaneType::Request);
    let server = NatsRequestServer::new(connection.clone(), &settings, limits, context.instance_id(), metrics);
    Ok(RequestPlane {
        client: Arc::new(NatsRequestClient::new(connection, settings.ack_timeout)),
        server: Arc::new(server),
    })
}
