// SPDX-License-Identifier: Apache-2.0
//! The variable as data, and how the text of each kind of value is read.

use config::ValueKind;

use crate::config::problem::{Refusal, near};
use crate::config::units;
use crate::plane::PlaneType;
use crate::registry::TransportRegistration;
use crate::target::TransportId;

/// One row of the variable table.
///
/// A plugin's rows stand in its registration and their paths under `transport.<id>.`:
///
/// ```
/// use biplane::config::{EnvKind, EnvVar};
/// const ENV: &[EnvVar] = &[
///     EnvVar::new("ACME_SERVER", "transport.acme.server", EnvKind::Text, "", "Where the broker is."),
///     EnvVar::new("ACME_TOKEN", "transport.acme.token", EnvKind::Text, "", "What it is told.").secret(),
/// ];
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EnvVar {
    /// The variable; empty for a key that only the file and code can set.
    pub name: &'static str,
    /// The path in the configuration tree, dotted; empty for `BIPLANE_CONFIG`, which says where the tree is.
    pub path: &'static str,
    /// What values it takes.
    pub kind: EnvKind,
    /// The default, as text for the documents; empty means unset.
    pub default: &'static str,
    /// One sentence for the documents and `biplane config --list`.
    pub doc: &'static str,
    /// Never shown.
    pub secret: bool,
}

impl EnvVar {
    /// A row that may be shown.
    pub const fn new(
        name: &'static str,
        path: &'static str,
        kind: EnvKind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, path, kind, default, doc, secret: false }
    }

    /// Its value is never shown, in no message and no listing.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// What values a variable takes. In a section, [`Seconds`](Self::Seconds) and [`Duration`](Self::Duration) stand as text
/// for [`units::deserialize_duration`], numbers, sizes and ports as numbers, lists as lists, the rest as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvKind {
    /// Any text without control characters.
    Text,
    /// 1/0, true/false, yes/no, on/off.
    Bool,
    /// A whole number within bounds, both included.
    Int {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A whole number of seconds, or `30s`, `5m`, `1h`, `250ms`; not zero.
    Seconds,
    /// `250ms`, `30s`, `5m`, `1h`; a bare number is seconds; not zero.
    Duration,
    /// `16MiB`, `64KiB`, `1GB`, or bytes; from one byte to 1 GiB.
    Size,
    /// A port.
    Port,
    /// One of these words, without regard to case.
    OneOf(&'static [&'static str]),
    /// The id of something registered.
    Transport(PlaneType),
    /// Several, separated by commas.
    Transports(PlaneType),
    /// Several ids of what can carry a request, be it a request plane or a connection, separated by commas.
    Carriers,
    /// A path in the file system.
    Path,
    /// A host name or an address.
    Host,
    /// A path of a URL.
    UrlPath,
    /// A `tracing` filter.
    LogFilter,
}

/// Which ids may be named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// Any: a default names what may not be linked, and is then refused only if it is used.
    Any,
    /// Those of these registrations.
    Only(&'a [TransportRegistration]),
}

/// A message is held in memory as a whole.
const MAX_SIZE: u64 = 1 << 30;

impl EnvKind {
    /// Reads `text`, which is not empty, into the form that the raw tree and plugins' sections hold.
    pub(super) fn read(self, text: &str, known: Known<'_>) -> Result<ValueKind, Refusal> {
        let refuse = || Refusal::expected(self.expectation());
        if text.contains(char::is_control) {
            return Err(refuse().hint("take out the control characters"));
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            // Where the environment was not UTF-8, this character stands for what was lost.
            return Err(refuse().hint("write it in UTF-8"));
        }
        Ok(match self {
            Self::Text => text.into(),
            Self::Bool => ValueKind::Boolean(read_bool(text).ok_or_else(refuse)?),
            Self::Int { min, max } => {
                ValueKind::U64(read_int(text).filter(|number| (min..=max).contains(number)).ok_or_else(refuse)?)
            }
            Self::Port => ValueKind::U64(read_int(text).filter(|port| *port <= 65_535).ok_or_else(refuse)?),
            Self::Seconds | Self::Duration => {
                let duration = units::parse_duration(text).ok().filter(|duration| !duration.is_zero());
                units::format_duration(duration.ok_or_else(refuse)?).into()
            }
            Self::Size => {
                let bytes = units::parse_size(text).ok().filter(|bytes| (1..=MAX_SIZE).contains(bytes));
                ValueKind::U64(bytes.ok_or_else(refuse)?)
            }
            Self::OneOf(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                (*word.ok_or_else(|| refuse().or_near(text, words.iter().copied()))?).into()
            }
            Self::Transport(_) => self.read_id(text, known)?.into(),
            Self::Transports(_) | Self::Carriers => {
                let mut ids: Vec<String> = Vec::new();
                for part in text.split(',') {
                    let id = self.read_id(part.trim(), known)?;
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                ids.into()
            }
            Self::Path => read_path(text).map_err(|hint| refuse().hint(hint))?.into(),
            Self::Host => read_host(text).map_err(|hint| refuse().hint(hint))?.into(),
            Self::UrlPath => read_url_path(text).ok_or_else(refuse)?.into(),
            Self::LogFilter => {
                if let Some(level) = unknown_level(text) {
                    return Err(refuse().or_near(level, LEVELS));
                }
                text.into()
            }
        })
    }

    /// What is accepted, as a clause that follows "expected" and as a cell of the documents.
    pub fn expectation(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Bool => "1/0, true/false, yes/no or on/off".to_owned(),
            Self::Int { min, max } => format!("a whole number from {min} to {max}"),
            Self::Seconds => "seconds, or a duration such as `30s` or `5m`, from 1ms to ten years".to_owned(),
            Self::Duration => "a duration such as `250ms`, `30s` or `5m`, from 1ms to ten years".to_owned(),
            Self::Size => "a size such as `64KiB` or `16MiB`, from 1 byte to 1 GiB".to_owned(),
            Self::Port => "a port from 0 to 65535".to_owned(),
            Self::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Self::Transport(plane) => format!("a registered {}", plane_noun(plane)),
            Self::Transports(plane) => format!("a registered {}, or several separated by commas", plane_noun(plane)),
            Self::Carriers => "registered request or connection transports, separated by commas".to_owned(),
            Self::Path => "a path in the file system".to_owned(),
            Self::Host => "a host name or an IP address".to_owned(),
            Self::UrlPath => "the path of a URL, such as `/v1/rpc`".to_owned(),
            Self::LogFilter => {
                "a filter such as `info` or `info,biplane::tcp=debug`; levels are off, error, warn, info, debug, trace"
                    .to_owned()
            }
        }
    }

    /// The value as a person would write it.
    pub(super) fn show(self, value: &ValueKind) -> String {
        match (self, value) {
            (Self::Size, ValueKind::U64(bytes)) => units::format_size(*bytes),
            (_, ValueKind::Array(items)) => {
                items.iter().map(|item| item.kind.to_string()).collect::<Vec<_>>().join(",")
            }
            (_, value) => value.to_string(),
        }
    }

    /// Whether several values may be given as a list in the file.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Transports(_) | Self::Carriers)
    }

    /// What may be named, each once, in order.
    pub(super) fn candidates(self, registrations: &[TransportRegistration]) -> Vec<&'static str> {
        let serves = |plane| match self {
            Self::Transport(wanted) | Self::Transports(wanted) => plane == wanted,
            Self::Carriers => matches!(plane, PlaneType::Request | PlaneType::Connection),
            _ => false,
        };
        let mut ids: Vec<_> =
            registrations.iter().filter(|row| serves(row.plane())).map(|row| row.transport_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn read_id(self, text: &str, known: Known<'_>) -> Result<String, Refusal> {
        let Known::Only(registrations) = known else {
            let id = text.parse::<TransportId>();
            return id.map(String::from).map_err(|_| Refusal::expected(self.expectation()));
        };
        let candidates = self.candidates(registrations);
        if let Some(id) = candidates.iter().find(|id| id.eq_ignore_ascii_case(text)) {
            return Ok((*id).to_owned());
        }
        let registered = if candidates.is_empty() { "none".to_owned() } else { candidates.join(", ") };
        let refusal = Refusal::expected(format!("{} (registered: {registered})", self.expectation()));
        Err(match near(text, candidates) {
            Some(id) => refusal.hint(format!("did you mean `{id}`?")),
            None => refusal.hint("a plugin is there once a program links it: `use its_crate as _;`"),
        })
    }
}

fn plane_noun(plane: PlaneType) -> &'static str {
    match plane {
        PlaneType::Connection => "connection transport",
        PlaneType::Request => "request transport",
        PlaneType::Response => "response transport",
        PlaneType::Discovery => "discovery backend",
    }
}

fn read_bool(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["1", "true", "yes", "on"]) {
        Some(true)
    } else if is(["0", "false", "no", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// Digits only: `str::parse` would take a sign.
fn read_int(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn read_path(text: &str) -> Result<&str, &'static str> {
    if text == "~" || text.starts_with("~/") {
        return Err("write it in full: only a shell knows what `~` is");
    }
    Ok(text)
}

/// A host without brackets.
fn read_host(text: &str) -> Result<&str, &'static str> {
    if text.contains("://") || text.contains('/') {
        return Err("write the host alone, without a scheme or a path");
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.contains(':') {
        let zoneless = bare.split_once('%').map_or(bare, |(address, _)| address);
        return match zoneless.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(bare),
            Err(_) => Err("write the host alone; the port has a variable of its own"),
        };
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if bare.is_empty() || bare.len() > 253 || !bare.bytes().all(fits) {
        return Err("a name has letters, digits, dots and hyphens, at most 253");
    }
    Ok(bare)
}

/// With a leading and without a trailing slash; empty for the root.
fn read_url_path(text: &str) -> Option<String> {
    let path = text.trim_end_matches('/').trim_start_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
    let whole =
        path.split('/').all(|segment| !matches!(segment, "." | "..") && (path.is_empty() || !segment.is_empty()));
    (whole && path.bytes().all(fits)).then(|| if path.is_empty() { String::new() } else { format!("/{path}") })
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The first level of a filter's directives that is none. Directives are separated by commas and end in `=level`; what
/// stands in brackets, braces or quotes selects spans and is not looked into.
fn unknown_level(filter: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut quoted = false;
    let directives = filter.split(|c| {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    });
    directives
        .filter_map(|directive| directive.rsplit_once('=').map(|(_, level)| level.trim()))
        .find(|level| !level.contains([']', '}', '"']) && !is_level(level))
}

fn is_level(text: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text)) || matches!(text, "0" | "1" | "2" | "3" | "4" | "5")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: EnvKind, text: &str) -> Option<String> {
        kind.read(text, Known::Any).ok().map(|value| kind.show(&value))
    }

    #[test]
    fn booleans_in_every_spelling() {
        for (on, off) in [("1", "0"), ("true", "FALSE"), ("Yes", "no"), ("ON", "off")] {
            assert_eq!((read_bool(on), read_bool(off)), (Some(true), Some(false)));
        }
        assert_eq!(read_bool("maybe"), None);
        assert_eq!(read_bool("2"), None);
    }

    #[test]
    fn numbers_within_their_bounds_only() {
        let kind = EnvKind::Int { min: 1, max: 10 };
        assert_eq!(read(kind, "10").as_deref(), Some("10"));
        for text in ["0", "11", "-1", "+1", "NaN", "1.0", "1e1", "0x1", "18446744073709551616"] {
            assert_eq!(read(kind, text), None, "{text}");
        }
        for (text, taken) in [("0", true), ("65535", true), ("65536", false), ("70000", false)] {
            assert_eq!(read(EnvKind::Port, text).is_some(), taken, "{text}");
        }
    }

    #[test]
    fn hosts_stand_alone_and_without_brackets() {
        for (text, host) in
            [("[::1]", "::1"), ("::", "::"), ("fe80::1%eth0", "fe80::1%eth0"), ("a-b.example", "a-b.example")]
        {
            assert_eq!(read(EnvKind::Host, text).as_deref(), Some(host));
        }
        for text in ["host:80", "http://host", "a b", "a/b", "[", "[]", "hôst"] {
            assert_eq!(read(EnvKind::Host, text), None, "{text}");
        }
    }

    #[test]
    fn url_paths_are_brought_into_one_form() {
        for (text, path) in [("/v1/rpc", "/v1/rpc"), ("v1/rpc/", "/v1/rpc"), ("/", ""), ("/a%20b", "/a%20b")] {
            assert_eq!(read_url_path(text).as_deref(), Some(path), "{text}");
        }
        for text in ["/a b", "/a?b", "/a#b", "/a//b", "/../b", "/ä"] {
            assert_eq!(read_url_path(text), None, "{text}");
        }
    }

    #[test]
    fn filters_name_known_levels() {
        for text in
            ["info", "biplane=debug,hyper=off", "hyper", "x[span{a=\"b,c=d\"}]=TRACE", "x[span{a=1}]", "warn,x=3"]
        {
            assert_eq!(unknown_level(text), None, "{text}");
        }
        assert_eq!(unknown_level("info,biplane=debgu"), Some("debgu"));
        let refusal = EnvKind::LogFilter.read("biplane=debgu", Known::Any).unwrap_err();
        assert_eq!(refusal.hint.as_deref(), Some("did you mean `debug`?"));
    }

    #[test]
    fn what_the_environment_lost_is_refused() {
        for kind in [EnvKind::Text, EnvKind::Path, EnvKind::LogFilter] {
            assert!(kind.read("a\u{fffd}b", Known::Any).is_err());
            assert!(kind.read("a\0b", Known::Any).is_err());
        }
    }
}
