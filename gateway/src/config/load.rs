// SPDX-License-Identifier: Apache-2.0
//! File and arguments, as one configuration.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use biplane::Result;
use toml::de::DeTable;

use crate::config::GatewayConfig;
use crate::config::problem::Problems;
use crate::config::reader::{Source, Table};
use crate::config::secret::read_text;
use crate::config::section::{Section, section};
use crate::config::upstream::{UpstreamConfigs, from_argument};
use crate::config::url::Url;
use crate::merge::Naming;
use crate::session_id::SessionKey;

/// Where a gateway listens that is told nothing.
const LISTEN: &str = "http://127.0.0.1:8080/mcp";
/// The variable of the key that session ids are signed with. It wins over the file's `session_key_file`.
const SESSION_KEY: &str = "BIPLANE_SESSION_KEY";

/// What a configuration is made of. Nothing else is read but the file and the files that it names.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The file; one without a section `[gateway]` says nothing of the gateway.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// URLs to listen on; if there are any, those of the file do not count.
    pub listen: Vec<String>,
    /// Where to listen if neither [`Inputs::listen`] nor the file says; unset, `http://127.0.0.1:8080/mcp`.
    pub default_listen: Option<String>,
    /// Upstreams as `URL` or `NAME=URL`; if there are any, those of the file do not count.
    pub upstreams: Vec<String>,
    /// How tools are named.
    pub naming: Option<Naming>,
    /// Whether a listener may be open to other hosts without TLS and authentication.
    pub allow_insecure_bind: Option<bool>,
    /// Whether clients of TLS listeners show a certificate: the section `[tls]` says so, which is not the gateway's.
    pub has_mutual_tls: bool,
}

impl fmt::Debug for Inputs {
    /// Without values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs")
            .field("file", &self.file)
            .field("env", &self.env.len())
            .field("listen", &self.listen.len())
            .field("upstreams", &self.upstreams.len())
            .finish_non_exhaustive()
    }
}

/// Reads and checks everything.
///
/// # Errors
/// One error of kind `Config` with every problem, each with its place in the file or its flag, and what to do. No value is
/// repeated that may be a secret.
pub fn load(inputs: &Inputs) -> Result<GatewayConfig> {
    let mut problems = Problems::default();
    let env: HashMap<&str, &str> = inputs.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let file = read(inputs, &env, &mut problems);

    let listeners = match inputs.listen.is_empty() {
        true => file.listeners,
        false => arguments("--listen", &inputs.listen, &mut problems),
    };
    let mut upstreams = file.upstreams;
    if !inputs.upstreams.is_empty() {
        upstreams = UpstreamConfigs::default();
        for text in &inputs.upstreams {
            match from_argument(text) {
                Ok((name, url)) => upstreams.add("--upstream", name, url, &mut problems),
                Err(what) => problems.add("--upstream", &what),
            }
        }
    }
    let upstreams = upstreams.all;
    if upstreams.is_empty() && !file.may_name_upstreams {
        problems.add("gateway", "expected an upstream; name one with --upstream URL or in [[gateway.upstream]]");
    }
    let listeners = match listeners.is_empty() {
        true => arguments(
            "gateway.listen",
            &[inputs.default_listen.clone().unwrap_or_else(|| LISTEN.to_owned())],
            &mut problems,
        ),
        false => listeners,
    };
    let may_expose = inputs.allow_insecure_bind.unwrap_or(file.allow_insecure_bind);
    for (place, url) in listeners.iter().filter(|_| !may_expose) {
        if let Some(reason) = url.exposes(!file.admission.tokens.is_empty(), inputs.has_mutual_tls) {
            let hint = "listen on 127.0.0.1, or use https and tokens, or set gateway.allow_insecure_bind = true";
            problems.add(place, &format!("{url:?} is refused: {reason}; {hint}"));
        }
    }
    let session_key = match env.get(SESSION_KEY).filter(|text| !text.trim().is_empty()) {
        Some(text) => {
            SessionKey::new(text.as_bytes()).map_err(|error| problems.add(SESSION_KEY, &error.to_string())).ok()
        }
        None => file.session_key,
    };
    problems.into_result()?;

    let usual = if upstreams.len() > 1 { Naming::Prefixed } else { Naming::Plain };
    Ok(GatewayConfig {
        listeners: listeners.into_iter().map(|(_, url)| url).collect(),
        naming: inputs.naming.or(file.naming).unwrap_or(usual),
        upstreams,
        limits: file.limits,
        admission: file.admission,
        session_key,
        drain_grace: file.drain_grace,
    })
}

fn arguments(flag: &str, texts: &[String], problems: &mut Problems) -> Vec<(String, Url)> {
    let mut urls = Vec::new();
    for text in texts {
        match Url::parse(text) {
            Ok(url) => urls.push((flag.to_owned(), url)),
            Err(what) => problems.add(flag, &what),
        }
    }
    urls
}

/// The file's section, or what holds without one.
fn read(inputs: &Inputs, env: &HashMap<&str, &str>, problems: &mut Problems) -> Section {
    let Some(path) = &inputs.file else { return Section::default() };
    let name = path.display().to_string();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            problems.add(&name, &format!("expected a readable file; {error}"));
            return Section { may_name_upstreams: true, ..Section::default() };
        }
    };
    let mut source = Source { file: &name, text: &text, env, problems };
    let (tree, faults) = DeTable::parse_recoverable(&text);
    if !faults.is_empty() {
        for fault in faults {
            source.fault(fault.span().unwrap_or_default(), "expected TOML", fault.message());
        }
        // What stands after a fault may have been meant otherwise.
        return Section { may_name_upstreams: true, ..Section::default() };
    }
    let Some(value) = tree.get_ref().get("gateway") else { return Section::default() };
    match value.get_ref().as_table() {
        Some(table) => section(Table::new("gateway", table), &mut source),
        None => {
            source.fault(value.span(), "gateway", "expected a section");
            Section { may_name_upstreams: true, ..Section::default() }
        }
    }
}
