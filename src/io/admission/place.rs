// SPDX-License-Identifier: Apache-2.0
//! `Origin` and `Host` against their lists.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};
use url::{Host, Url};

use super::Denial;
use crate::error::{Error, Result};

/// The place where a request came in: what a listener knows of itself.
#[derive(Clone, Debug)]
pub struct Door {
    bound: SocketAddr,
    /// The usual spellings of our own names, which need not be read.
    usual: Arc<[String]>,
    name: Option<Host>,
    tls: bool,
}

impl Door {
    /// A listener at `bound`, with or without TLS.
    pub fn new(bound: SocketAddr, tls: bool) -> Self {
        let port = bound.port();
        let usual =
            [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}"), bound.to_string()];
        Self { bound, usual: usual.into(), name: None, tls }
    }

    /// The name or address that the listener was told to bind, which clients may use.
    pub fn named(mut self, host: &str) -> Self {
        self.name = parse_host(host);
        self
    }

    fn default_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Whether `host` is one of our own names: rebinding needs a name that somebody else owns.
    fn is_own(&self, host: &Host) -> bool {
        let address = match host {
            Host::Domain(name) => {
                return name.eq_ignore_ascii_case("localhost") || self.name.as_ref() == Some(host);
            }
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
        };
        // Who listens everywhere is reached by addresses that it does not know; an address is no name, so it cannot be
        // rebound.
        address.is_loopback() || address == self.bound.ip() || self.bound.ip().is_unspecified()
    }
}

/// `host` or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    host: Host,
    port: Option<u16>,
}

impl Authority {
    /// As it comes in a header. A port without digits is none.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rfind(':') {
            // The colons of an address in brackets are not the port's.
            Some(at) if !text.get(at..)?.contains(']') => (text.get(..at)?, text.get(at + 1..)?),
            _ => (text, ""),
        };
        let port = match port {
            "" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { host: parse_host(host)?, port })
    }

    /// As it stands in a configuration.
    pub(super) fn parse_rule(text: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| {
            Error::config(format!("{text:?} is no host that requests could be addressed to"))
                .with_hint("write a name or an address, with or without a port: tools.example, [::1]:8080")
        })
    }

    /// Whether this rule is met by `other` at a door with this default port. A rule without a port takes any.
    fn admits(&self, other: &Self, default_port: u16) -> bool {
        let port = |authority: &Self| authority.port.unwrap_or(default_port);
        self.host == other.host && (self.port.is_none() || port(self) == port(other))
    }
}

/// A host in one spelling: lower case, addresses in short form. What is neither name nor address is `None`.
fn parse_host(text: &str) -> Option<Host> {
    // The URL parser would decode these.
    if text.is_empty() || text.contains('%') {
        return None;
    }
    match Host::parse(text).ok()? {
        Host::Domain(name) => Some(Host::Domain(name.strip_suffix('.').map(str::to_owned).unwrap_or(name))),
        address => Some(address),
    }
}

/// `scheme://host[:port]` in one spelling.
pub(super) fn parse_origin(text: &str) -> Result<String> {
    let wrong = || {
        Error::config(format!("{text:?} is no origin of web pages"))
            .with_hint("write scheme://host or scheme://host:port, without a path: https://app.example")
    };
    let url = Url::parse(text).map_err(|error| wrong().with_source(error))?;
    let bare = url.path().trim_matches('/').is_empty() && url.query().is_none() && url.fragment().is_none();
    let origin = if url.origin().is_tuple() {
        url.origin().ascii_serialization()
    } else {
        // Desktop and extension schemes, which the URL standard gives no origin.
        let authority = url.host_str().map(|host| match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        });
        format!("{}://{}", url.scheme(), authority.ok_or_else(wrong)?)
    };
    if bare && url.username().is_empty() && url.password().is_none() { Ok(origin) } else { Err(wrong()) }
}

/// Whether the request is addressed to us. HTTP/2 has the name in the address, HTTP/1.1 in `Host`; if both are there,
/// both count.
pub(super) fn check_host(door: &Door, rules: &[Authority], uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && uri.authority().is_none()) {
        return Err(Denial::Host);
    }
    if let Some(host) = first {
        check_authority(door, rules, host.to_str().map_err(|_| Denial::Host)?)?;
    }
    uri.authority().map_or(Ok(()), |authority| check_authority(door, rules, authority.as_str()))
}

fn check_authority(door: &Door, rules: &[Authority], text: &str) -> Result<(), Denial> {
    if door.usual.iter().any(|usual| usual == text) {
        return Ok(());
    }
    let authority = Authority::parse(text).ok_or(Denial::Host)?;
    let own_port = authority.port.unwrap_or(door.default_port()) == door.bound.port();
    let own = own_port && door.is_own(&authority.host);
    let listed = || rules.iter().any(|rule| rule.admits(&authority, door.default_port()));
    if own || listed() { Ok(()) } else { Err(Denial::Host) }
}

/// Whether the page that sent the request, if it was one, may.
pub(super) fn check_origin(door: &Door, origins: &[String], headers: &HeaderMap) -> Result<(), Denial> {
    let mut given = headers.get_all(ORIGIN).iter();
    let (Some(origin), second) = (given.next(), given.next()) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|text| parse_origin(text).ok());
    let origin = origin.filter(|_| second.is_none()).ok_or(Denial::Origin)?;
    if origins.contains(&origin) || is_own_origin(door, &origin) { Ok(()) } else { Err(Denial::Origin) }
}

fn is_own_origin(door: &Door, origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Some(authority) = Authority::parse(authority) else { return false };
    let own_port = authority.port.unwrap_or(door.default_port()) == door.bound.port();
    scheme == door.scheme() && own_port && is_loopback(&authority.host)
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}
