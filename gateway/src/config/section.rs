// SPDX-License-Identifier: Apache-2.0
//! The keys of `[gateway]`.

use std::path::PathBuf;
use std::time::Duration;

use biplane::io::admission::{Admission, Token};

use crate::config::reader::{Source, Table};
use crate::config::secret::{Secret, read_text};
use crate::config::upstream::{UpstreamConfigs, upstreams};
use crate::config::url::Url;
use crate::config::{AdmissionConfig, GatewayLimits};
use crate::merge::Naming;
use crate::session_id::SessionKey;

/// Longer than any answer is awaited, shorter than an operator's patience.
const DRAIN_GRACE: Duration = Duration::from_secs(30);
/// No message is larger.
const MAX_BODY: usize = 1 << 30;
const MANY: usize = 1_000_000;

/// The words for [`Naming`].
pub(super) const NAMINGS: [(&str, Naming); 2] = [("prefix", Naming::Prefixed), ("plain", Naming::Plain)];

/// What the file says.
#[derive(Debug)]
pub(super) struct Section {
    /// With the place of each, for a complaint.
    pub(super) listeners: Vec<(String, Url)>,
    pub(super) upstreams: UpstreamConfigs,
    pub(super) naming: Option<Naming>,
    pub(super) limits: GatewayLimits,
    pub(super) admission: AdmissionConfig,
    pub(super) session_key: Option<SessionKey>,
    pub(super) drain_grace: Duration,
    pub(super) allow_insecure_bind: bool,
    /// It names upstreams, be they right or not, or it could not be read and may: that there is none is no further fault.
    pub(super) may_name_upstreams: bool,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            upstreams: UpstreamConfigs::default(),
            naming: None,
            limits: GatewayLimits::default(),
            admission: AdmissionConfig::default(),
            session_key: None,
            drain_grace: DRAIN_GRACE,
            allow_insecure_bind: false,
            may_name_upstreams: false,
        }
    }
}

pub(super) fn section(mut table: Table<'_>, source: &mut Source<'_>) -> Section {
    let place = table.path("listen");
    let mut listeners = Vec::new();
    for (text, span) in table.texts(source, "listen").unwrap_or_default() {
        match Url::parse(&text) {
            Ok(url) => listeners.push((format!("{}: {place}", source.file), url)),
            Err(what) => source.fault(span, &place, &what),
        }
    }
    let read = Section {
        listeners,
        may_name_upstreams: table.has("upstream"),
        upstreams: upstreams(table.tables(source, "upstream"), source),
        naming: table.choice(source, "naming", &NAMINGS),
        limits: limits(&mut table, source),
        admission: admission(&mut table, source),
        session_key: session_key(&mut table, source),
        drain_grace: table.duration(source, "drain_grace").unwrap_or(DRAIN_GRACE),
        allow_insecure_bind: table.flag(source, "allow_insecure_bind").unwrap_or(false),
    };
    table.finish(source);
    read
}

fn limits(table: &mut Table<'_>, source: &mut Source<'_>) -> GatewayLimits {
    let usual = GatewayLimits::default();
    let Some(mut table) = table.table(source, "limits") else { return usual };
    let limits = GatewayLimits {
        max_sessions: table.count(source, "max_sessions", MANY).unwrap_or(usual.max_sessions),
        max_sessions_per_principal: table.count(source, "max_sessions_per_principal", MANY),
        session_idle: table.duration(source, "session_idle").unwrap_or(usual.session_idle),
        session_lifetime: table.duration(source, "session_lifetime").unwrap_or(usual.session_lifetime),
        max_body: table.size(source, "max_body", MAX_BODY).unwrap_or(usual.max_body),
        max_in_flight_per_session: table
            .count(source, "max_in_flight_per_session", MANY)
            .unwrap_or(usual.max_in_flight_per_session),
        max_in_flight: table.count(source, "max_in_flight", MANY).unwrap_or(usual.max_in_flight),
        request_timeout: table.duration(source, "request_timeout").unwrap_or(usual.request_timeout),
    };
    let place = format!("{}: {}", source.file, table.path("session_idle"));
    table.finish(source);
    if limits.session_idle > limits.session_lifetime {
        source.problems.add(&place, "expected at most gateway.limits.session_lifetime");
    }
    if limits.max_in_flight_per_session > limits.max_in_flight {
        let place = format!("{}: gateway.limits.max_in_flight_per_session", source.file);
        source.problems.add(&place, "expected at most gateway.limits.max_in_flight");
    }
    limits
}

fn admission(table: &mut Table<'_>, source: &mut Source<'_>) -> AdmissionConfig {
    let mut admission = AdmissionConfig::default();
    let Some(mut table) = table.table(source, "admission") else { return admission };
    let path = table.path("origins");
    for (text, span) in table.texts(source, "origins").unwrap_or_default() {
        match Admission::default().origin(&text) {
            Ok(_) => admission.origins.push(text),
            Err(error) => source.fault(span, &path, &error.to_string()),
        }
    }
    let path = table.path("hosts");
    for (text, span) in table.texts(source, "hosts").unwrap_or_default() {
        match Admission::default().host(&text) {
            Ok(_) => admission.hosts.push(text),
            Err(error) => source.fault(span, &path, &error.to_string()),
        }
    }
    for (mut token, span) in table.tables(source, "token") {
        let name = token.text(source, "name");
        let hash = token.parse(source, "sha256", |value| {
            let text = value.as_str().ok_or("expected 64 hexadecimal digits")?;
            text.trim().parse::<Token>().map(|token| Secret::new(token.to_string())).map_err(|error| error.to_string())
        });
        for (key, is_there) in [("name", token.has("name")), ("sha256", token.has("sha256"))] {
            if !is_there {
                source.fault(span.clone(), &token.path(key), "expected it to be there");
            }
        }
        token.finish(source);
        let Some((name, hash)) = name.zip(hash) else { continue };
        if admission.tokens.iter().any(|(known, _)| *known == name) {
            source.fault(span, "gateway.admission.token", &format!("there are two tokens of the name {name:?}"));
            continue;
        }
        admission.tokens.push((name, hash));
    }
    table.finish(source);
    admission
}

fn session_key(table: &mut Table<'_>, source: &mut Source<'_>) -> Option<SessionKey> {
    table.parse(source, "session_key_file", |value| {
        let path = value.as_str().ok_or("expected the path of a file")?;
        let text = read_text(&PathBuf::from(path)).map_err(|error| format!("expected a readable file; {error}"))?;
        SessionKey::new(text.as_bytes()).map_err(|error| error.to_string())
    })
}
