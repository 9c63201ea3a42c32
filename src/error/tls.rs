// SPDX-License-Identifier: Apache-2.0
//! Why two ends did not come to terms over TLS.

/// Why there is no TLS session: each reason asks for another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsReason {
    /// The peer speaks something else, clear text mostly.
    NotTls,
    /// The peer's certificate comes from an authority that we do not know.
    UnknownCa,
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not valid yet, or a clock is wrong.
    NotYetValid,
    /// The peer's certificate is for another name.
    WrongName,
    /// The peer's certificate is malformed, revoked, or not made for this.
    BadCertificate,
    /// A client has no certificate and the server wants one.
    NoClientCertificate,
    /// The peer turned our certificate down.
    Refused,
    /// No version of TLS, or no cipher, that both speak.
    Version,
    /// No application protocol that both speak.
    Protocol,
    /// The handshake took too long.
    Timeout,
    /// The link ended within the handshake.
    Closed,
    /// Anything else; the cause says what.
    Other,
}
