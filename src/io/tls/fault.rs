// SPDX-License-Identifier: Apache-2.0
//! From what rustls says to what an operator can do.

use std::io;

use rustls::{AlertDescription as Alert, CertificateError, Error as Fault};

use super::HANDSHAKE_TIMEOUT;
use crate::config::{TlsKey, TlsSection};
use crate::error::{Detail, Error, Phase, TlsReason};

/// Which end we are, and where its settings stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Client(TlsSection),
    Server(TlsSection),
}

impl Side {
    fn name(self, key: TlsKey) -> &'static str {
        let (Self::Client(section) | Self::Server(section)) = self;
        section.name(key)
    }

    fn peer(self) -> &'static str {
        match self {
            Self::Client(_) => "server",
            Self::Server(_) => "client",
        }
    }
}

/// A handshake that failed.
pub(super) fn handshake(error: io::Error, side: Side) -> Error {
    if let Some(fault) = fault_of(&error) {
        return judge(fault, side);
    }
    let peer = side.peer();
    tls_error(TlsReason::Closed, format!("the {peer} ended the link within the TLS handshake"))
        .with_hint(match side {
            Side::Client(_) => "check the port: a service without TLS does this",
            Side::Server(_) => "a client that does not trust our certificate, or a port scan, does this",
        })
        .with_source(error)
}

/// A handshake that took too long.
pub(super) fn too_slow(side: Side) -> Error {
    let (peer, limit) = (side.peer(), HANDSHAKE_TIMEOUT.as_secs());
    tls_error(TlsReason::Timeout, format!("the {peer} did not finish the TLS handshake within {limit} s"))
        .with_hint("check that the peer speaks TLS on this port, and that it is not overloaded")
}

/// An error of an established session: what TLS 1.3 says of a client's certificate comes only now.
pub(super) fn explained(error: io::Error, side: Side) -> io::Error {
    match fault_of(&error) {
        Some(fault) => {
            let kind = error.kind();
            io::Error::new(kind, judge(fault, side))
        }
        None => error,
    }
}

fn fault_of(error: &io::Error) -> Option<&Fault> {
    error.get_ref()?.downcast_ref()
}

fn judge(fault: &Fault, side: Side) -> Error {
    let peer = side.peer();
    let (reason, found, hint) = match fault {
        Fault::InvalidCertificate(error) => return certificate(error, side).with_context("cause", fault),
        Fault::NoCertificatesPresented => (
            TlsReason::NoClientCertificate,
            format!("the {peer} brought no certificate, and this listener wants one"),
            format!("give the client a certificate of an authority in {}, or unset that", side.name(TlsKey::ClientCa)),
        ),
        Fault::InvalidMessage(_) => (
            TlsReason::NotTls,
            format!("the {peer} does not speak TLS"),
            match side {
                Side::Client(_) => "check the port, or dial it without TLS if that is meant".to_owned(),
                Side::Server(_) => "dial this listener with TLS".to_owned(),
            },
        ),
        Fault::AlertReceived(alert) => alerted(*alert, side),
        Fault::NoApplicationProtocol => (
            TlsReason::Protocol,
            format!("the {peer} speaks none of the application protocols that are spoken here"),
            "check that this port is meant for this protocol".to_owned(),
        ),
        Fault::PeerIncompatible(_) => version(side),
        other => (TlsReason::Other, format!("no TLS session with the {peer}: {other}"), String::new()),
    };
    let error = tls_error(reason, found).with_context("cause", fault);
    if hint.is_empty() { error } else { error.with_hint(hint) }
}

/// What the peer said why.
fn alerted(alert: Alert, side: Side) -> (TlsReason, String, String) {
    let peer = side.peer();
    let own = match side {
        Side::Client(_) => TlsKey::ClientCert,
        Side::Server(_) => TlsKey::Cert,
    };
    match alert {
        Alert::CertificateRequired => (
            TlsReason::NoClientCertificate,
            format!("the {peer} wants a client certificate"),
            format!("set {} and {}", side.name(TlsKey::ClientCert), side.name(TlsKey::ClientKey)),
        ),
        Alert::ProtocolVersion | Alert::InsufficientSecurity | Alert::HandshakeFailure => version(side),
        Alert::NoApplicationProtocol => (
            TlsReason::Protocol,
            format!("the {peer} speaks none of the application protocols that we offer"),
            "check that this port is meant for this protocol".to_owned(),
        ),
        Alert::UnrecognisedName => (
            TlsReason::WrongName,
            format!("the {peer} does not serve the name that was asked for"),
            format!("check the host name, or set {}", side.name(TlsKey::ServerName)),
        ),
        Alert::UnknownCA => (
            TlsReason::Refused,
            format!("the {peer} does not know the authority of our certificate"),
            match side {
                Side::Client(_) => format!("use one of an authority that it knows in {}", side.name(own)),
                Side::Server(_) => "give the client our authority as its CA file".to_owned(),
            },
        ),
        Alert::CertificateExpired => (
            TlsReason::Refused,
            format!("for the {peer} our certificate has expired"),
            format!("renew the certificate in {}, or check the clocks", side.name(own)),
        ),
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateRevoked
        | Alert::AccessDenied
        | Alert::UnsupportedCertificate
        | Alert::DecryptError => (
            TlsReason::Refused,
            format!("the {peer} turned our certificate down ({alert:?})"),
            format!("check the certificate in {}; the other end's log says what it lacks", side.name(own)),
        ),
        other => (TlsReason::Other, format!("the {peer} refused the TLS session ({other:?})"), String::new()),
    }
}

fn version(side: Side) -> (TlsReason, String, String) {
    (
        TlsReason::Version,
        format!("the {} and this end have no version of TLS, or no cipher, in common", side.peer()),
        format!(
            "upgrade it, or set {} = \"1.2\" if it has nothing newer",
            match side {
                Side::Client(TlsSection::Tcp) | Side::Server(TlsSection::Tcp) => "transport.tcp.tls.min_version",
                _ => "tls.min_version",
            }
        ),
    )
}

/// What is wrong with the certificate of the peer.
fn certificate(error: &CertificateError, side: Side) -> Error {
    let peer = side.peer();
    let authorities = match side {
        Side::Client(_) => side.name(TlsKey::Ca),
        Side::Server(_) => side.name(TlsKey::ClientCa),
    };
    let (reason, found, hint) = match error {
        CertificateError::UnknownIssuer => (
            TlsReason::UnknownCa,
            format!("the {peer}'s certificate comes from an authority that is not known here"),
            format!("if it is to be believed, put its authority (PEM) into the file of {authorities}"),
        ),
        // An authority that was made again under its old name is known by that name, and has another key.
        CertificateError::BadSignature => (
            TlsReason::UnknownCa,
            format!("the {peer}'s certificate was signed with another key than that of the authority known here"),
            format!("if its authority was made anew, put the new one (PEM) into the file of {authorities}"),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            TlsReason::Expired,
            format!("the {peer}'s certificate has expired"),
            format!("renew it at the {peer}, or check this machine's clock"),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            TlsReason::NotYetValid,
            format!("the {peer}'s certificate is not valid yet"),
            "check the clocks of both machines".to_owned(),
        ),
        CertificateError::NotValidForName => (
            TlsReason::WrongName,
            format!("the {peer}'s certificate is for another name"),
            format!("dial it by a name in its certificate, or set {}", side.name(TlsKey::ServerName)),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => (
            TlsReason::WrongName,
            format!(
                "the {peer}'s certificate is not for {}, but for {}",
                expected.to_str(),
                if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
            ),
            format!("dial it by a name in its certificate, or set {}", side.name(TlsKey::ServerName)),
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            TlsReason::BadCertificate,
            format!("the {peer}'s certificate is not made for a {peer}"),
            format!("have it made with the extended key usage of a {peer}"),
        ),
        CertificateError::Revoked => {
            (TlsReason::BadCertificate, format!("the {peer}'s certificate was revoked"), "replace it".to_owned())
        }
        other => (
            TlsReason::BadCertificate,
            format!("the {peer}'s certificate cannot be verified: {other}"),
            format!(
                "have it made again, as X.509 version 3 with a subject alternative name, by an authority in {authorities}"
            ),
        ),
    };
    tls_error(reason, found).with_hint(hint)
}

fn tls_error(reason: TlsReason, found: String) -> Error {
    Error::connect(found).with_detail(Detail::Tls { reason }).with_phase(Phase::Connect)
}
