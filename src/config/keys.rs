// SPDX-License-Identifier: Apache-2.0
//! Every key that there is: the core's, and those of the registrations at hand.

use std::collections::BTreeSet;

use crate::config::env::{FILE_KEYS, VARIABLES};
use crate::config::kind::EnvVar;
use crate::config::problem::{Refusal, near};
use crate::error::{Error, Result};
use crate::registry::TransportRegistration;

/// Transports whose sections the core parses itself, whether or not they are linked.
const OWN: [&str; 2] = ["tcp", "http"];

/// Sections of programs that stand in the same file and are read by them: the gateway's crate reads its own.
const OTHERS: [&str; 1] = ["gateway"];

/// A path in the tree, a segment each. A transport's id is one segment even if it has dots.
pub(super) type Path = Vec<String>;

/// One key, with its row of the table.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) path: Path,
    pub(super) row: EnvVar,
}

/// What a path of a file is.
pub(super) enum Place<'a> {
    /// A value.
    Key(&'a Key),
    /// A table.
    Section,
    /// Within a plugin's section and in none of its rows: the plugin judges it.
    Foreign,
    /// Another program's section.
    Other,
    /// Nothing that is known.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Keys<'a> {
    pub(super) all: Vec<Key>,
    pub(super) registrations: &'a [TransportRegistration],
    /// Ids of the plugins, which may have keys without rows.
    plugins: BTreeSet<&'static str>,
}

impl<'a> Keys<'a> {
    /// The union. A registration whose row lies outside its own section is refused: it would shadow somebody else's.
    pub(super) fn new(registrations: &'a [TransportRegistration]) -> Result<Self> {
        let mut all: Vec<Key> = VARIABLES
            .iter()
            .chain(FILE_KEYS)
            .filter(|row| !row.path.is_empty())
            .map(|row| Key { path: row.path.split('.').map(str::to_owned).collect(), row: *row })
            .collect();
        for registration in registrations {
            for row in registration.env {
                let path = path_of(registration.transport_id, row.path).ok_or_else(|| stray(registration, row))?;
                // The registrations of one transport share its rows.
                if !all.iter().any(|key| key.path == path && key.row.name == row.name) {
                    all.push(Key { path, row: *row });
                }
            }
        }
        let plugins = registrations.iter().map(|row| row.transport_id).filter(|id| !OWN.contains(id)).collect();
        Ok(Self { all, registrations, plugins })
    }

    pub(super) fn place(&self, path: &[String]) -> Place<'_> {
        if let Some(key) = self.all.iter().find(|key| key.path == path) {
            return Place::Key(key);
        }
        if self.all.iter().any(|key| path.starts_with(&key.path)) {
            return Place::Unknown;
        }
        let prefix = |key: &Key| key.path.len() > path.len() && key.path.starts_with(path);
        match path {
            [transport, id, rest @ ..] if transport == "transport" && self.plugins.contains(id.as_str()) => {
                if rest.is_empty() || self.all.iter().any(prefix) { Place::Section } else { Place::Foreign }
            }
            _ if self.all.iter().any(prefix) => Place::Section,
            [first, ..] if OTHERS.contains(&first.as_str()) => Place::Other,
            _ => Place::Unknown,
        }
    }

    /// The path that a dotted text of code means. Ids may have dots, so the longest plugin's id that fits is taken.
    pub(super) fn resolve(&self, dotted: &str) -> Path {
        if let Some(key) = self.all.iter().find(|key| join(&key.path) == dotted || key.row.path == dotted) {
            return key.path.clone();
        }
        let ids = self.plugins.iter().filter_map(|id| path_of(id, dotted));
        ids.min_by_key(Vec::len).unwrap_or_else(|| dotted.split('.').map(str::to_owned).collect())
    }

    /// How an operator would set a key: by its variable, or by its path in the file.
    pub(super) fn name(&self, path: &[String]) -> String {
        let key = self.all.iter().find(|key| key.path == path && !key.row.name.is_empty());
        key.map_or_else(|| join(path), |key| key.row.name.to_owned())
    }

    /// Why a path is refused, and what it was meant to be.
    pub(super) fn unknown(&self, path: &[String]) -> Refusal {
        match path {
            [transport, id, ..]
                if transport == "transport" && !OWN.contains(&id.as_str()) && !self.plugins.contains(id.as_str()) =>
            {
                let ids: Vec<&str> = OWN.into_iter().chain(self.plugins.iter().copied()).collect();
                let refusal = Refusal::expected(format!(
                    "the section of a registered transport (registered: {})",
                    ids.join(", ")
                ));
                match near(id, ids) {
                    Some(id) => refusal.hint(format!("did you mean `transport.{id}`?")),
                    None => refusal.hint("a plugin is there once a program links it: `use its_crate as _;`"),
                }
            }
            _ => {
                let dotted: Vec<String> = self.all.iter().map(|key| join(&key.path)).collect();
                let refusal = Refusal::expected("a known key");
                match near(&join(path), dotted.iter().map(String::as_str)) {
                    Some(key) => refusal.hint(format!("did you mean `{key}`?")),
                    None => refusal.hint("docs/configuration.md lists them"),
                }
            }
        }
    }
}

/// The dotted form; an id with dots is quoted, as in the file.
pub(super) fn join(path: &[String]) -> String {
    let quoted = path.iter().map(|part| if part.contains('.') { format!("{part:?}") } else { part.clone() });
    quoted.collect::<Vec<_>>().join(".")
}

/// The segments of `dotted` if it lies within the section of `id`.
fn path_of(id: &str, dotted: &str) -> Option<Path> {
    let rest = dotted.strip_prefix("transport.")?.strip_prefix(id)?.strip_prefix('.')?;
    let head = ["transport", id].into_iter();
    (!rest.split('.').any(str::is_empty)).then(|| head.chain(rest.split('.')).map(str::to_owned).collect())
}

fn stray(registration: &TransportRegistration, row: &EnvVar) -> Error {
    let id = registration.transport_id;
    Error::config(format!(
        "the transport {id} ({}) brings the variable {} for the path {:?}, which is not its own",
        registration.origin, row.name, row.path
    ))
    .with_hint(format!("its path has to begin with transport.{id}."))
}
