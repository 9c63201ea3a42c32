// SPDX-License-Identifier: Apache-2.0
//! `lines`: JSON-RPC messages as lines over TCP and Unix sockets, the framing that MCP's specification recommends for
//! streams of bytes.
//!
//! `lines+tcp://host:port` and `lines+unix:///path`. The prefix tells it from our own multiplexed links, which have the
//! same schemes; `MCP_TRANSPORT=lines` does the same for every URL.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use self::listening::Listening;
use self::wire::LineWire;
use crate::config::{Config, EnvKind, EnvVar};
use crate::connection::{Connection, ConnectionInfo, Listener, Transport};
use crate::error::{Error, Phase, Result, Retry};
use crate::io::messages::{self, Settings};
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::Target;

mod listening;
mod tcp;
#[cfg(unix)]
mod unix;
mod wire;

const ID: &str = "lines";

/// What the envelope may add to a message of the largest size.
const ENVELOPE: usize = 8 << 10;

const MAX_CONNECTIONS: usize = 1000;

const ENV: &[EnvVar] = &[EnvVar::new(
    "",
    "transport.lines.max_connections",
    EnvKind::Int { min: 1, max: 1_000_000 },
    "1000",
    "Connections that a listener of lines holds; one more is refused with a reason.",
)];

/// Connections by `lines+tcp://host:port` and `lines+unix:///path`.
pub const CONNECTION: TransportRegistration = TransportRegistration::connection(ID, build_transport)
    .schemes(&["tcp", "unix"])
    .capabilities(messages::CLAIMS)
    .priority(45)
    .env(ENV);

/// All of them, for explicit registration.
pub const REGISTRATIONS: [TransportRegistration; 1] = [CONNECTION];

crate::register_transport!(CONNECTION);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    max_connections: Option<usize>,
}

fn build_transport(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    let Section { max_connections } = context.section(ID)?;
    let max_connections = max_connections.unwrap_or(MAX_CONNECTIONS);
    Ok(Arc::new(LineTransport { config: context.config().clone(), max_connections }))
}

struct LineTransport {
    config: Arc<Config>,
    max_connections: usize,
}

#[async_trait]
impl Transport for LineTransport {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let limit = self.config.limits.connect_timeout;
        let dialled = timeout(limit, self.dial(target)).await;
        let late = || Error::timeout(format!("no connection within {limit:?}")).with_retry(Retry::Safe);
        dialled
            .unwrap_or_else(|_| Err(late()))
            .map_err(|error| error.with_transport(ID).with_target(target.to_string()).with_phase(Phase::Connect))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        let bound = match target.scheme() {
            "tcp" => tcp::bind(target, &self.config).await,
            #[cfg(unix)]
            "unix" => unix::bind(target).await,
            _ => Err(foreign(target)),
        };
        let bound = bound.map_err(|error| error.with_transport(ID).with_phase(Phase::Listen))?;
        Ok(Box::new(Listening::new(bound, self.max_connections, self.config.limits.max_message_size)))
    }
}

impl LineTransport {
    async fn dial(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let settings = Settings::dialer(self.config.limits.max_message_size);
        match target.scheme() {
            "tcp" => {
                let (stream, peer) = tcp::dial(target, &self.config).await?;
                Ok(connection(stream.into_split(), peer, settings))
            }
            #[cfg(unix)]
            "unix" => {
                let (stream, peer) = unix::dial(target).await?;
                Ok(connection(stream.into_split(), peer, settings))
            }
            _ => Err(foreign(target)),
        }
    }
}

fn foreign(target: &Target) -> Error {
    Error::unsupported(format!("lines go over tcp:// and unix:// only, not {target}"))
}

fn connection<R, W>((reader, writer): (R, W), peer: String, settings: Settings) -> Arc<dyn Connection>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let lines = LineWire::new(reader, writer, settings.max_message.saturating_add(ENVELOPE));
    messages::connection(lines, ConnectionInfo::new(ID, peer, messages::CLAIMS), settings)
}
