// SPDX-License-Identifier: Apache-2.0
//! How a caller speaks to an origin, which is a part of what makes two links interchangeable.

/// What is spoken on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// To a server of ours, in clear text: what `BIPLANE_HTTP_VERSION` says.
    Plane,
    /// To anybody's server, in clear text: HTTP/1.1, because few take HTTP/2 that was not agreed on.
    Plain,
    /// Under TLS, where the handshake agrees on the version.
    Secure,
}

impl Speech {
    /// The name by which links are told apart; empty for the planes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plane => "",
            Self::Plain => "plain",
            Self::Secure => "tls",
        }
    }

    /// Reads the beginning of what [`name`](Self::name) gave.
    pub(super) fn of(name: &str) -> Self {
        match name.split(' ').next() {
            Some("plain") => Self::Plain,
            Some("tls") => Self::Secure,
            _ => Self::Plane,
        }
    }

    /// The scheme of its URLs.
    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Plane | Self::Plain => "http",
            Self::Secure => "https",
        }
    }
}
