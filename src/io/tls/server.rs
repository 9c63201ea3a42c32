// SPDX-License-Identifier: Apache-2.0
//! The end that accepts.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::unfit;
use super::fault::{Side, handshake, too_slow};
use super::stream::TlsStream;
use super::{HANDSHAKE_TIMEOUT, alpn_of, pem, provider, versions};
use crate::config::{Config, TlsConfig, TlsKey, TlsSection};
use crate::error::{Error, Phase, Result};

/// How a listener accepts with TLS: who we are, and which clients we believe.
pub struct ServerTls {
    settings: Arc<ServerConfig>,
    section: TlsSection,
    asks_clients: bool,
}

impl ServerTls {
    /// What `[tls]` says of listening; `None` if it names no certificate. Reads the files: call it when a listener starts.
    pub fn from_config(config: &Config) -> Result<Option<Arc<Self>>> {
        config.tls.cert.is_some().then(|| Self::new(&config.tls)).transpose()
    }

    /// What `config` says. Reads the files.
    pub fn new(config: &TlsConfig) -> Result<Arc<Self>> {
        let name = |key| config.section.name(key);
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
            let (cert, key) = (name(TlsKey::Cert), name(TlsKey::Key));
            return Err(Error::config("a listener with TLS needs a certificate and its private key")
                .with_phase(Phase::Configure)
                .with_hint(format!("set {cert} and {key}")));
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| Error::unexpected("the TLS provider lacks a version").with_source(error))?;
        let builder = match &config.client_ca {
            Some(path) => {
                let roots = Arc::new(pem::authorities(path, name(TlsKey::ClientCa))?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(|error| {
                        Error::config(format!("the authorities in {} cannot be used", path.display()))
                            .with_source(error)
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let chain = pem::chain(cert, name(TlsKey::Cert))?;
        let private = pem::key(key, name(TlsKey::Key))?;
        let settings = builder.with_single_cert(chain, private).map_err(|error| unfit(cert, key, error))?;
        Ok(Arc::new(Self {
            settings: Arc::new(settings),
            section: config.section,
            asks_clients: config.client_ca.is_some(),
        }))
    }

    /// The same, speaking these application protocols, the favourite first. A client that names others is refused; one
    /// that names none is not.
    pub fn with_alpn(&self, protocols: &[&[u8]]) -> Arc<Self> {
        let mut settings = ServerConfig::clone(&self.settings);
        settings.alpn_protocols = alpn_of(protocols);
        Arc::new(Self { settings: Arc::new(settings), ..*self })
    }

    /// Makes `stream` a session. Errors are of kind `Connect`, and concern this client alone. Takes at most
    /// [`HANDSHAKE_TIMEOUT`]. Cancel-safe: dropping the future closes the stream.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let side = Side::Server(self.section);
        match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(self.settings.clone()).accept(stream)).await {
            Ok(Ok(session)) => Ok(TlsStream::new(session.into(), self.section)),
            Ok(Err(error)) => Err(handshake(error, side)),
            Err(_) => Err(too_slow(side)),
        }
    }

    /// Whether a client must prove who it is.
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({:?}, asks clients: {})", self.section, self.asks_clients)
    }
}
