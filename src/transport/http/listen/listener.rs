// SPDX-License-Identifier: Apache-2.0
//! Listening at a URL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::listening::{Guard, Listening, Terms};
use super::door::Paths;
use super::settings::ListenSettings;
use super::site::Site;
use super::two_endpoint::Channels;
use crate::config::{Bind, Config, Port};
use crate::connection::{Connection, ConnectionInfo, Listener};
use crate::error::{Error, Phase, Result};
use crate::io::admission::{Door, Gate};
use crate::io::bind::{bind_guarded, bind_tcp};
use crate::io::messages::CLAIMS;
use crate::io::sessions::Sessions;
use crate::registry::BuildContext;
use crate::target::{Target, TransportAddress, TransportId};

/// Which transports a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport::http) enum Faces {
    /// Streamable HTTP, and if the settings say so the older one beside it.
    Streamable,
    /// The older one alone.
    TwoEndpoint,
}

/// How a transport of the connection face listens.
pub(in crate::transport::http) struct Listens {
    config: Arc<Config>,
    gate: Arc<Gate>,
    settings: Arc<ListenSettings>,
    faces: Faces,
    id: TransportId,
}

impl Listens {
    /// As the transport `id` of a runtime.
    pub(in crate::transport::http) fn new(
        context: &BuildContext,
        faces: Faces,
        id: impl Into<TransportId>,
    ) -> Result<Self> {
        Ok(Self {
            config: context.config().clone(),
            gate: Gate::of(context)?,
            settings: ListenSettings::of(context)?,
            faces,
            id: id.into(),
        })
    }

    /// Listens at the URL of `target`: its host and port, its path, and with TLS if it says so.
    pub(in crate::transport::http) async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        let started = self.start(target).await;
        started
            .map_err(|error| error.with_phase(Phase::Listen).with_transport(&self.id).with_target(target.to_string()))
    }

    async fn start(&self, target: &Target) -> Result<Box<dyn Listener>> {
        let Self { config, gate, settings, faces, id } = self;
        let guard = guard(config, target)?;
        let bind = bind(target)?;
        let listener = match guard {
            Some(_) => bind_guarded(&bind, "the URL's port").await?,
            None => bind_tcp(&bind, "the URL's port").await?,
        };
        let address =
            listener.local_addr().map_err(|error| Error::unexpected("no local address").with_source(error))?;
        let path = target.url().path();
        let paths = match faces {
            Faces::Streamable => Paths::streamable(path, settings.two_endpoint),
            Faces::TwoEndpoint => Paths::two_endpoint(path),
        };
        let info = ConnectionInfo::new(id.clone(), "client", CLAIMS);
        let sessions = Arc::new(Sessions::new(info, settings.sessions.clone(), settings.ids.clone()));
        let site = Arc::new(Site {
            door: Door::new(address, guard.is_some()).named(&bind.host),
            channels: Channels::default(),
            sessions: sessions.clone(),
            settings: settings.clone(),
            paths,
            gate: gate.clone(),
        });
        let scheme = target.scheme();
        let host = match bind.host.contains(':') {
            true => format!("[{}]", bind.host),
            false => bind.host.clone(),
        };
        let url = format!("{scheme}://{host}:{}{path}", address.port());
        let terms = Terms { max_links: settings.max_links, guard };
        let listening = Listening::start_on(listener, site, terms)?;
        Ok(Box::new(HttpListener { address: TransportAddress::new(id.clone(), url), listening, sessions }))
    }
}

fn bind(target: &Target) -> Result<Bind> {
    let (host, port) = match (target.url().host_str(), target.url().port_or_known_default()) {
        (Some(host), Some(port)) => (host.trim_matches(['[', ']']).to_owned(), port),
        _ => return Err(Error::config(format!("{target} has no host")).with_hint("write http://127.0.0.1:8080/mcp")),
    };
    if target.url().query().is_some() {
        return Err(Error::config(format!("{target} has a query, which a listener does not look at")));
    }
    Ok(Bind { host, port: Port::Set(port) })
}

/// `https:` asks for TLS, which the section `[tls]` has the certificate of; `http:` is clear text.
#[cfg(feature = "tls")]
fn guard(config: &Config, target: &Target) -> Result<Guard> {
    match target.scheme() {
        "http" => Ok(None),
        "https" => match crate::io::tls::ServerTls::from_config(config)? {
            Some(tls) => Ok(Some(tls.with_alpn(&[b"h2", b"http/1.1"]))),
            None => Err(Error::config(format!("{target} needs a certificate to listen with"))
                .with_hint("set tls.cert and tls.key, or listen on http://")),
        },
        other => Err(Error::unsupported(format!("http listens at http: and https:, not {other}:"))),
    }
}

#[cfg(not(feature = "tls"))]
fn guard(_config: &Config, target: &Target) -> Result<Guard> {
    match target.scheme() {
        "http" => Ok(None),
        other => Err(Error::unsupported(format!("this build listens at http: only, not {other}:"))
            .with_hint("build with the feature tls")),
    }
}

struct HttpListener {
    address: TransportAddress,
    listening: Listening,
    sessions: Arc<Sessions>,
}

#[async_trait]
impl Listener for HttpListener {
    fn local_address(&self) -> TransportAddress {
        self.address.clone()
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        Ok(self.sessions.accept().await)
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        // Sessions first: a link that a client listens on ends with its session.
        let until = tokio::time::Instant::now() + grace;
        self.sessions.close(grace).await;
        self.listening.close(until.saturating_duration_since(tokio::time::Instant::now())).await;
        Ok(())
    }
}
