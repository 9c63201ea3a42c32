// SPDX-License-Identifier: Apache-2.0
//! `[tls]` and `[transport.tcp.tls]`: which files prove who we are, and whom we believe.

use std::path::PathBuf;

use serde::Deserialize;

/// Who we are to the peer, and whom we believe. Paths of PEM files; they are read when they are first needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Which keys set it, for advice.
    pub section: TlsSection,
    /// Authorities that a server's certificate may come from; unset: the system's.
    pub ca: Option<PathBuf>,
    /// A listener's certificate, with the chain below the root.
    pub cert: Option<PathBuf>,
    /// Its private key. Set exactly if `cert` is.
    pub key: Option<PathBuf>,
    /// Authorities that a client's certificate must come from; unset: clients need none.
    pub client_ca: Option<PathBuf>,
    /// A dialer's own certificate, for servers that want one.
    pub client_cert: Option<PathBuf>,
    /// Its private key. Set exactly if `client_cert` is.
    pub client_key: Option<PathBuf>,
    /// The name that a server's certificate must have, in place of the host that was dialled.
    pub server_name: Option<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2, for peers that have nothing newer.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    #[default]
    Tls13,
}

/// Where a [`TlsConfig`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsSection {
    /// `[tls]`: URLs whose scheme says TLS.
    #[default]
    Common,
    /// `[transport.tcp.tls]`: the tcp planes.
    Tcp,
}

impl TlsSection {
    /// What to set to change `key`: the variable, or the key of the file.
    pub const fn name(self, key: TlsKey) -> &'static str {
        match (self, key) {
            (Self::Common, TlsKey::Ca) => "tls.ca",
            (Self::Common, TlsKey::Cert) => "tls.cert",
            (Self::Common, TlsKey::Key) => "tls.key",
            (Self::Common, TlsKey::ClientCa) => "tls.client_ca",
            (Self::Common, TlsKey::ClientCert) => "tls.client_cert",
            (Self::Common, TlsKey::ClientKey) => "tls.client_key",
            (Self::Common, TlsKey::ServerName) => "tls.server_name",
            (Self::Common, TlsKey::MinVersion) => "tls.min_version",
            (Self::Tcp, TlsKey::Ca) => "DYN_TCP_TLS_CA_CERT_PATH",
            (Self::Tcp, TlsKey::Cert) => "DYN_TCP_TLS_CERT_PATH",
            (Self::Tcp, TlsKey::Key) => "DYN_TCP_TLS_KEY_PATH",
            (Self::Tcp, TlsKey::ClientCa) => "DYN_TCP_TLS_CLIENT_CA_CERT_PATH",
            (Self::Tcp, TlsKey::ClientCert) => "DYN_TCP_TLS_CLIENT_CERT_PATH",
            (Self::Tcp, TlsKey::ClientKey) => "DYN_TCP_TLS_CLIENT_KEY_PATH",
            (Self::Tcp, TlsKey::ServerName) => "DYN_TCP_TLS_SERVER_NAME",
            (Self::Tcp, TlsKey::MinVersion) => "transport.tcp.tls.min_version",
        }
    }
}

/// One key of a [`TlsConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsKey {
    /// `ca`
    Ca,
    /// `cert`
    Cert,
    /// `key`
    Key,
    /// `client_ca`
    ClientCa,
    /// `client_cert`
    ClientCert,
    /// `client_key`
    ClientKey,
    /// `server_name`
    ServerName,
    /// `min_version`
    MinVersion,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// Of `[transport.tcp.tls]` alone.
    enabled: Option<bool>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    server_name: Option<String>,
    min_version: Option<TlsVersion>,
}

impl RawTls {
    /// `[tls]`
    pub(super) fn into_common(self) -> TlsConfig {
        self.into_config(TlsSection::Common)
    }

    /// `[transport.tcp.tls]`, filled up from `[tls]`; `None` where TLS is off. It is on as soon as one of its files is
    /// named: half of it on would be a link in clear text that nobody meant.
    pub(super) fn into_tcp(self, common: &TlsConfig) -> Option<TlsConfig> {
        let named = [&self.ca, &self.cert, &self.client_ca, &self.client_cert].into_iter().any(Option::is_some);
        if !self.enabled.unwrap_or(named) {
            return None;
        }
        let min_version = self.min_version.unwrap_or(common.min_version);
        let mut own = self.into_config(TlsSection::Tcp);
        if own.cert.is_none() && own.key.is_none() {
            (own.cert, own.key) = (common.cert.clone(), common.key.clone());
        }
        if own.client_cert.is_none() && own.client_key.is_none() {
            (own.client_cert, own.client_key) = (common.client_cert.clone(), common.client_key.clone());
        }
        own.ca = own.ca.or_else(|| common.ca.clone());
        own.client_ca = own.client_ca.or_else(|| common.client_ca.clone());
        Some(TlsConfig { min_version, ..own })
    }

    fn into_config(self, section: TlsSection) -> TlsConfig {
        TlsConfig {
            section,
            ca: self.ca,
            cert: self.cert,
            key: self.key,
            client_ca: self.client_ca,
            client_cert: self.client_cert,
            client_key: self.client_key,
            server_name: self.server_name,
            min_version: self.min_version.unwrap_or_default(),
        }
    }
}

/// Keys that mean nothing without another: the guilty one, the missing one, and what was expected.
pub(super) fn halves(tls: &TlsConfig) -> Vec<([&'static str; 2], String)> {
    let path = |key: TlsKey| match (tls.section, key) {
        (TlsSection::Tcp, TlsKey::Cert) => "transport.tcp.tls.cert",
        (TlsSection::Tcp, TlsKey::Key) => "transport.tcp.tls.key",
        (TlsSection::Tcp, TlsKey::ClientCert) => "transport.tcp.tls.client_cert",
        (TlsSection::Tcp, TlsKey::ClientKey) => "transport.tcp.tls.client_key",
        (TlsSection::Tcp, TlsKey::ClientCa) => "transport.tcp.tls.client_ca",
        (_, key) => TlsSection::Common.name(key),
    };
    let pairs = [
        (tls.cert.is_some(), tls.key.is_some(), TlsKey::Cert, TlsKey::Key),
        (tls.client_cert.is_some(), tls.client_key.is_some(), TlsKey::ClientCert, TlsKey::ClientKey),
    ];
    let mut halves = Vec::new();
    for (cert, key, cert_key, key_key) in pairs {
        match (cert, key) {
            (true, false) => halves.push(([path(cert_key), path(key_key)], "its private key beside it".to_owned())),
            (false, true) => halves.push(([path(key_key), path(cert_key)], "its certificate beside it".to_owned())),
            _ => {}
        }
    }
    if tls.client_ca.is_some() && tls.cert.is_none() && tls.key.is_none() {
        // Somebody believes that only clients with a certificate get in, and everybody would.
        let expected = "a listener's certificate beside it, without which it protects nothing".to_owned();
        halves.push(([path(TlsKey::ClientCa), path(TlsKey::Cert)], expected));
    }
    halves
}
