// SPDX-License-Identifier: Apache-2.0
//! `mem`: every plane within one process, and the reference that other transports are compared with.
//!
//! Names live in a [`MemNetwork`], one per runtime; nothing is global. Two runtimes of a process that should reach each
//! other are given the same network:
//!
//! ```
//! # use biplane::transport::mem::MemNetwork; use biplane::config::Limits;
//! # fn parts(limits: &Limits) {
//! let network = MemNetwork::new();
//! let (ours, theirs) = (network.transport(limits), network.transport(limits));
//! # }
//! ```
//!
//! Addresses are `IDENTITY@NAME`, where the identity is the network's: an address from another process or runtime is
//! refused with `Unsupported` instead of being looked up in the wrong place. URLs (`mem://NAME`, `mem://IDENTITY@NAME`)
//! and addresses take the fault options of [`MemOptions`] as a query, so that error paths can be tried without a network.

mod connection;
mod faulty;
mod network;
mod options;
mod request;
mod response;

use std::sync::Arc;

use crate::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use crate::config::Limits;
use crate::connection::Transport;
use crate::error::Result;
use crate::plane::{RequestPlane, ResponsePlane};
use crate::registry::{BuildContext, TransportRegistration};

pub use self::network::MemNetwork;
pub use self::options::MemOptions;

const EVERYTHING: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Duplex,
    sharing: Sharing::Any,
    rendezvous: Rendezvous::INLINE,
    persistent_connections: true,
    server_push: true,
    max_message_size: None,
};

/// Connections: `mem://NAME`.
pub const CONNECTION: TransportRegistration =
    TransportRegistration::connection("mem", connection).schemes(&["mem"]).priority(40).capabilities(EVERYTHING);

/// The request plane; answers inline or by any response plane.
pub const REQUEST: TransportRegistration = TransportRegistration::request("mem", request)
    .schemes(&["mem"])
    .priority(40)
    .capabilities(TransportCapabilities { server_push: false, ..EVERYTHING });

/// The response plane, by call-home.
pub const RESPONSE: TransportRegistration = TransportRegistration::response("mem", response)
    .priority(40)
    .capabilities(TransportCapabilities { rendezvous: Rendezvous::CALL_HOME, server_push: false, ..EVERYTHING });

/// All of them, for explicit registration.
pub const REGISTRATIONS: [TransportRegistration; 3] = [CONNECTION, REQUEST, RESPONSE];

crate::register_transport!(CONNECTION, REQUEST, RESPONSE);

impl MemNetwork {
    /// Connections by name on this network.
    pub fn transport(&self, limits: &Limits) -> Arc<dyn Transport> {
        Arc::new(connection::MemTransport::new(self.clone(), limits))
    }

    /// The request plane on this network.
    pub fn request_plane(&self, limits: &Limits) -> RequestPlane {
        request::plane(self, limits)
    }

    /// The response plane on this network.
    pub fn response_plane(&self, limits: &Limits) -> Arc<dyn ResponsePlane> {
        Arc::new(response::MemResponsePlane::new(self.clone(), limits))
    }
}

fn connection(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    Ok(network(context)?.transport(&context.config().limits))
}

fn request(context: &BuildContext) -> Result<RequestPlane> {
    Ok(network(context)?.request_plane(&context.config().limits))
}

fn response(context: &BuildContext) -> Result<Arc<dyn ResponsePlane>> {
    Ok(network(context)?.response_plane(&context.config().limits))
}

fn network(context: &BuildContext) -> Result<Arc<MemNetwork>> {
    context.shared(|| Ok(MemNetwork::new()))
}

/// Bytes that wait between a writer and its reader: the same as a [`DispatchLimits`](crate::DispatchLimits) gives.
const CREDIT: usize = 256 << 10;
