// SPDX-License-Identifier: Apache-2.0
//! Names of places: [`TransportId`], [`Target`] (what a caller asks for), [`TransportAddress`] (what a responder publishes)
//! and [`ServiceName`].

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Result};
use crate::message::{Headers, SessionId, Subject};
use crate::proto::command_line::CommandLine;

/// The name of a transport: `[a-z][a-z0-9.-]*`. Open text, never an enum, so that a third party adds one without us.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TransportId(Cow<'static, str>);

impl TransportId {
    /// `tcp`
    pub const TCP: Self = Self::from_static("tcp");
    /// `http`
    pub const HTTP: Self = Self::from_static("http");
    /// `nats`
    pub const NATS: Self = Self::from_static("nats");
    /// `grpc`, reserved for a plugin.
    pub const GRPC: Self = Self::from_static("grpc");
    /// `mem`
    pub const MEM: Self = Self::from_static("mem");

    /// An id known at compile time.
    ///
    /// # Panics
    /// If it is not `[a-z][a-z0-9.-]*`; in a constant, that is a compile error.
    pub const fn from_static(text: &'static str) -> Self {
        assert!(valid(text), "a transport id is [a-z][a-z0-9.-]*");
        Self(Cow::Borrowed(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) const fn valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let fits = match bytes[at] {
            b'a'..=b'z' => true,
            b'0'..=b'9' | b'.' | b'-' => at > 0,
            _ => false,
        };
        if !fits {
            return false;
        }
        at += 1;
    }
    at > 0 && at <= 64
}

impl FromStr for TransportId {
    type Err = Error;

    /// Reads an id without regard to case.
    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase();
        if valid(&lower) {
            Ok(Self(Cow::Owned(lower)))
        } else {
            Err(Error::config(format!("a transport id is [a-z][a-z0-9.-]*, got {text:?}")))
        }
    }
}

impl TryFrom<String> for TransportId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TransportId> for String {
    fn from(id: TransportId) -> Self {
        id.0.into_owned()
    }
}

impl From<&'static str> for TransportId {
    /// As [`TransportId::from_static`].
    fn from(text: &'static str) -> Self {
        Self::from_static(text)
    }
}

impl From<&TransportId> for TransportId {
    fn from(id: &TransportId) -> Self {
        id.clone()
    }
}

impl Borrow<str> for TransportId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for TransportId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for TransportId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Schemes whose rest is no URL: a command line, a service name.
const OPAQUE: [&str; 2] = ["stdio", "rpc"];

/// Where a caller wants to go: a URL, the transport if the URL names one (`acme+https://…`), and a session to stay with.
#[derive(Clone, Debug)]
pub struct Target {
    transport: Option<TransportId>,
    url: Url,
    /// What stands behind the scheme's colon, as it was given.
    rest: Box<str>,
    session: Option<SessionId>,
    headers: Headers,
    variables: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

impl Target {
    /// Reads `text`. A prefix `id+` is split off only if `registered` knows the id, so schemes that contain `+` survive.
    pub fn parse(text: &str, registered: impl Fn(&str) -> bool) -> Result<Self> {
        let split =
            text.split_once(':').and_then(|(scheme, _)| scheme.split_once('+')).filter(|(id, _)| registered(id));
        let (transport, rest) = match split {
            Some((id, _)) => (Some(id.parse()?), &text[id.len() + 1..]),
            None => (None, text),
        };
        let (scheme, behind) = rest.split_once(':').unwrap_or((rest, ""));
        // A command line and a service name are no part of a URL's grammar, whatever they look like.
        let is_opaque = OPAQUE.iter().any(|opaque| scheme.eq_ignore_ascii_case(opaque));
        let url = if is_opaque { format!("{scheme}:") } else { rest.to_owned() };
        let url = Url::parse(&url).map_err(|error| {
            Error::config(format!("{text:?} is no URL ({error})"))
                .with_hint("write scheme://host:port/subject, or a service name without a colon")
        })?;
        Ok(Self {
            transport,
            url,
            rest: behind.into(),
            session: None,
            headers: Headers::new(),
            variables: Vec::new(),
            directory: None,
        })
    }

    /// The target that an already parsed URL names.
    pub fn from_url(url: Url) -> Self {
        let rest = url.as_str().split_once(':').map_or("", |(_, rest)| rest).into();
        Self {
            transport: None,
            url,
            rest,
            session: None,
            headers: Headers::new(),
            variables: Vec::new(),
            directory: None,
        }
    }

    /// Insists on a transport.
    pub fn with_transport(mut self, transport: TransportId) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Stays with the instance, and where sharing says so the link, of a session.
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// Adds what a transport with headers sends along with everything, such as `authorization`. The configuration of the
    /// target is where it belongs: nothing that a client sent may end here. Not shown.
    pub fn with_header(mut self, name: impl Into<ByteString>, value: impl Into<Bytes>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a variable to what a transport that starts a program lets it see. Not shown.
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Where a transport that starts a program starts it.
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Variables for the program that is started.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Where the program is started, if not where its transport says.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// What is sent along with everything.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The transport that the URL insists on.
    pub fn transport(&self) -> Option<&TransportId> {
        self.transport.as_ref()
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// What stands behind the scheme's colon, as it was given: the command line of `stdio:`, the service of `rpc:`.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The URL, without a transport prefix. Of `stdio:` and `rpc:` the scheme alone: the rest is [`Target::rest`].
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The session to stay with.
    pub fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// `host:port`; a URL without either is an error that says so.
    pub fn authority(&self) -> Result<String> {
        match (self.url.host_str(), self.url.port_or_known_default()) {
            (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
            _ => Err(Error::config(format!("{self} lacks a host or a port"))
                .with_hint(format!("write {}://host:port", self.scheme()))),
        }
    }

    /// The value of a parameter of the URL's query.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The subject that the path names, percent-decoded; `None` for an empty path.
    pub fn subject(&self) -> Result<Option<Subject>> {
        let path = self.url.path().trim_start_matches('/');
        if path.is_empty() {
            return Ok(None);
        }
        let text = percent_encoding::percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Error::config(format!("the path of {self} is not UTF-8")))?;
        Subject::new(text.into_owned()).map(Some)
    }
}

impl fmt::Display for Target {
    /// The URL without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = &self.transport {
            write!(f, "{transport}+")?;
        }
        if OPAQUE.contains(&self.url.scheme()) {
            return match CommandLine::parse(&self.rest) {
                // What is assigned to variables may be secret.
                Ok(line) if !line.assignments.is_empty() => write!(f, "{}:…{line}", self.url.scheme()),
                _ => write!(f, "{}:{}", self.url.scheme(), self.rest),
            };
        }
        if self.url.username().is_empty() && self.url.password().is_none() {
            return write!(f, "{}", self.url);
        }
        let mut url = self.url.clone();
        // Both fail only for URLs that cannot have credentials, which then have none to hide.
        let _ = url.set_username("***");
        let _ = url.set_password(None);
        write!(f, "{url}")
    }
}

/// What a responder publishes and a caller is given: a transport and an address in that transport's own form
/// (`host:port`, a URL, a subject, a path).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportAddress {
    /// Who understands the address.
    pub transport: TransportId,
    /// The address.
    pub address: String,
}

impl TransportAddress {
    /// An address of any transport.
    pub fn new(transport: impl Into<TransportId>, address: impl Into<String>) -> Self {
        Self { transport: transport.into(), address: address.into() }
    }

    /// `host:port`
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(TransportId::TCP, address)
    }

    /// A URL.
    pub fn http(url: impl Into<String>) -> Self {
        Self::new(TransportId::HTTP, url)
    }

    /// A NATS subject.
    pub fn nats(subject: impl Into<String>) -> Self {
        Self::new(TransportId::NATS, subject)
    }
}

impl fmt::Display for TransportAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.address)
    }
}

/// The name of a service: `[[namespace.]component.]endpoint`, each part `[A-Za-z0-9_-]+`, missing ones `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// First part.
    pub namespace: String,
    /// Second part.
    pub component: String,
    /// Third part, always given.
    pub endpoint: String,
}

impl ServiceName {
    /// The subject under which the service is registered: the shortest text that parses to this name.
    pub fn subject(&self) -> Subject {
        Subject::new(self.to_string()).unwrap_or(Subject::from_static("default"))
    }
}

impl FromStr for ServiceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() > 3 || text.len() > 255 || !parts.iter().all(|part| fits(part)) {
            return Err(Error::config(format!("{text:?} is no service name"))
                .with_hint("a name is [[namespace.]component.]endpoint of letters, digits, _ and -, at most 255 bytes; a URL has a colon"));
        }
        let part = |from_end: usize| {
            parts.len().checked_sub(from_end).map_or_else(|| "default".to_owned(), |at| parts[at].to_owned())
        };
        Ok(Self { namespace: part(3), component: part(2), endpoint: part(1) })
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace != "default" {
            write!(f, "{}.", self.namespace)?;
        }
        if self.namespace != "default" || self.component != "default" {
            write!(f, "{}.", self.component)?;
        }
        f.write_str(&self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_split_only_if_it_is_registered() {
        let target = Target::parse("acme+https://h/x", |id| id == "acme").unwrap();
        assert_eq!((target.transport().map(TransportId::as_str), target.scheme()), (Some("acme"), "https"));
        let target = Target::parse("acme+https://h/x", |_| false).unwrap();
        assert_eq!((target.transport(), target.scheme()), (None, "acme+https"));
    }

    #[test]
    fn service_names_fill_from_the_left_and_print_short() {
        for (text, short) in
            [("words", "words"), ("default.default.words", "words"), ("a.b", "a.b"), ("n.default.e", "n.default.e")]
        {
            let name: ServiceName = text.parse().unwrap();
            assert_eq!(name.to_string(), short);
            assert_eq!(short.parse::<ServiceName>().unwrap(), name);
        }
        for bad in ["", "a.b.c.d", "a..b", "tcp:x", "ä"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_line_stays_as_it_was_given() {
        let target = Target::parse(r#"stdio:npx -y "@a/b c" --x=%41?#z"#, |_| false).unwrap();
        assert_eq!((target.scheme(), target.rest()), ("stdio", r#"npx -y "@a/b c" --x=%41?#z"#));
        assert_eq!(target.to_string(), r#"stdio:npx -y "@a/b c" --x=%41?#z"#);
        assert_eq!(Target::parse("tcp://h:1/x", |_| false).unwrap().rest(), "//h:1/x");
    }

    #[test]
    fn credentials_do_not_show() {
        let target = Target::parse("nats://bob:secret@h:1/x", |_| false).unwrap();
        assert!(!target.to_string().contains("secret"));
        let target = Target::parse("stdio:KEY='my secret' server -y", |_| false).unwrap();
        assert_eq!(target.to_string(), "stdio:…server -y");
    }
}
