// SPDX-License-Identifier: Apache-2.0
//! Layering: default, file, environment, code. All problems of all layers are one error.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use config::{ConfigError, Value, ValueKind};

use crate::config::Config;
use crate::config::env::CONFIG_FILE;
use crate::config::file::read_text;
use crate::config::keys::{Keys, Path, join};
use crate::config::kind::{EnvKind, Known};
use crate::config::layer::{Entry, Layer, Reader};
use crate::config::problem::{Problems, Refusal, near, quote};
use crate::config::raw::{self, Conflict};
use crate::error::{Error, Phase, Result};
use crate::plane::PlaneType;
use crate::registry::TransportRegistration;

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What a configuration is made of. Nothing else is read, least of all the process's own environment; only the file that
/// these name is opened.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The file, as `--config` names it; `BIPLANE_CONFIG` of `env` if there is none.
    pub file: Option<PathBuf>,
    /// The environment. An empty value is as if the variable were unset.
    pub env: Vec<(String, String)>,
    /// From code: dotted path, and text as it would stand in a variable. Wins over everything.
    pub overrides: Vec<(String, String)>,
}

impl Inputs {
    /// Inputs of an environment, as `std::env::vars_os` gives it. A value of ours that is not UTF-8 is refused by [`load`].
    pub fn from_env(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        Self {
            env: variables.into_iter().map(|(name, value)| (lossy(name), lossy(value))).collect(),
            ..Self::default()
        }
    }
}

impl fmt::Debug for Inputs {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("Inputs")
            .field("file", &self.file)
            .field("env", &names(&self.env))
            .field("overrides", &names(&self.overrides))
            .finish()
    }
}

/// A configuration, and how it came to be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The typed tree.
    pub config: Config,
    /// Every key with its effective value, in the order of the documents.
    pub settings: Vec<Setting>,
    /// What is not wrong, yet probably not meant: variables that look like a slip of a known one.
    pub warnings: Vec<String>,
}

/// One key of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, dotted; empty for the file itself.
    pub path: String,
    /// The variable that sets it, if there is one.
    pub variable: Option<&'static str>,
    /// The effective value as a person would write it, secrets redacted; empty if unset.
    pub value: String,
    /// Where the value came from.
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedded defaults.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable: the key's own, or the one that elected a transport as its plane's default.
    Env(String),
    /// Code, which includes the program's arguments.
    Code,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(variable) => f.write_str(variable),
            Self::Code => f.write_str("code"),
        }
    }
}

/// Reads all layers and merges them: embedded defaults, then the file, then the environment, then code.
///
/// Ids of transports and backends are checked against `registrations`, whose `env` rows join the core's.
///
/// # Errors
/// One error of kind [`Config`](crate::ErrorKind::Config) that lists every problem of every layer, also of values that a
/// later layer overrides: each with its variable or its file and key, the value (redacted if it is a secret), what was
/// expected, and a hint. The program's exit code for it is 2, before anything is bound.
pub fn load(inputs: Inputs, registrations: &[TransportRegistration]) -> Result<Loaded> {
    let keys = Keys::new(registrations)?;
    let pairs = inputs.env.iter().map(|(name, value)| (name.as_str(), value.trim()));
    let env: HashMap<&str, &str> = pairs.filter(|(_, value)| !value.is_empty()).collect();

    let mut problems = Problems::default();
    let mut defaults =
        Reader { keys: &keys, known: Known::Any, problems: &mut problems }.toml(DEFAULTS, &Source::Default);
    let mut reader = Reader { keys: &keys, known: Known::Only(registrations), problems: &mut problems };
    let (config_file, file) = file_layer(&mut reader, inputs.file, &env);
    let set = [file, reader.environment(&env), reader.code(&inputs.overrides)];

    defaults.insert(path("discovery.file_kv"), file_store(&env));
    for (path, entry) in elected(&keys, &set, &env) {
        defaults.insert(path, entry);
    }
    let [file, environment, code] = set;
    let layers = Layers([defaults, file, environment, code]);

    let parsed = layers.merge().and_then(|tree| raw::parse(tree, |key| layers.is_default(&path(key))));
    let (config, conflicts) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.into_result()?;
            return Err(Error::unexpected("the embedded defaults do not make a configuration")
                .with_phase(Phase::Configure)
                .with_source(error));
        }
    };
    for conflict in conflicts {
        layers.report(conflict, &keys, &mut problems);
    }
    problems.into_result()?;
    Ok(Loaded { config, settings: layers.settings(&keys, config_file), warnings: slips(&keys, &env) })
}

/// The file that was read, if any, and its layer.
fn file_layer(
    reader: &mut Reader<'_>,
    given: Option<PathBuf>,
    env: &HashMap<&str, &str>,
) -> (Option<(PathBuf, Source)>, Layer) {
    let variable = Source::Env(CONFIG_FILE.to_owned());
    let (name, source, place) = match (given, env.get(CONFIG_FILE)) {
        (Some(name), _) => (name, Source::Code, "the configuration file".to_owned()),
        (None, Some(text)) => (PathBuf::from(text), variable, CONFIG_FILE.to_owned()),
        (None, None) => return (None, Layer::default()),
    };
    let text = name.to_string_lossy();
    let read = EnvKind::Path.read(&text, Known::Any).and_then(|_| read_text(&name));
    let layer = match read {
        Ok(text) => reader.toml(&text, &Source::File(name.clone())),
        Err(refusal) => {
            reader.problems.add(place, Some(quote(&text)), refusal);
            Layer::default()
        }
    };
    (Some((name, source)), layer)
}

/// The default of `DYN_FILE_KV`, which no file can state: it depends on the user and on `TMPDIR`.
fn file_store(env: &HashMap<&str, &str>) -> Entry {
    let user = rustix::process::geteuid().as_raw();
    let path = PathBuf::from(env.get("TMPDIR").unwrap_or(&"/tmp")).join(format!("biplane-{user}"));
    entry(path.to_string_lossy().into_owned(), Source::Default)
}

/// The defaults of the planes that nobody configured and that a registration takes because its variable is set. Of several
/// the lowest priority number wins, then the id. A connection is never elected: there the URL decides.
fn elected(keys: &Keys<'_>, set: &[Layer; 3], env: &HashMap<&str, &str>) -> Vec<(Path, Entry)> {
    let planes = [
        ("request_planes", PlaneType::Request),
        ("response_plane", PlaneType::Response),
        ("discovery.backend", PlaneType::Discovery),
    ];
    let said = |path: &[String]| set.iter().rev().find_map(|layer| layer.get(path));
    // Set is set, be it in the environment or, if the variable is of the table, by its key in the file or in code.
    let source_of = |variable: &str| {
        let by_key = keys.all.iter().filter(|key| key.row.name == variable).find_map(|key| said(&key.path));
        let by_name = || env.contains_key(variable).then(|| Source::Env(variable.to_owned()));
        by_key.map(|entry| entry.source.clone()).or_else(by_name)
    };
    let unset = planes.into_iter().filter(|(dotted, _)| said(&path(dotted)).is_none());
    unset
        .filter_map(|(dotted, plane)| {
            let of_plane = keys.registrations.iter().filter(|row| row.plane() == plane);
            let running = of_plane.filter_map(|row| Some((row, source_of(row.elected_by?)?)));
            let (row, source) = running.min_by_key(|(row, _)| (row.priority, row.transport_id))?;
            let value: ValueKind = match plane {
                PlaneType::Request => vec![row.transport_id].into(),
                _ => row.transport_id.into(),
            };
            let shown = row.transport_id.to_owned();
            Some((path(dotted), Entry { value: Value::new(Some(&source.to_string()), value), shown, source }))
        })
        .collect()
}

/// Variables of our prefixes that nobody reads and that look like one that somebody reads. Others are left alone: Dynamo
/// has many of its own.
fn slips(keys: &Keys<'_>, env: &HashMap<&str, &str>) -> Vec<String> {
    let rows = keys.all.iter().map(|key| key.row.name).filter(|name| !name.is_empty());
    let electors = keys.registrations.iter().filter_map(|row| row.elected_by);
    let known: Vec<&str> = rows.chain(electors).chain([CONFIG_FILE]).collect();
    let ours = |name: &&str| name.starts_with("DYN_") || name.starts_with("BIPLANE_");
    let mut names: Vec<&str> = env.keys().copied().filter(ours).filter(|name| !known.contains(name)).collect();
    names.sort_unstable();
    let near = names.into_iter().filter_map(|name| Some((name, near(name, known.iter().copied())?)));
    near.map(|(name, meant)| format!("{name} is set and nothing reads it; did you mean {meant}?")).collect()
}

/// All layers, the strongest last.
struct Layers([Layer; 4]);

impl Layers {
    fn get(&self, path: &[String]) -> Option<&Entry> {
        self.0.iter().rev().find_map(|layer| layer.get(path))
    }

    fn is_default(&self, path: &[String]) -> bool {
        self.get(path).is_none_or(|entry| entry.source == Source::Default)
    }

    fn merge(&self) -> Result<config::Config, ConfigError> {
        let sources = self.0.iter().cloned();
        sources.fold(config::Config::builder(), |builder, layer| builder.add_source(layer)).build()
    }

    /// Tells of a rule between two keys, unless one of them is malformed: then the rule was tried on a default that the
    /// operator did not mean.
    fn report(&self, conflict: Conflict, keys: &Keys<'_>, problems: &mut Problems) {
        let [guilty, other] = conflict.keys.map(path);
        if problems.spoiled(&guilty) || problems.spoiled(&other) {
            return;
        }
        let place = |path: &Path| match self.get(path) {
            Some(entry) if entry.source != Source::Default => entry.source.place(path),
            _ => keys.name(path),
        };
        let mut refusal = Refusal::expected(conflict.expected);
        if guilty != other {
            refusal = refusal.hint(format!("change it or {}", place(&other)));
        }
        let found = self.get(&guilty).map(|entry| {
            let note = if entry.source == Source::Default { " (the default)" } else { "" };
            format!("{}{note}", quote(&entry.shown))
        });
        problems.add(place(&guilty), found, refusal);
    }

    fn settings(&self, keys: &Keys<'_>, config_file: Option<(PathBuf, Source)>) -> Vec<Setting> {
        let (value, source) = match config_file {
            Some((name, source)) => (name.display().to_string(), source),
            None => (String::new(), Source::Default),
        };
        let mut settings = vec![Setting { path: String::new(), variable: Some(CONFIG_FILE), value, source }];
        for key in &keys.all {
            let (value, source) = match self.get(&key.path) {
                Some(entry) => (entry.shown.clone(), entry.source.clone()),
                None => (String::new(), Source::Default),
            };
            let variable = Some(key.row.name).filter(|name| !name.is_empty());
            settings.push(Setting { path: join(&key.path), variable, value, source });
        }
        let foreign: BTreeMap<&Path, &Entry> = self.0.iter().flat_map(Layer::iter).collect();
        for (path, entry) in foreign.into_iter().filter(|(path, _)| !keys.all.iter().any(|key| key.path == **path)) {
            let (value, source) = (entry.shown.clone(), entry.source.clone());
            settings.push(Setting { path: join(path), variable: None, value, source });
        }
        settings
    }
}

fn entry(text: String, source: Source) -> Entry {
    let value = Value::new(Some(&source.to_string()), text.as_str());
    Entry { value, shown: text, source }
}

/// The path of a dotted text of ours, in which no segment has a dot.
fn path(dotted: &str) -> Path {
    dotted.split('.').map(str::to_owned).collect()
}
