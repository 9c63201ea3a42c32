// SPDX-License-Identifier: Apache-2.0
//! `ws`: connections by `ws://host:port/path` and `wss://`, one JSON-RPC message per WebSocket message.
//!
//! The wire is RFC 6455 with the subprotocol `mcp`; the door of messages ([`messages`]) makes connections of it. What
//! stands here: the upgrade on both ends, who may come in, limits, signs of life, and how a link ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::capability::TransportCapabilities;
use crate::config::Config;
use crate::connection::{Connection, Listener, Transport};
use crate::error::{Error, Phase, Result, Retry};
use crate::io::admission::Gate;
use crate::io::messages;
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::{Target, TransportId};

mod admitted;
mod burst;
mod closing;
mod dial;
mod head;
mod listen;
mod security;
#[cfg(test)]
mod tests;
mod upgrade;
mod wire;

use security::Security;

/// What both ends speak within the WebSocket.
const SUBPROTOCOL: &str = "mcp";

/// To connect by TLS and to ask for the WebSocket.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What JSON-RPC adds to the params or the result that the message limit is about.
const ENVELOPE: usize = 8 << 10;

/// Bytes of one frame that we send: as much as a link keeps for itself while it writes.
const OWN_FRAME: usize = 64 << 10;

/// Bytes that an idle link keeps to read into, and to write from. Bursts are gathered below, see [`burst`].
const BUFFER: usize = 4 << 10;

const ID: TransportId = TransportId::from_static("ws");

const CLAIMS: TransportCapabilities = messages::CLAIMS;

/// Connections by `ws:` and `wss:`.
pub const CONNECTION: TransportRegistration =
    TransportRegistration::connection("ws", build_transport).schemes(&["ws", "wss"]).capabilities(CLAIMS).priority(30);

/// All of it, for explicit registration.
pub const REGISTRATIONS: [TransportRegistration; 1] = [CONNECTION];

crate::register_transport!(CONNECTION);

fn build_transport(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    let config = context.config().clone();
    Ok(Arc::new(WebSockets { security: Security::new(&config), gate: Gate::of(context)?, config }))
}

struct WebSockets {
    config: Arc<Config>,
    security: Security,
    gate: Arc<Gate>,
}

#[async_trait]
impl Transport for WebSockets {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        check_scheme(target)?;
        let limit = self.config.limits.connect_timeout;
        let dialled = tokio::time::timeout(limit, dial::dial(&self.config, &self.security, target));
        let dialled = dialled.await.unwrap_or_else(|_| {
            Err(Error::connect(format!("no WebSocket within {} s", limit.as_secs_f32()))
                .with_hint("check that it is up and reachable; BIPLANE_CONNECT_TIMEOUT sets the limit"))
        });
        dialled.map_err(|error| {
            error.with_transport(ID).with_target(target.to_string()).with_phase(Phase::Connect).with_retry(Retry::Safe)
        })
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        check_scheme(target)?;
        let listening = listen::listen(&self.config, &self.security, &self.gate, target).await;
        listening.map_err(|error| error.with_transport(ID).with_target(target.to_string()).with_phase(Phase::Listen))
    }
}

fn check_scheme(target: &Target) -> Result<()> {
    match target.scheme() {
        "ws" | "wss" => Ok(()),
        _ => Err(Error::unsupported(format!("ws takes ws:// and wss:// only, not {target}"))),
    }
}

fn is_secure(target: &Target) -> bool {
    target.scheme() == "wss"
}

/// A frame may be as large as a message: the common implementations send each message in one, and a message in many small
/// frames takes as much memory.
fn settings(max_message: usize) -> WebSocketConfig {
    let max_message = max_message.saturating_add(ENVELOPE);
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_frame_size(Some(max_message))
        .max_message_size(Some(max_message))
}

/// No delay, since messages are written together by themselves.
fn tune(stream: &TcpStream) {
    // A socket that is gone already fails at its first read, which is where it is reported.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_keepalive(true);
}
