// SPDX-License-Identifier: Apache-2.0
//! What a transport brings to the suite.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::payload::Payload;
use crate::capability::TransportCapabilities;
use crate::config::Config;
use crate::connection::Transport;
use crate::error::Result;
use crate::plane::{RequestPlaneClient, RequestPlaneServer, ResponsePlane};
use crate::registry::TransportRegistration;
use crate::target::TransportId;

/// A transport, or a pair of planes, as the suite sees it. [`RegisteredHarness`](super::RegisteredHarness) makes one of
/// registrations; write your own where the parts need more than a configuration, such as a broker.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The first part of every case's name.
    fn name(&self) -> String;

    /// What is claimed. Cases outside the claims are ignored, with the reason.
    fn claims(&self) -> Claims;

    /// The registrations whose variables and sections the configuration may have.
    fn registrations(&self) -> Vec<TransportRegistration> {
        Vec::new()
    }

    /// Settings beside the suite's own (loopback, port 0, messages of at most 256 KiB), as dotted paths and text:
    /// `("transport.acme.port", "0")`.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Fresh parts for one case, which must not share state with those of another.
    async fn start(&self, config: Arc<Config>) -> Result<Parts>;
}

#[async_trait]
impl Harness for Box<dyn Harness> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn claims(&self) -> Claims {
        (**self).claims()
    }

    fn registrations(&self) -> Vec<TransportRegistration> {
        (**self).registrations()
    }

    fn settings(&self) -> Vec<(String, String)> {
        (**self).settings()
    }

    async fn start(&self, config: Arc<Config>) -> Result<Parts> {
        (**self).start(config).await
    }
}

/// What a harness claims, beyond the capabilities of its registrations.
#[derive(Clone, Debug)]
pub struct Claims {
    /// As a caller sees the whole: for a pair, what both planes allow together; the rendezvous are those that the pair can
    /// use.
    pub capabilities: TransportCapabilities,
    /// A request may carry many items: what `exchange: Duplex` of a request plane says.
    pub uploads: bool,
    /// A connection transport; otherwise planes.
    pub connection: bool,
    /// The response plane, if answers are not inline.
    pub response: Option<TransportId>,
    /// Items of an answer keep their headers.
    pub item_headers: bool,
    /// [`Connection::notify`](crate::Connection::notify) works.
    pub one_way: bool,
    /// The responder learns of a request's deadline.
    pub deadlines: bool,
    /// What bodies are.
    pub payload: Payload,
    /// A connection begins with MCP's `initialize`, which the fixture sends and answers.
    pub initialize: bool,
    /// The addresses contain an `IP:port` that a TCP proxy can stand before.
    pub over_tcp: bool,
}

impl Claims {
    /// Whether answers go through a response plane.
    pub fn response_plane(&self) -> bool {
        self.response.is_some()
    }
}

/// The parts that a case is run with.
pub enum Parts {
    /// A transport that dials and listens.
    Connection {
        /// Both ends.
        transport: Arc<dyn Transport>,
        /// The URL to listen on, with a port that the system chooses. Its scheme is what the suite dials with.
        listen: String,
    },
    /// Planes.
    Planes(PlaneParts),
}

/// Planes of a caller and of a responder.
pub struct PlaneParts {
    /// Sends requests.
    pub client: Arc<dyn RequestPlaneClient>,
    /// Receives them.
    pub server: Arc<dyn RequestPlaneServer>,
    /// The caller's response planes.
    pub caller: HashMap<TransportId, Arc<dyn ResponsePlane>>,
    /// The responder's response planes.
    pub responder: HashMap<TransportId, Arc<dyn ResponsePlane>>,
}
