// SPDX-License-Identifier: Apache-2.0
//! Why a request was not let in, as its sender is told.

use http::{HeaderValue, StatusCode};

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// `Origin` is not on the list.
    Origin,
    /// `Host` is not on the list, or there are several.
    Host,
    /// A token is needed, and there is none.
    NoToken,
    /// Nobody has this token.
    WrongToken,
    /// The token stands in the address.
    TokenInQuery,
}

impl Denial {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Origin | Self::Host => StatusCode::FORBIDDEN,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TokenInQuery => StatusCode::BAD_REQUEST,
        }
    }

    /// What `WWW-Authenticate` says of it (RFC 6750, section 3).
    pub fn challenge(self) -> Option<HeaderValue> {
        let text = match self {
            Self::Origin | Self::Host => return None,
            Self::NoToken => "Bearer",
            Self::WrongToken => "Bearer error=\"invalid_token\"",
            Self::TokenInQuery => "Bearer error=\"invalid_request\"",
        };
        Some(HeaderValue::from_static(text))
    }

    /// For whoever sent it, without what they sent.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Origin => "this origin is not allowed here: add it to the allowed origins of the listener",
            Self::Host => "this host name is not served here: add it to the allowed hosts of the listener",
            Self::NoToken => "a bearer token is needed: send it in the header Authorization",
            Self::WrongToken => "this token is not known here",
            Self::TokenInQuery => "a token does not belong into an address: send it in the header Authorization",
        }
    }
}
