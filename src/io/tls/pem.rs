// SPDX-License-Identifier: Apache-2.0
//! PEM files, and what to say of one that is not what was asked for.

use std::fs::File;
use std::io::{ErrorKind as Io, Read};
use std::path::Path;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::validity::expired_on;
use crate::error::{Error, Phase, Result};

/// No file of certificates is larger: the whole of a system's authorities is a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// The certificate of our own in `path`, leaf first. `setting` is what names the file.
pub(super) fn chain(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>> {
    let file = PemFile::read(path, setting)?;
    let chain = file.certificates()?;
    // A peer would turn it down on every link; here is one who can act.
    if let Some(date) = chain.first().and_then(|leaf| expired_on(leaf, SystemTime::now())) {
        return Err(file
            .fault(format!("holds a certificate that expired on {date}"))
            .with_hint(format!("renew the certificate, or set {setting} to the renewed one")));
    }
    Ok(chain)
}

/// The private key in `path`.
pub(super) fn key(path: &Path, setting: &str) -> Result<PrivateKeyDer<'static>> {
    let file = PemFile::read(path, setting)?;
    PrivateKeyDer::from_pem_slice(&file.bytes).map_err(|_| {
        if file.mentions("ENCRYPTED") {
            return file
                .fault("holds an encrypted private key".to_owned())
                .with_hint("decrypt it with `openssl pkey -in FILE -out NEW`, and give the new file mode 0600");
        }
        file.lacks("private key")
    })
}

/// The authorities in `path`.
pub(super) fn authorities(path: &Path, setting: &str) -> Result<RootCertStore> {
    let file = PemFile::read(path, setting)?;
    let mut roots = RootCertStore::empty();
    let mut reason = None;
    for certificate in file.certificates()? {
        if let Err(error) = roots.add(certificate) {
            reason = Some(error);
        }
    }
    if roots.is_empty() {
        let error = file.fault("holds no certificate that can be an authority".to_owned());
        return Err(match reason {
            Some(reason) => error.with_source(reason),
            None => error,
        });
    }
    Ok(roots)
}

struct PemFile<'a> {
    path: &'a Path,
    setting: &'a str,
    bytes: Vec<u8>,
}

impl<'a> PemFile<'a> {
    fn read(path: &'a Path, setting: &'a str) -> Result<Self> {
        let mut file = Self { path, setting, bytes: Vec::new() };
        let read = File::open(path).and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut file.bytes));
        match read {
            Ok(length) if length as u64 <= MAX_FILE => Ok(file),
            Ok(_) => Err(file.fault(format!("is longer than {MAX_FILE} bytes")).with_hint("name a PEM file")),
            Err(error) => {
                let (found, hint) = match error.kind() {
                    Io::NotFound => ("is not there", format!("make it, or correct {setting}")),
                    Io::PermissionDenied => ("may not be read", "give this process's user read permission".to_owned()),
                    Io::IsADirectory => ("is a directory", format!("set {setting} to a file")),
                    _ => ("cannot be read", format!("check the file, or correct {setting}")),
                };
                Err(file.fault(found.to_owned()).with_hint(hint).with_source(error))
            }
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.lacks("certificate")),
            Err(error) => Err(self.lacks("certificate").with_context("cause", error)),
        }
    }

    /// What the file holds in place of `wanted`, without a byte of it: it may be a key.
    fn lacks(&self, wanted: &str) -> Error {
        let sections = <(SectionKind, Vec<u8>) as PemObject>::pem_slice_iter(&self.bytes).map_while(Result::ok);
        let kinds: Vec<&str> = sections.map(|(kind, _)| noun(kind)).collect();
        let found = match kinds.as_slice() {
            [] if self.bytes.is_empty() => "is empty".to_owned(),
            [] if self.bytes.starts_with(&[0x30, 0x82]) => format!("is DER, not PEM; wanted was a {wanted}"),
            [] => format!("holds no PEM; wanted was a {wanted}"),
            kinds => format!("holds no {wanted}, but {}", kinds.join(", ")),
        };
        let setting = self.setting;
        self.fault(found).with_hint(match self.bytes.first() {
            Some(0x30) => "convert it with `openssl x509 -inform der -in FILE -out NEW` (or `openssl pkey`)".to_owned(),
            _ => format!("set {setting} to a PEM file with a {wanted}"),
        })
    }

    fn mentions(&self, word: &str) -> bool {
        self.bytes.windows(word.len()).any(|window| window == word.as_bytes())
    }

    fn fault(&self, found: String) -> Error {
        Error::config(format!("{} ({}) {found}", self.path.display(), self.setting)).with_phase(Phase::Configure)
    }
}

fn noun(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "a certificate",
        SectionKind::PublicKey => "a public key",
        SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => "a private key",
        SectionKind::Crl => "a revocation list",
        SectionKind::Csr => "a signing request",
        _ => "something else",
    }
}
