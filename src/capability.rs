// SPDX-License-Identifier: Apache-2.0
//! Claims and needs. [`TransportCapabilities`] is what a transport says it can do, [`Requirements`] is what a caller needs,
//! [`Mismatch`] is why the one does not meet the other. A capability exists only with a conformance case that fails when
//! the claim is false.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How much either side may say per request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exchange {
    /// One message, one message.
    #[default]
    Unary,
    /// One message, many items.
    Streaming,
    /// Many items each way at once.
    Duplex,
}

/// Who may use a link at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// One request at a time.
    #[default]
    Exclusive,
    /// Everything of one session.
    PerSession,
    /// Anyone.
    Any,
}

/// The ways in which an answer can find its caller that a transport serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Rendezvous {
    /// The answer comes back on the request's own link.
    pub inline: bool,
    /// The responder dials the caller.
    pub call_home: bool,
    /// The caller fetches from the responder.
    pub fetch: bool,
}

impl Rendezvous {
    /// None of them.
    pub const NONE: Self = Self { inline: false, call_home: false, fetch: false };
    /// Inline only.
    pub const INLINE: Self = Self { inline: true, ..Self::NONE };
    /// Call-home only.
    pub const CALL_HOME: Self = Self { call_home: true, ..Self::NONE };
    /// Fetch only.
    pub const FETCH: Self = Self { fetch: true, ..Self::NONE };
}

impl fmt::Display for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.inline, "inline"), (self.call_home, "call-home"), (self.fetch, "fetch")];
        let mut names = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).peekable();
        if names.peek().is_none() {
            return f.write_str("none");
        }
        f.write_str(&names.collect::<Vec<_>>().join("+"))
    }
}

/// What a transport claims. On a request plane `exchange` speaks of the request's body only, on a response plane of the
/// answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportCapabilities {
    /// How much either side may say.
    pub exchange: Exchange,
    /// Who may use a link at once.
    pub sharing: Sharing,
    /// How answers find their caller.
    pub rendezvous: Rendezvous,
    /// Links outlive a request.
    pub persistent_connections: bool,
    /// The responder may send what nobody asked for.
    pub server_push: bool,
    /// The largest message in bytes; `None` means that the transport sets no limit of its own.
    pub max_message_size: Option<u64>,
}

impl TransportCapabilities {
    /// Nothing beyond one message for one message.
    pub const UNARY: Self = Self {
        exchange: Exchange::Unary,
        sharing: Sharing::Exclusive,
        rendezvous: Rendezvous::NONE,
        persistent_connections: false,
        server_push: false,
        max_message_size: None,
    };

    /// Whether many items may come for one request.
    pub const fn streaming(&self) -> bool {
        !matches!(self.exchange, Exchange::Unary)
    }

    /// Whether both sides may stream at once.
    pub const fn bidirectional(&self) -> bool {
        matches!(self.exchange, Exchange::Duplex)
    }

    /// Every need that the claims do not meet; empty if all are met.
    pub fn check(&self, needs: &Requirements) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        if self.exchange < needs.exchange {
            mismatches.push(Mismatch::Exchange { has: self.exchange, needs: needs.exchange });
        }
        if self.sharing < needs.sharing {
            mismatches.push(Mismatch::Sharing { has: self.sharing, needs: needs.sharing });
        }
        if needs.persistent_connections && !self.persistent_connections {
            mismatches.push(Mismatch::PersistentConnections);
        }
        if needs.server_push && !self.server_push {
            mismatches.push(Mismatch::ServerPush);
        }
        if let (Some(has), Some(needs)) = (self.max_message_size, needs.max_message_size)
            && has < needs
        {
            mismatches.push(Mismatch::MaxMessageSize { has, needs });
        }
        mismatches
    }
}

/// What a caller needs. The default needs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requirements {
    /// At least this exchange.
    pub exchange: Exchange,
    /// At least this sharing.
    pub sharing: Sharing,
    /// Links that outlive a request.
    pub persistent_connections: bool,
    /// Messages that nobody asked for.
    pub server_push: bool,
    /// Messages of at least this many bytes.
    pub max_message_size: Option<u64>,
}

impl Requirements {
    /// Needs nothing.
    pub const NONE: Self = Self {
        exchange: Exchange::Unary,
        sharing: Sharing::Exclusive,
        persistent_connections: false,
        server_push: false,
        max_message_size: None,
    };

    /// Reads `streaming,max_message_size=10MiB`, the form of `explain --need`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut needs = Self::NONE;
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.split_once('=').map_or((item, None), |(name, value)| (name.trim(), Some(value.trim()))) {
                ("streaming", None) => needs.exchange = needs.exchange.max(Exchange::Streaming),
                ("duplex" | "bidirectional", None) => needs.exchange = Exchange::Duplex,
                ("persistent_connections" | "persistent", None) => needs.persistent_connections = true,
                ("server_push", None) => needs.server_push = true,
                ("shared", None) => needs.sharing = Sharing::Any,
                ("max_message_size", Some(value)) => {
                    needs.max_message_size = Some(crate::config::units::parse_size(value).map_err(Error::config)?);
                }
                _ => {
                    return Err(Error::config(format!("unknown need {item:?}")).with_hint(
                        "needs are streaming, duplex, persistent_connections, server_push, shared, max_message_size=SIZE",
                    ));
                }
            }
        }
        Ok(needs)
    }
}

impl From<&TransportCapabilities> for Requirements {
    /// Needs all that the other transport claims.
    fn from(claims: &TransportCapabilities) -> Self {
        Self {
            exchange: claims.exchange,
            sharing: claims.sharing,
            persistent_connections: claims.persistent_connections,
            server_push: claims.server_push,
            max_message_size: claims.max_message_size,
        }
    }
}

/// A need that a claim does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// Too little may be said per request.
    Exchange {
        /// Claimed.
        has: Exchange,
        /// Needed.
        needs: Exchange,
    },
    /// Links are shared less than needed.
    Sharing {
        /// Claimed.
        has: Sharing,
        /// Needed.
        needs: Sharing,
    },
    /// Links do not outlive a request.
    PersistentConnections,
    /// The responder cannot speak unasked.
    ServerPush,
    /// Messages are limited to less.
    MaxMessageSize {
        /// Claimed, in bytes.
        has: u64,
        /// Needed, in bytes.
        needs: u64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange { has, needs } => write!(f, "needs a {needs:?} exchange, claims {has:?}"),
            Self::Sharing { has, needs } => write!(f, "needs links shared by {needs:?}, claims {has:?}"),
            Self::PersistentConnections => f.write_str("needs persistent connections"),
            Self::ServerPush => f.write_str("needs server push"),
            Self::MaxMessageSize { has, needs } => write!(f, "needs messages of {needs} bytes, claims at most {has}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_claimed_limit_meets_any_size() {
        let needs = Requirements { max_message_size: Some(u64::MAX), ..Requirements::NONE };
        assert!(TransportCapabilities::UNARY.check(&needs).is_empty());
        let small = TransportCapabilities { max_message_size: Some(10), ..TransportCapabilities::UNARY };
        assert_eq!(small.check(&needs), [Mismatch::MaxMessageSize { has: 10, needs: u64::MAX }]);
    }

    #[test]
    fn needs_are_read_from_text() {
        let needs = Requirements::parse("streaming, max_message_size=10MiB").unwrap();
        assert_eq!((needs.exchange, needs.max_message_size), (Exchange::Streaming, Some(10 << 20)));
        assert!(Requirements::parse("speed").is_err());
    }
}
