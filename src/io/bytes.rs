// SPDX-License-Identifier: Apache-2.0
//! The first door of the toolkit: give bytes both ways, and connections, a request plane and a response plane come for free.
//!
//! A transport implements [`ByteTransport`]: how to dial an address, how to listen. [`Links`] makes the rest of it, over the
//! mux of `docs/wire.md`.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::MuxTransport;
use super::driver::{ByteStream, Driver};
use super::link::{MuxLink, Service};
use super::request::{MuxRequestClient, MuxRequestServer};
use super::response::MuxResponsePlane;
use crate::capability::TransportCapabilities;
use crate::config::Config;
use crate::connection::Transport;
use crate::error::{Error, Phase, Result, Retry};
use crate::plane::{RequestPlane, ResponsePlane};
use crate::pool::{PoolKey, PoolSettings};
use crate::proto::mux::{Limits, Mux, Role};
use crate::proto::prologue::{self, Prologue};
use crate::registry::BuildContext;
use crate::target::{Target, TransportId};
use crate::telemetry::{PoolFamily, PoolMetrics};

/// A socket, a pipe, a TLS session.
pub type BoxedBytes = Box<dyn ByteStream>;

/// Dials and listens.
#[async_trait]
pub trait ByteTransport: Debug + Send + Sync + 'static {
    /// The transport's id, the same as its registrations'.
    fn id(&self) -> TransportId;

    /// The address, in the transport's own form, that a URL means. `Unsupported` if the URL is none of this transport's.
    fn address(&self, target: &Target) -> Result<String>;

    /// Opens a link to `address`. The caller bounds the time. Errors are of kind `Connect`.
    async fn dial(&self, address: &str) -> Result<BoxedBytes>;

    /// Listens. Errors are of kind `Config` where a setting can mend it.
    async fn bind(&self, door: Door<'_>) -> Result<Box<dyn ByteListener>>;

    /// What an accepted link needs before its first byte, such as a TLS handshake. Runs beside the accept loop; the caller
    /// bounds the time. Errors concern this link alone.
    async fn secure(&self, accepted: BoxedBytes) -> Result<BoxedBytes> {
        Ok(accepted)
    }
}

/// What to listen for.
#[derive(Clone, Copy, Debug)]
pub enum Door<'a> {
    /// Requests, at the configured address.
    Requests,
    /// Answers that call home, at the configured address.
    Responses,
    /// Connections, at this one.
    At(&'a str),
}

/// Accepts links.
#[async_trait]
pub trait ByteListener: Send + Sync + 'static {
    /// What to publish: reachable, never unspecified.
    fn address(&self) -> String;

    /// The next link and a name for its peer. Cancel-safe.
    async fn accept(&self) -> std::io::Result<(BoxedBytes, String)>;
}

/// How links of one transport behave.
#[derive(Clone, Copy, Debug)]
pub struct LinkSettings {
    /// What this end is willing to receive.
    pub prologue: Prologue,
    /// Message size and heartbeat.
    pub limits: Limits,
    /// To dial and exchange prologues.
    pub connect_timeout: Duration,
    /// For a write to make progress.
    pub write_timeout: Duration,
    /// Links that one listener serves at once.
    pub max_connections: usize,
}

impl LinkSettings {
    /// What `config` says; the heartbeat is the tcp section's for every byte transport.
    pub fn from_config(config: &Config) -> Self {
        Self {
            prologue: Prologue::default(),
            limits: Limits {
                max_message: config.limits.max_message_size,
                heartbeat_interval: config.tcp.heartbeat_interval,
                silence_limit: config.tcp.connection_timeout,
            },
            connect_timeout: config.limits.connect_timeout,
            write_timeout: config.limits.write_timeout,
            max_connections: config.tcp.max_connections,
        }
    }
}

/// Streams that one pooled link takes before another is dialled.
pub(super) const STREAMS_PER_LINK: usize = 256;

/// A byte transport and how its links behave: what everything in this module stands on.
#[derive(Clone, Debug)]
pub struct Links {
    /// Dials and listens.
    pub transport: Arc<dyn ByteTransport>,
    /// How links behave.
    pub settings: LinkSettings,
}

impl Links {
    /// Links of `transport`, with the limits of `config`.
    pub fn new(transport: impl ByteTransport, config: &Config) -> Self {
        Self { transport: Arc::new(transport), settings: LinkSettings::from_config(config) }
    }

    /// Connections that claim `capabilities`.
    pub fn into_transport(self, capabilities: TransportCapabilities) -> Arc<dyn Transport> {
        Arc::new(MuxTransport::new(self, capabilities))
    }

    /// Both ends of a request plane, pooled and measured as `context` says.
    pub fn into_request_plane(self, context: &BuildContext) -> RequestPlane {
        let metrics = pool_metrics(context, PoolFamily::Transport);
        let client = MuxRequestClient::new(self.clone(), self.pool_settings(context.config(), POOL_HINT), metrics);
        RequestPlane { client: Arc::new(client), server: Arc::new(MuxRequestServer::new(self)) }
    }

    /// A response plane that calls home, pooled and measured as `context` says.
    pub fn into_response_plane(self, context: &BuildContext) -> Arc<dyn ResponsePlane> {
        self.response_plane(context, PoolFamily::Transport)
    }

    /// As [`Links::into_response_plane`]; `family` says which metrics its pool keeps.
    pub(crate) fn response_plane(self, context: &BuildContext, family: PoolFamily) -> Arc<dyn ResponsePlane> {
        let settings = self.pool_settings(context.config(), POOL_HINT);
        let timeout = context.config().limits.call_home_timeout;
        Arc::new(MuxResponsePlane::new(self, settings, timeout, pool_metrics(context, family)))
    }

    /// How links that many requests share are pooled: the tcp section of `config`, for every byte transport. `hint` says
    /// what to do when the pool is exhausted.
    pub fn pool_settings(&self, config: &Config, hint: &'static str) -> PoolSettings {
        PoolSettings {
            config: config.tcp.pool.clone(),
            leases_per_link: STREAMS_PER_LINK,
            connect_timeout: self.settings.connect_timeout,
            exhausted_hint: hint,
        }
    }

    /// Opens a link and starts its driver. Every error is safe to retry: nothing was asked yet.
    pub(super) async fn dial(&self, address: &str, service: Arc<dyn Service>, streams: usize) -> Result<Arc<MuxLink>> {
        let dialling = async {
            let io = self.transport.dial(address).await?;
            self.start(io, Role::Dialer, address.to_owned(), service, streams).await
        };
        let limit = self.settings.connect_timeout;
        let dialled = tokio::time::timeout(limit, dialling).await.unwrap_or_else(|_| {
            Err(Error::connect(format!("no link within {} s", limit.as_secs_f32()))
                .with_hint("check that it is up and reachable; BIPLANE_CONNECT_TIMEOUT sets the limit"))
        });
        dialled.map_err(|error| {
            error
                .with_transport(self.transport.id())
                .with_target(address)
                .with_phase(Phase::Connect)
                .with_retry(Retry::Safe)
        })
    }

    /// Exchanges prologues over `io` and starts the link's driver.
    async fn start(
        &self,
        io: BoxedBytes,
        role: Role,
        peer: String,
        service: Arc<dyn Service>,
        streams: usize,
    ) -> Result<Arc<MuxLink>> {
        let (link, driver) = self.establish(io, role, peer, service, streams).await?;
        tokio::spawn(driver);
        Ok(link)
    }

    /// Exchanges prologues over `io`. The link ends when its driver does, or is dropped.
    pub(super) async fn establish(
        &self,
        mut io: BoxedBytes,
        role: Role,
        peer: String,
        service: Arc<dyn Service>,
        streams: usize,
    ) -> Result<(Arc<MuxLink>, Driver)> {
        let (theirs, early) = shake_hands(&mut io, &self.settings.prologue).await?;
        let mux = Mux::new(role, self.settings.prologue, theirs, self.settings.limits, Instant::now());
        let link = Arc::new(MuxLink::new(self.transport.id(), peer, mux, service, streams));
        let driver = Driver::new(io, link.clone(), self.settings.write_timeout, early);
        Ok((link, driver))
    }
}

/// What to do when a pool of links has none left.
const POOL_HINT: &str = "raise DYN_TCP_POOL_MAX_PER_TARGET, which holds for every transport over bytes";

fn pool_metrics(
    context: &BuildContext,
    family: PoolFamily,
) -> impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static {
    let telemetry = context.telemetry().clone();
    move |key| telemetry.pool(family, &key.transport, &key.authority)
}

/// Sends our prologue, reads the peer's. What was read behind it is the link's first input.
pub(super) async fn shake_hands(io: &mut BoxedBytes, ours: &Prologue) -> Result<(Prologue, BytesMut)> {
    let lost = |error: std::io::Error| match error.downcast::<Error>() {
        // The stream knows better than we: a TLS peer said why.
        Ok(told) => told,
        Err(error) => Error::connect("the link was lost in its handshake").with_source(error),
    };
    io.write_all(&ours.encode()).await.map_err(lost)?;
    io.flush().await.map_err(lost)?;
    let mut input = BytesMut::with_capacity(4096);
    while input.len() < prologue::LEN {
        if io.read_buf(&mut input).await.map_err(lost)? == 0 {
            // What little came may tell who answers.
            prologue::recognise(&input)?;
            return Err(Error::connect("the peer closed the link before its prologue was complete"));
        }
    }
    let mut head = [0; prologue::LEN];
    head.copy_from_slice(&input.split_to(prologue::LEN));
    Ok((Prologue::decode(&head)?, input))
}
