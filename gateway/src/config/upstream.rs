// SPDX-License-Identifier: Apache-2.0
//! The keys of `[[gateway.upstream]]`, and what `--upstream` says.

use std::ops::Range;
use std::path::PathBuf;

use crate::config::problem::Problems;
use crate::config::reader::{Source, Table};
use crate::config::secret::Secret;
use crate::config::section::NAMINGS;
use crate::config::url::Url;
use crate::config::{Sharing, UpstreamConfig};
use crate::merge::{ToolFilter, check_name};

/// Upstreams: more would be too slow to list.
const MAX: usize = 256;
const MAX_CHILDREN: usize = 10_000;

/// Those that were read so far; their names differ.
#[derive(Debug, Default)]
pub(super) struct UpstreamConfigs {
    pub(super) all: Vec<UpstreamConfig>,
}

impl UpstreamConfigs {
    /// Adds one that has nothing but a URL.
    pub(super) fn add(&mut self, place: &str, name: Option<String>, url: Url, problems: &mut Problems) {
        let name = name.unwrap_or_else(|| self.free_name(&url));
        if let Some(what) = self.refuses(&name) {
            return problems.add(place, &what);
        }
        self.all.push(UpstreamConfig {
            name,
            url,
            naming: None,
            sessions: Sharing::default(),
            env: Vec::new(),
            cwd: None,
            headers: Vec::new(),
            tools: ToolFilter::default(),
            max_children: None,
            start_timeout: None,
            request_timeout: None,
        });
    }

    fn refuses(&self, name: &str) -> Option<String> {
        if let Err(error) = check_name(name) {
            return Some(error.to_string());
        }
        if self.all.iter().any(|known| known.name == name) {
            return Some(format!("there are two upstreams of the name {name:?}; give each its own"));
        }
        (self.all.len() >= MAX).then(|| format!("there are more than {MAX} upstreams"))
    }

    /// A name that says what it is, with a number if it is taken.
    fn free_name(&self, url: &Url) -> String {
        let name = url.suggested_name();
        let numbered = (2..=MAX + 1).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        names.find(|name| self.all.iter().all(|known| known.name != *name)).unwrap_or_default()
    }
}

/// `URL` or `NAME=URL`.
pub(super) fn from_argument(text: &str) -> Result<(Option<String>, Url), String> {
    match text.split_once('=') {
        // What stands before the `=` of a query or of a command line is no name: it has a colon.
        Some((name, url)) if !name.contains(':') => Ok((Some(name.trim().to_owned()), Url::parse(url)?)),
        _ => Ok((None, Url::parse(text)?)),
    }
}

pub(super) fn upstreams(tables: Vec<(Table<'_>, Range<usize>)>, source: &mut Source<'_>) -> UpstreamConfigs {
    let mut read = UpstreamConfigs::default();
    for (table, span) in tables {
        upstream(&mut read, table, span, source);
    }
    read
}

fn upstream(read: &mut UpstreamConfigs, mut table: Table<'_>, span: Range<usize>, source: &mut Source<'_>) {
    let place = table.path("name");
    let given = table.text(source, "name");
    let has_name = table.has("name");
    let url = table.parse(source, "url", |value| Url::parse(value.as_str().ok_or("expected a URL")?));
    if !table.has("url") {
        source.fault(span.clone(), &table.path("url"), "expected it to be there");
    }
    let naming = table.choice(source, "naming", &NAMINGS);
    let sessions = table.choice(source, "sessions", &[("shared", Sharing::Shared), ("dedicated", Sharing::Dedicated)]);
    let env = table.secrets(source, "env");
    let cwd = table.text(source, "cwd").map(PathBuf::from);
    let mut headers = headers(&mut table, source);
    if let Some(bearer) = table.secret(source, "bearer", false) {
        if headers.iter().any(|(name, _)| name == "authorization") {
            source.fault(span.clone(), &table.path("bearer"), "expected either this or the header authorization");
        }
        headers.push(("authorization".to_owned(), Secret::new(format!("Bearer {}", bearer.expose()))));
    }
    let patterns =
        |texts: Option<Vec<(String, _)>>| texts.unwrap_or_default().into_iter().map(|(text, _)| text).collect();
    let tools = ToolFilter::new(patterns(table.texts(source, "allow")), patterns(table.texts(source, "deny")));
    let max_children = table.count(source, "max_children", MAX_CHILDREN);
    let start_timeout = table.duration(source, "start_timeout");
    let request_timeout = table.duration(source, "request_timeout");
    let only_for = |schemes: &[&str], keys: &[&str], url: &Url, table: &Table<'_>, source: &mut Source<'_>| {
        for key in keys.iter().filter(|key| table.has(key) && !schemes.contains(&url.scheme())) {
            let what = format!("it has no meaning for {}: upstreams, only for {}", url.scheme(), schemes.join(", "));
            source.fault(span.clone(), &table.path(key), &what);
        }
    };
    if let Some(url) = &url {
        only_for(&["stdio"], &["env", "cwd", "max_children", "start_timeout"], url, &table, source);
        only_for(&["http", "https", "sse", "ws", "wss"], &["headers", "bearer"], url, &table, source);
    }
    table.finish(source);

    let (Some(url), true) = (url, given.is_some() || !has_name) else { return };
    let name = given.unwrap_or_else(|| read.free_name(&url));
    if let Some(what) = read.refuses(&name) {
        return source.fault(span, &place, &what);
    }
    read.all.push(UpstreamConfig {
        name,
        url,
        naming,
        sessions: sessions.unwrap_or_default(),
        env,
        cwd,
        headers,
        tools,
        max_children,
        start_timeout,
        request_timeout,
    });
}

/// Header names in lower case, with values that a header may have.
fn headers(table: &mut Table<'_>, source: &mut Source<'_>) -> Vec<(String, Secret)> {
    let path = table.path("headers");
    let mut read = Vec::new();
    for (name, value) in table.secrets(source, "headers") {
        let name = name.to_ascii_lowercase();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_value = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        if !name.bytes().all(is_name) || !value.expose().bytes().all(is_value) {
            source.problems.add(&format!("{}: {path}.{name}", source.file), "expected the name and value of a header");
            continue;
        }
        read.push((name, value));
    }
    read
}
