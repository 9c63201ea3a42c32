// SPDX-License-Identifier: Apache-2.0
//! Authorities and certificates, made for one test.

use std::fs;
use std::path::PathBuf;

use biplane::config::{TlsConfig, TlsVersion};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A directory of PEM files, and the authority that signs them.
pub(crate) struct Certs {
    home: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certs {
    /// A fresh authority, in `ca.pem`.
    pub(crate) fn new() -> Self {
        Self::named("Biplane tests")
    }

    /// One of this name.
    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certs = Self { home: tempfile::tempdir().unwrap(), authority };
        certs.write("ca.pem", &certs.authority.pem());
        certs
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A certificate for `names` in `<file>.pem`, its key in `<file>.key`, changed as `change` says.
    pub(crate) fn issue(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    /// A server for `localhost` and `127.0.0.1`.
    pub(crate) fn server(&self) -> TlsConfig {
        self.server_for(&["localhost", "127.0.0.1"], |_| {})
    }

    /// A server whose certificate is for `names`.
    pub(crate) fn server_for(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsConfig {
        self.issue("server", names, change);
        TlsConfig { cert: Some(self.path("server.pem")), key: Some(self.path("server.key")), ..TlsConfig::default() }
    }

    /// A client that believes this authority.
    pub(crate) fn client(&self) -> TlsConfig {
        TlsConfig { ca: Some(self.path("ca.pem")), ..TlsConfig::default() }
    }

    /// A client that believes this authority and has a certificate of its own.
    pub(crate) fn client_with_certificate(&self) -> TlsConfig {
        self.issue("client", &["client.example"], |_| {});
        TlsConfig {
            client_cert: Some(self.path("client.pem")),
            client_key: Some(self.path("client.key")),
            ..self.client()
        }
    }
}

/// Ended before any test ran.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
}

/// Begins when no test runs any more.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2190, 1, 1);
    params.not_after = date_time_ymd(2191, 1, 1);
}

/// As `tls`, with TLS 1.2 permitted.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn with_tls12(tls: TlsConfig) -> TlsConfig {
    TlsConfig { min_version: TlsVersion::Tls12, ..tls }
}
