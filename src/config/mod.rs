// SPDX-License-Identifier: Apache-2.0
//! Configuration: the typed tree that everything else reads.
//!
//! Layers, later wins: `config/default.toml` (embedded), a file, the environment, code. Every problem of all layers is
//! reported at once. The tree is what remains after parsing: an illegal combination has no representation here.
//!
//! The way of a value: `env` and `keys` say which keys there are, `layer` reads one layer against them, `load` merges
//! the layers and remembers where each value came from, `raw` turns the merged tree into [`Config`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::target::TransportId;

mod document;
mod env;
mod file;
mod keys;
mod kind;
mod layer;
mod load;
mod problem;
mod raw;
mod sections;
mod tls;
pub mod units;

pub use document::document;
pub use env::variables;
pub use kind::{EnvKind, EnvVar};
pub use load::{Inputs, Loaded, Setting, Source, load};
pub use sections::Sections;
pub use tls::{TlsConfig, TlsKey, TlsSection, TlsVersion};

/// The effective configuration of one runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a worker serves, and what a caller prefers, in order. `DYN_REQUEST_PLANE`.
    pub request_planes: Vec<TransportId>,
    /// A caller uses nothing but `request_planes`.
    pub strict: bool,
    /// Where a caller wants its answers. `DYN_RESPONSE_PLANE`.
    pub response_plane: TransportId,
    /// What `connect` prefers among those that serve a URL. `MCP_TRANSPORT`.
    pub connection: Option<TransportId>,
    /// Tried in order after a failed connect. `BIPLANE_FALLBACK`.
    pub fallback: Vec<TransportId>,
    /// Published in place of the bind address. `BIPLANE_ADVERTISE_HOST`.
    pub advertise_host: Option<String>,
    /// Time and size limits that hold for every transport unless its own section says otherwise.
    pub limits: Limits,
    /// Where instances are published and found.
    pub discovery: DiscoveryConfig,
    /// Balancing over the instances of a service.
    pub balance: Balance,
    /// What the program logs: a `tracing` filter. `RUST_LOG`.
    pub log: String,
    /// `/health`, `/live`, `/metrics`.
    pub system: SystemConfig,
    /// The tcp planes.
    pub tcp: TcpConfig,
    /// The http planes.
    pub http: HttpConfig,
    /// TLS for URLs whose scheme says so: `https:`, `wss:`.
    pub tls: TlsConfig,
    /// Sections of transports that the core does not know, by id.
    pub plugins: Sections,
}

impl Config {
    /// What holds where nobody said anything: the embedded defaults and nothing else. An error means that this crate was
    /// built with a broken `config/default.toml`.
    pub fn defaults() -> Result<Self> {
        load(Inputs::default(), &[]).map(|loaded| loaded.config)
    }

    /// The section `[transport.<id>]`, parsed; an absent one is parsed from nothing.
    ///
    /// Durations are text (`"30s"`), read by [`units::deserialize_duration`]; sizes, ports and whole numbers are numbers;
    /// lists are lists of strings. What is wrong is told without the value, which may be a secret.
    pub fn section<T: DeserializeOwned>(&self, id: &str) -> Result<T> {
        self.plugins.parse(id).map_err(|reason| {
            Error::config(format!("the section [transport.{id}] is malformed: {reason}"))
                .with_hint("docs/configuration.md lists the keys that a transport takes")
        })
    }
}

/// Time and size limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To dial, with handshake. `BIPLANE_CONNECT_TIMEOUT`.
    pub connect_timeout: Duration,
    /// Between two items of an answer; unset by default, since liveness is the heartbeat's. `BIPLANE_READ_TIMEOUT`.
    pub read_timeout: Option<Duration>,
    /// For a write to make progress. `BIPLANE_WRITE_TIMEOUT`.
    pub write_timeout: Duration,
    /// From the acknowledgement to the answer's stream. `BIPLANE_CALL_HOME_TIMEOUT`.
    pub call_home_timeout: Duration,
    /// The deadline of a request that brings none.
    pub request_timeout: Duration,
    /// Bytes of one message. `BIPLANE_MAX_MESSAGE_SIZE`.
    pub max_message_size: usize,
    /// Handlers at once, per endpoint.
    pub max_in_flight: usize,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address to bind, not the one to publish. An IPv6 address stands without brackets.
    pub host: String,
    /// The port.
    pub port: Port,
}

/// A port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Nobody asked for it: if it is taken, the system chooses another.
    Default(u16),
    /// Somebody asked for it: if it is taken, that is an error. 0 lets the system choose.
    Set(u16),
}

impl Port {
    /// The number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Default(number) | Self::Set(number) => number,
        }
    }
}

/// A pool of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Off: one fresh link per answer.
    pub enabled: bool,
    /// Links per target; a hard limit.
    pub max_per_target: usize,
    /// Kept warm once a target has been used.
    pub min_idle: usize,
    /// An idle link beyond `min_idle` is closed after this.
    pub idle_timeout: Duration,
    /// A link is replaced after this, less a jitter of up to a tenth.
    pub max_lifetime: Duration,
    /// An idle link is pinged this often.
    pub keepalive: Duration,
}

/// `[discovery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// `DYN_DISCOVERY_BACKEND`
    pub backend: TransportId,
    /// Root of the file store. `DYN_FILE_KV`
    pub file_kv: PathBuf,
    /// A record dies when it was not renewed for this long.
    pub lease: Duration,
}

/// How a caller chooses among the instances of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// By weight, in turn.
    RoundRobin,
    /// By weight, at random.
    Random,
    /// The less loaded of two drawn by weight.
    #[default]
    LeastLoaded,
}

/// `[system]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemConfig {
    /// `DYN_SYSTEM_HOST`
    pub host: String,
    /// `DYN_SYSTEM_PORT`; off if unset.
    pub port: Option<u16>,
}

/// `[transport.tcp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// `DYN_TCP_REQUEST_HOST`, `_PORT`
    pub request: Bind,
    /// `DYN_TCP_REQUEST_MAX_CONNECTIONS`
    pub max_connections: usize,
    /// `DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS`
    pub heartbeat_interval: Duration,
    /// `DYN_TCP_REQUEST_CONNECTION_TIMEOUT_SECS`
    pub connection_timeout: Duration,
    /// `DYN_TCP_RESPONSE_STREAM_HOST`, `_PORT`
    pub response: Bind,
    /// `DYN_TCP_POOL_*`
    pub pool: PoolConfig,
    /// `DYN_TCP_TLS_*`; without it links are in clear text, with it none is.
    pub tls: Option<TlsConfig>,
}

/// `[transport.http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// `DYN_HTTP_RPC_HOST`, `_PORT`
    pub request: Bind,
    /// `DYN_HTTP_RPC_ROOT_PATH`, with a leading and without a trailing slash; empty for the root.
    pub request_root: String,
    /// To the acknowledgement. `DYN_HTTP_REQUEST_TIMEOUT`
    pub request_timeout: Duration,
    /// `DYN_HTTP_RESPONSE_HOST`, `_PORT`
    pub response: Bind,
    /// `DYN_HTTP_RESPONSE_ROOT_PATH`, with a leading and without a trailing slash; empty for the root.
    pub response_root: String,
    /// `DYN_HTTP_RESPONSE_STREAM_FORMAT`
    pub response_format: StreamFormat,
    /// The whole stream. `DYN_HTTP_RESPONSE_TIMEOUT_SECS`
    pub response_timeout: Duration,
    /// What our caller speaks. `BIPLANE_HTTP_VERSION`
    pub version: HttpVersion,
    /// Whether URLs may lead to link-local addresses, where clouds keep their metadata services.
    pub allow_link_local: bool,
    /// Links per origin.
    pub pool: PoolConfig,
}

/// How items of an answer are written into an HTTP body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamFormat {
    /// `text/event-stream`
    #[default]
    Sse,
    /// `application/x-ndjson`
    Ndjson,
    /// `application/octet-stream`, length-prefixed.
    Binary,
}

/// What our caller speaks on the http planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2, with prior knowledge in clear text.
    #[serde(rename = "2")]
    #[default]
    Http2,
}

/// Whether `host` binds every address and so may not be published.
pub fn is_unspecified(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}
