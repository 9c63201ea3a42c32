// SPDX-License-Identifier: Apache-2.0
//! The section `[transport.nats]`, and the settings that it stands for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;
use biplane::config::{EnvKind, EnvVar, units};
use biplane::{Error, Result};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

pub(crate) const SERVER_VARIABLE: &str = "NATS_SERVER";

const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

/// A caller that hears nothing for this long asks elsewhere: an acknowledgement is one round trip and the opening of an
/// answer's stream.
const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests of one endpoint whose answer's stream is being opened. One more is refused, which is safe to repeat.
const DEFAULT_MAX_ACCEPTING: usize = 1024;

pub(crate) const ENV: &[EnvVar] = &[
    // No default: only a server that somebody names elects the plane.
    EnvVar::new(
        SERVER_VARIABLE,
        "transport.nats.server",
        EnvKind::Text,
        "",
        "URL of the NATS server, `nats://` or `tls://`, or several separated by commas. Set, it makes `nats` the default \
         request plane. The plane without it uses `nats://127.0.0.1:4222`.",
    ),
    EnvVar::new(
        "NATS_AUTH_USERNAME",
        "transport.nats.username",
        EnvKind::Text,
        "",
        "User name at the NATS server, with `NATS_AUTH_PASSWORD`.",
    ),
    EnvVar::new(
        "NATS_AUTH_PASSWORD",
        "transport.nats.password",
        EnvKind::Text,
        "",
        "Password of `NATS_AUTH_USERNAME`.",
    )
    .secret(),
    EnvVar::new("NATS_AUTH_TOKEN", "transport.nats.token", EnvKind::Text, "", "Token that the NATS server asks for.")
        .secret(),
    EnvVar::new(
        "NATS_AUTH_NKEY",
        "transport.nats.nkey",
        EnvKind::Text,
        "",
        "Seed (`SU…`) of the nkey that the NATS server knows.",
    )
    .secret(),
    EnvVar::new(
        "NATS_AUTH_CREDENTIALS_FILE",
        "transport.nats.credentials_file",
        EnvKind::Path,
        "",
        "File with a JWT and the seed that signs for it.",
    ),
    EnvVar::new(
        "",
        "transport.nats.ack_timeout",
        EnvKind::Duration,
        "5s",
        "How long a caller waits for the acknowledgement of a request, if its deadline is not earlier.",
    ),
    EnvVar::new(
        "",
        "transport.nats.max_accepting",
        EnvKind::Int { min: 1, max: 1_000_000 },
        "1024",
        "Requests of one endpoint whose answer's stream is being opened; one more is refused, which is safe to repeat.",
    ),
];

/// What the section may say.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NatsConfig {
    server: Option<String>,
    username: Option<String>,
    password: Option<String>,
    token: Option<String>,
    nkey: Option<String>,
    credentials_file: Option<PathBuf>,
    #[serde(deserialize_with = "units::deserialize_optional_duration")]
    ack_timeout: Option<Duration>,
    max_accepting: Option<usize>,
}

/// The settings of one runtime's connection.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<ServerAddr>,
    /// Nobody named a server, so that `servers` is the default.
    pub(crate) server_is_default: bool,
    pub(crate) auth: Auth,
    pub(crate) ack_timeout: Duration,
    pub(crate) max_accepting: usize,
}

/// How the process shows who it is; one way at a time.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    None,
    Password { username: String, password: String },
    Token(String),
    Nkey(String),
    Credentials(PathBuf),
}

impl Auth {
    /// The variables that a refused operator should look at.
    pub(crate) const fn variables(&self) -> &'static str {
        match self {
            Self::None => {
                "set NATS_AUTH_USERNAME and NATS_AUTH_PASSWORD, or NATS_AUTH_TOKEN, NATS_AUTH_NKEY or NATS_AUTH_CREDENTIALS_FILE"
            }
            Self::Password { .. } => "check NATS_AUTH_USERNAME and NATS_AUTH_PASSWORD",
            Self::Token(_) => "check NATS_AUTH_TOKEN",
            Self::Nkey(_) => "check that NATS_AUTH_NKEY is the seed (SU…) of a key that the server knows",
            Self::Credentials(_) => "check NATS_AUTH_CREDENTIALS_FILE",
        }
    }
}

impl fmt::Debug for Auth {
    /// The kind only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Password { .. } => "password",
            Self::Token(_) => "token",
            Self::Nkey(_) => "nkey",
            Self::Credentials(_) => "credentials file",
        })
    }
}

impl Settings {
    /// Reads the section; every problem is in the one error.
    pub(crate) fn parse(config: NatsConfig) -> Result<Self> {
        let mut problems = Vec::new();
        let text = config.server.as_deref().filter(|text| !text.trim().is_empty());
        let servers = servers(text.unwrap_or(DEFAULT_SERVER), &mut problems);
        let auth = auth(&config, &servers, &mut problems);
        let ack_timeout = config.ack_timeout.unwrap_or(DEFAULT_ACK_TIMEOUT);
        if ack_timeout.is_zero() {
            problems.push("ack_timeout is 0; write a time such as 5s".to_owned());
        }
        let max_accepting = config.max_accepting.unwrap_or(DEFAULT_MAX_ACCEPTING);
        if max_accepting == 0 {
            problems.push("max_accepting is 0, so that every request would be refused".to_owned());
        }
        if problems.is_empty() {
            let servers = servers.into_iter().map(without_credentials).collect();
            return Ok(Self { servers, server_is_default: text.is_none(), auth, ack_timeout, max_accepting });
        }
        Err(Error::config(format!("[transport.nats]: {}", problems.join("; "))))
    }

    /// Whether the process uses the server at `host`, `port`.
    pub(crate) fn has_server(&self, host: &str, port: Option<u16>) -> bool {
        let host = host.trim_matches(['[', ']']);
        self.servers.iter().any(|server| server.host() == host && server.port() == port.unwrap_or(4222))
    }

    /// The servers for people, without credentials.
    pub(crate) fn address(&self) -> String {
        let show = |server: &ServerAddr| {
            let host = server.host();
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            format!("{}://{open}{host}{close}:{}", server.scheme(), server.port())
        };
        self.servers.iter().map(show).collect::<Vec<_>>().join(",")
    }
}

fn servers(text: &str, problems: &mut Vec<String>) -> Vec<ServerAddr> {
    let mut servers = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.parse::<ServerAddr>() {
            Ok(server) if server.host().is_empty() => {
                problems.push(format!("{SERVER_VARIABLE} has an item without a host"))
            }
            // async-nats is built without web sockets, and would speak plain NATS to such an address.
            Ok(server) if server.is_websocket() => {
                problems
                    .push(format!("{SERVER_VARIABLE}: {}:// is not served; write nats:// or tls://", server.scheme()));
            }
            Ok(server) => servers.push(server),
            // The item may hold a password, so it is not shown.
            Err(error) => {
                problems.push(format!("{SERVER_VARIABLE} has an item that is no nats:// or tls:// URL ({error})"))
            }
        }
    }
    if servers.is_empty() && problems.is_empty() {
        problems.push(format!("{SERVER_VARIABLE} names no server"));
    }
    servers
}

fn auth(config: &NatsConfig, servers: &[ServerAddr], problems: &mut Vec<String>) -> Auth {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut ways = Vec::new();
    match (given(&config.username), given(&config.password)) {
        (Some(username), Some(password)) => {
            ways.push(("NATS_AUTH_USERNAME", Auth::Password { username, password }));
        }
        (Some(_), None) => problems.push("NATS_AUTH_USERNAME is set without NATS_AUTH_PASSWORD".to_owned()),
        (None, Some(_)) => problems.push("NATS_AUTH_PASSWORD is set without NATS_AUTH_USERNAME".to_owned()),
        (None, None) => {}
    }
    ways.extend(given(&config.token).map(|token| ("NATS_AUTH_TOKEN", Auth::Token(token))));
    ways.extend(given(&config.nkey).map(|seed| ("NATS_AUTH_NKEY", Auth::Nkey(seed))));
    let file = config.credentials_file.clone().filter(|path| !path.as_os_str().is_empty());
    ways.extend(file.map(|path| ("NATS_AUTH_CREDENTIALS_FILE", Auth::Credentials(path))));
    // async-nats does not read credentials from a URL. They stand behind the variables, which are the plainer wish.
    if ways.is_empty() {
        ways.extend(servers.iter().find_map(in_url).map(|auth| (SERVER_VARIABLE, auth)));
    }
    if ways.len() > 1 {
        let names = ways.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
        problems.push(format!("{names} are set, but there is one way to authenticate at a time; unset all but one"));
    }
    ways.into_iter().next().map_or(Auth::None, |(_, auth)| auth)
}

/// `nats://user:password@host` or `nats://token@host`.
fn in_url(server: &ServerAddr) -> Option<Auth> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let username = server.username().map(decode)?;
    Some(match server.password().map(decode) {
        Some(password) => Auth::Password { username, password },
        None => Auth::Token(username),
    })
}

/// async-nats shows addresses in its own log.
fn without_credentials(server: ServerAddr) -> ServerAddr {
    let mut url = server.clone().into_inner();
    // Both fail only for URLs that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    ServerAddr::from_url(url).unwrap_or(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_server(text: &str) -> NatsConfig {
        NatsConfig { server: Some(text.to_owned()), ..NatsConfig::default() }
    }

    #[test]
    fn nothing_means_the_default_server() {
        let settings = Settings::parse(NatsConfig::default()).unwrap();
        assert_eq!(settings.address(), DEFAULT_SERVER);
        assert!(settings.server_is_default);
        assert_eq!(settings.auth, Auth::None);
    }

    #[test]
    fn servers_are_a_list_and_their_credentials_do_not_show() {
        let settings = Settings::parse(with_server("nats://bob:s%40c@a:1, b")).unwrap();
        assert_eq!(settings.address(), "nats://a:1,nats://b:4222");
        assert_eq!(settings.auth, Auth::Password { username: "bob".into(), password: "s@c".into() });
        assert!(settings.has_server("b", None) && settings.has_server("a", Some(1)) && !settings.has_server("a", None));
        assert!(!format!("{:?} {:?}", settings.auth, settings.servers).contains("bob"));
    }

    #[test]
    fn all_problems_come_at_once_and_without_secrets() {
        let config = NatsConfig {
            server: Some("http://x:hunter2@y".to_owned()),
            username: Some("bob".to_owned()),
            token: Some("s3cret".to_owned()),
            nkey: Some("SUSECRET".to_owned()),
            max_accepting: Some(0),
            ..NatsConfig::default()
        };
        let error = Settings::parse(config).err().unwrap().to_string();
        for part in ["NATS_SERVER", "NATS_AUTH_PASSWORD", "NATS_AUTH_TOKEN and NATS_AUTH_NKEY", "max_accepting"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        for secret in ["hunter2", "s3cret", "SUSECRET"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn the_table_says_what_the_code_does() {
        let default = |path: &str| ENV.iter().find(|row| row.path == path).map(|row| row.default);
        let ack_timeout = units::format_duration(DEFAULT_ACK_TIMEOUT);
        assert_eq!(default("transport.nats.ack_timeout"), Some(ack_timeout.as_str()));
        assert_eq!(default("transport.nats.max_accepting"), Some(DEFAULT_MAX_ACCEPTING.to_string().as_str()));
        assert!(ENV.iter().any(|row| row.name == SERVER_VARIABLE && row.doc.contains(DEFAULT_SERVER)));
    }

    #[test]
    fn web_sockets_and_empty_lists_are_refused() {
        for (bad, part) in [("wss://h", "wss://"), (" , ", "no server"), ("nats://", "NATS_SERVER")] {
            let error = Settings::parse(with_server(bad)).err().unwrap().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
