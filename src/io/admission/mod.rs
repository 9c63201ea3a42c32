// SPDX-License-Identifier: Apache-2.0
//! Who may come in by HTTP or WebSocket: which web pages ([`Origin`](http::header::ORIGIN)), under which of our names
//! ([`Host`](http::header::HOST)), and who they are (bearer tokens).
//!
//! A browser lets any page send requests to any address, and a name that its owner points at `127.0.0.1` makes a foreign
//! page look like a local one (DNS rebinding). So a request is served only if its `Origin`, where it has one, and its
//! `Host` are known. Both are compared whole, never by pattern. `X-Forwarded-*` and `Forwarded` are not looked at: whoever
//! sends a request can write them.
//!
//! Every listener of a runtime asks the one [`Gate`] of that runtime, whose content can be replaced while it listens:
//!
//! ```
//! # use std::sync::Arc;
//! use biplane::io::admission::{Admission, Gate, Token};
//! use biplane::Biplane;
//!
//! # fn main() -> biplane::Result<()> {
//! let gate = Arc::new(Gate::new(Admission::default().host("tools.example")?));
//! let biplane = Biplane::builder().share(gate.clone()).build()?;
//! gate.replace(Admission::default().token("alice", Token::of("correct horse battery staple")));
//! # Ok(()) }
//! ```

mod denial;
mod place;
mod token;

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use parking_lot::RwLock;

use self::place::Authority;
use super::principal::Principal;
use crate::error::Result;
use crate::registry::BuildContext;

pub use self::denial::Denial;
pub use self::place::Door;
pub use self::token::Token;

/// The rules. The default lets in what comes from this machine under a loopback name and asks for no token.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    origins: Vec<String>,
    hosts: Vec<Authority>,
    tokens: Vec<(Principal, Token)>,
}

impl Admission {
    /// Lets pages of `origin` in (`https://app.example`, `http://localhost:3000`), beside loopback names with our own port.
    /// Compared whole; `null`, which many pages share, is no origin.
    pub fn origin(mut self, origin: &str) -> Result<Self> {
        self.origins.push(place::parse_origin(origin)?);
        Ok(self)
    }

    /// Serves requests to the name `host` (`tools.example`, any port) or `host:port`, beside loopback names and the
    /// address that the listener is bound to, with our own port.
    pub fn host(mut self, host: &str) -> Result<Self> {
        self.hosts.push(Authority::parse_rule(host)?);
        Ok(self)
    }

    /// Knows whoever sends `token` as `name`. As soon as there is one token, requests without a known one are refused.
    pub fn token(mut self, name: &str, token: Token) -> Self {
        self.tokens.push((Principal::new(name), token));
        self
    }

    /// Whether requests need a token.
    pub fn wants_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Checks a request before its body is read: where it comes from, what it is addressed to, who sent it.
    pub fn admit(&self, door: &Door, uri: &Uri, headers: &HeaderMap) -> Result<Option<Principal>, Denial> {
        self.check_place(door, uri, headers)?;
        self.identify(uri, headers)
    }

    /// Only where it comes from and what it is addressed to: a browser's preflight carries no token.
    pub fn check_place(&self, door: &Door, uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
        place::check_host(door, &self.hosts, uri, headers)?;
        place::check_origin(door, &self.origins, headers)
    }

    /// Only who sent it: `None` where no token is asked for.
    pub fn identify(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<Principal>, Denial> {
        // Addresses end up in logs and histories, so a token there is refused even where none is needed.
        if uri.query().is_some_and(token::in_query) {
            return Err(Denial::TokenInQuery);
        }
        if self.tokens.is_empty() {
            return Ok(None);
        }
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(Denial::NoToken) };
        let given = token::bearer(value.as_bytes()).ok_or(Denial::NoToken)?;
        token::find(&self.tokens, Token::of(given)).cloned().map(Some).ok_or(Denial::WrongToken)
    }
}

/// The rules of a runtime, which can be replaced while it listens.
#[derive(Debug, Default)]
pub struct Gate(RwLock<Arc<Admission>>);

impl Gate {
    /// A gate with these rules.
    pub fn new(admission: Admission) -> Self {
        Self(RwLock::new(Arc::new(admission)))
    }

    /// The gate of a runtime: the one that its builder was given with `share`, else one with the default rules.
    pub fn of(context: &BuildContext) -> Result<Arc<Self>> {
        context.shared(|| Ok(Self::default()))
    }

    /// The rules as they are now.
    pub fn admission(&self) -> Arc<Admission> {
        self.0.read().clone()
    }

    /// Replaces the rules. What was admitted before stays.
    pub fn replace(&self, admission: Admission) {
        *self.0.write() = Arc::new(admission);
    }
}

#[cfg(test)]
mod tests;
