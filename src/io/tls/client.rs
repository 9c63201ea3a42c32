// SPDX-License-Identifier: Apache-2.0
//! The end that dials.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::fault::{Side, handshake, too_slow};
use super::stream::TlsStream;
use super::{HANDSHAKE_TIMEOUT, alpn_of, pem, provider, versions};
use crate::config::{Config, TlsConfig, TlsKey, TlsVersion};
use crate::error::{Error, Phase, Result};

/// To read the files, and the system's authorities: a keychain, or a directory on a network.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How we dial with TLS: whom we believe, and who we are. Reads its files when it is first used, and once.
pub struct ClientTls {
    config: TlsConfig,
    loaded: OnceCell<TlsConnector>,
}

impl ClientTls {
    /// What `[tls]` says of dialling; `None` if it says nothing, where [`ClientTls::system`] is meant.
    pub fn from_config(config: &Config) -> Result<Option<Arc<Self>>> {
        let tls = &config.tls;
        let says_something = [&tls.ca, &tls.client_cert].into_iter().any(Option::is_some)
            || tls.server_name.is_some()
            || tls.min_version != TlsVersion::default();
        Ok(says_something.then(|| Self::new(tls.clone())))
    }

    /// The authorities of the system, TLS 1.3, no certificate of our own.
    pub fn system() -> Arc<Self> {
        Self::new(TlsConfig::default())
    }

    /// What `config` says. Nothing is read yet.
    pub fn new(config: TlsConfig) -> Arc<Self> {
        Arc::new(Self { config, loaded: OnceCell::new() })
    }

    /// Makes `stream` a session with `server_name`, which is a host name or an address, and verifies that the peer is
    /// that; a configured name takes its place. `alpn` are the application protocols, the favourite first: whether the
    /// server chose one stands in [`TlsStream::negotiated_alpn`].
    ///
    /// Errors are of kind `Connect`, of kind `Config` where a file is to blame. Takes at most [`HANDSHAKE_TIMEOUT`] after
    /// the files were read. Cancel-safe: dropping the future closes the stream.
    pub async fn connect<S>(&self, stream: S, server_name: &str, alpn: &[&[u8]]) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.name(server_name)?;
        let connector = self.loaded.get_or_try_init(|| load(&self.config)).await?;
        let side = Side::Client(self.config.section);
        match timeout(HANDSHAKE_TIMEOUT, connector.with_alpn(alpn_of(alpn)).connect(name, stream)).await {
            Ok(Ok(session)) => Ok(TlsStream::new(session.into(), self.config.section)),
            Ok(Err(error)) => Err(handshake(error, side)),
            Err(_) => Err(too_slow(side)),
        }
    }

    fn name(&self, dialled: &str) -> Result<ServerName<'static>> {
        let name = self.config.server_name.as_deref().unwrap_or(dialled).trim_matches(['[', ']']);
        ServerName::try_from(name.to_owned()).map_err(|error| {
            Error::config(format!("{name:?} is no name that a certificate can have"))
                .with_hint(format!("set {}", self.config.section.name(TlsKey::ServerName)))
                .with_source(error)
        })
    }
}

/// Reading is blocking, and a keychain may take its time.
async fn load(config: &TlsConfig) -> Result<TlsConnector> {
    let config = config.clone();
    let loading = tokio::task::spawn_blocking(move || assemble(&config));
    match timeout(LOAD_TIMEOUT, loading).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => Err(Error::unexpected("reading the certificates failed").with_source(error)),
        Err(_) => Err(Error::config(format!("the certificates were not read within {} s", LOAD_TIMEOUT.as_secs()))
            .with_hint("check the file system that they are on")),
    }
}

fn assemble(config: &TlsConfig) -> Result<TlsConnector> {
    let name = |key| config.section.name(key);
    let roots = match &config.ca {
        Some(path) => pem::authorities(path, name(TlsKey::Ca))?,
        None => of_the_system(name(TlsKey::Ca))?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(config.min_version))
        .map_err(|error| Error::unexpected("the TLS provider lacks a version").with_source(error))?
        .with_root_certificates(roots);
    let config = match (&config.client_cert, &config.client_key) {
        (Some(cert), Some(key)) => {
            let chain = pem::chain(cert, name(TlsKey::ClientCert))?;
            let private = pem::key(key, name(TlsKey::ClientKey))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| unfit(cert, key, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What every other program on this machine believes. Some of a system's files may be broken; one root is enough.
fn of_the_system(setting: &str) -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if unusable > 0 {
        tracing::debug!(target: "biplane::tls", "{unusable} of the system's authorities are unusable");
    }
    if !roots.is_empty() {
        return Ok(roots);
    }
    let error = Error::config("this system has no certificate authorities that can be read")
        .with_phase(Phase::Configure)
        .with_hint(format!("install the package ca-certificates, or set {setting} or SSL_CERT_FILE"));
    Err(match found.errors.into_iter().next() {
        Some(cause) => error.with_source(cause),
        None => error,
    })
}

/// A certificate and a key that are no pair, or a key of an algorithm that is not spoken.
pub(super) fn unfit(cert: &Path, key: &Path, error: rustls::Error) -> Error {
    let (cert, key) = (cert.display(), key.display());
    let error = match error {
        rustls::Error::InconsistentKeys(_) => {
            Error::config(format!("the private key in {key} does not belong to the certificate in {cert}"))
                .with_hint("name the key that the certificate was made with")
        }
        other => Error::config(format!("the certificate in {cert} and the key in {key} cannot be used"))
            .with_hint("use an ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits and more) key in PKCS #8")
            .with_source(other),
    };
    error.with_phase(Phase::Configure)
}

impl fmt::Debug for ClientTls {
    /// Names of files, nothing of what is in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("ca", &self.config.ca).field("cert", &self.config.client_cert).finish()
    }
}
