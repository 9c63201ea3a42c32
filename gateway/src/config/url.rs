// SPDX-License-Identifier: Apache-2.0
//! URLs of listeners and upstreams.

use std::fmt;
use std::net::IpAddr;

use biplane::Target;
use url::Host;

use crate::merge::check_name;

/// Schemes over which a listener is reached from elsewhere, and whether they carry TLS, and bearer tokens.
const OPEN: [(&str, bool, bool); 6] = [
    ("http", false, true),
    ("https", true, true),
    ("sse", false, true),
    ("ws", false, true),
    ("wss", true, true),
    ("tcp", false, false),
];
/// Programs that start another one, whose name says more than theirs.
const STARTERS: [&str; 9] = ["npx", "bunx", "uvx", "uv", "pipx", "node", "python", "python3", "docker"];

/// A URL as it was written. `Debug` leaves out what may be a secret: credentials, queries, and arguments of a command.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url(String);

impl Url {
    /// Reads a URL; whether its scheme is served is for the registry to say.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let target = Target::parse(text, |_| true).map_err(|_| "expected a URL with a scheme".to_owned())?;
        if target.scheme() == "rpc" && target.rest().is_empty() {
            return Err("expected a service: rpc:NAME".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheme, without the name of a transport before it.
    pub fn scheme(&self) -> &str {
        let scheme = self.0.split(':').next().unwrap_or_default();
        scheme.rsplit('+').next().unwrap_or_default()
    }

    fn target(&self) -> Option<Target> {
        Target::parse(&self.0, |_| true).ok()
    }

    /// Why listening there would let anyone in, if it would. `has_mutual_tls` says that clients show certificates.
    pub(super) fn exposes(&self, has_tokens: bool, has_mutual_tls: bool) -> Option<&'static str> {
        let (_, is_tls, takes_tokens) = OPEN.into_iter().find(|(scheme, ..)| *scheme == self.scheme())?;
        if self.target().is_some_and(|target| is_loopback(&target)) {
            return None;
        }
        let is_known = (takes_tokens && has_tokens) || (is_tls && has_mutual_tls);
        match (is_tls, is_known) {
            (true, true) => None,
            (false, true) => Some("it is reached from other hosts, and tokens would travel in clear text"),
            (true, false) => Some("it is reached from other hosts, and nobody has to say who they are"),
            (false, false) => Some("it is reached from other hosts, in clear text, and nobody has to say who they are"),
        }
    }

    /// A name for an upstream that was given none.
    pub(super) fn suggested_name(&self) -> String {
        let rest = self.target().map(|target| target.rest().to_owned()).unwrap_or_default();
        let base = match self.scheme() {
            "stdio" => program(&rest),
            "rpc" => rest,
            _ => self.target().and_then(|target| target.url().host_str().map(str::to_owned)).unwrap_or_default(),
        };
        let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
        let name: String = base.chars().map(fits).take(32).collect();
        let name = name.trim_matches(['-', '.']).to_owned();
        if check_name(&name).is_ok() { name } else { "upstream".to_owned() }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target() {
            Some(target) if self.scheme() == "stdio" => match target.rest().split_whitespace().next() {
                Some(first) if target.rest().trim() != first => write!(f, "stdio:{first} …"),
                first => write!(f, "stdio:{}", first.unwrap_or_default()),
            },
            Some(target) => f.write_str(target.to_string().split(['?', '#']).next().unwrap_or_default()),
            None => f.write_str("…"),
        }
    }
}

/// The name of the program that a command line starts, as people call it.
fn program(command: &str) -> String {
    let mut words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
    let name = |word: &str| {
        let last = word.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        // Not the version of a package, nor the ending of a script.
        let last = last.split_once('@').map_or(last, |(name, _)| name);
        let ending = [".js", ".mjs", ".py", ".ts"].into_iter().find_map(|ending| last.strip_suffix(ending));
        ending.unwrap_or(last).to_owned()
    };
    let first = words.next().map(name).unwrap_or_default();
    if !STARTERS.contains(&first.as_str()) {
        return first;
    }
    let skipped = ["run", "exec", "tool", "x"];
    let started = words.find(|word| !word.starts_with('-') && !skipped.contains(word));
    started.map(name).filter(|name| !name.is_empty()).unwrap_or(first)
}

fn is_loopback(target: &Target) -> bool {
    match target.url().host_str().and_then(|host| Host::parse(host).ok()) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // Of schemes that the URL standard does not know, addresses are names.
        Some(Host::Domain(name)) => {
            let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
            name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_loopback_is_closed() {
        for local in [
            "http://127.0.0.1:8080/mcp",
            "http://[::1]:1/",
            "ws://localhost:9000",
            "tcp://127.0.0.2:1",
            "tcp://[::1]:1",
            "unix:///tmp/x",
            "stdio:",
            "rpc:tools.calc",
        ] {
            assert_eq!(url(local).exposes(false, false), None, "{local}");
        }
        for open in
            ["http://0.0.0.0:8080/mcp", "https://[::]:1", "ws://10.0.0.1:1", "tcp://host:1", "http://example.com"]
        {
            assert!(url(open).exposes(false, false).is_some(), "{open}");
        }
        assert!(url("http://0.0.0.0:1").exposes(true, false).unwrap().contains("clear text"));
        assert!(url("https://0.0.0.0:1").exposes(true, false).is_none());
        assert!(url("wss://0.0.0.0:1").exposes(false, true).is_none());
        assert!(url("acme+https://0.0.0.0:1").exposes(false, false).is_some());
        assert!(url("tcp://0.0.0.0:1").exposes(true, true).is_some());
    }

    #[test]
    fn names_are_what_people_call_it() {
        for (text, name) in [
            ("stdio:npx -y @modelcontextprotocol/server-everything@1.2", "server-everything"),
            ("stdio:/usr/local/bin/my_server --x", "my-server"),
            ("stdio:uv run ./tools/calc.py", "calc"),
            ("stdio:npx", "npx"),
            ("https://tools.example:8443/mcp", "tools.example"),
            ("rpc:tools.calc", "tools.calc"),
            ("unix:///tmp/x", "upstream"),
        ] {
            assert_eq!(url(text).suggested_name(), name, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        for text in ["stdio:server --token hunter2", "https://bob:hunter2@h/x", "https://h/x?key=hunter2"] {
            let shown = format!("{:?}", url(text));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(format!("{:?}", url("stdio:server --x")), "stdio:server …");
        assert!(Url::parse("no scheme").is_err() && Url::parse("rpc:").is_err());
    }
}
