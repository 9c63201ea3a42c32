// SPDX-License-Identifier: Apache-2.0
//! Bearer tokens (RFC 6750), known by their SHA-256 only.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::{Error, Result};
use crate::io::principal::Principal;

/// The SHA-256 of a bearer token. Written as `sha256:` and 64 hexadecimal digits.
///
/// A token is meant to be random and long; of such a one a fast hash gives nothing away.
#[derive(Clone, Copy)]
pub struct Token([u8; 32]);

impl Token {
    /// Of a token as its bearer sends it.
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(token.as_ref()).into())
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let mut hash = [0; 32];
        let fits = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes = digits.as_bytes().chunks_exact(2).map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default()
        });
        hash.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        if !fits {
            // What stands there may be the token itself: it is not repeated.
            return Err(Error::config("the hash of a token is no SHA-256")
                .with_hint("write sha256: and 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` prints them"));
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Whose token `given` is. Takes as long for a wrong one as for a right one, whichever it is.
pub(super) fn find(known: &[(Principal, Token)], given: Token) -> Option<&Principal> {
    let mut found = u32::MAX;
    for (at, (_, token)) in (0..).zip(known) {
        let same: Choice = token.0.ct_eq(&given.0);
        found.conditional_assign(&at, same);
    }
    known.get(found as usize).map(|(principal, _)| principal)
}

/// The token of an `Authorization` that has one.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// Whether a query has a token in it (RFC 6750, section 2.3).
pub(super) fn in_query(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name.eq_ignore_ascii_case("access_token"))
}
