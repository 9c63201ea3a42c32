// SPDX-License-Identifier: Apache-2.0
//! One layer, checked leaf by leaf against the keys: a source for the `config` crate, which merges the layers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use config::{ConfigError, Map, Value, ValueKind};

use crate::config::keys::{Key, Keys, Path, Place, join};
use crate::config::kind::Known;
use crate::config::load::Source;
use crate::config::problem::{Problems, Refusal, conceal, quote};

/// More bytes than any value needs, and few enough to look at.
const MAX_TEXT: usize = 16 * 1024;

/// The values of one layer, in their normal form. What was malformed is in the [`Problems`] instead.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer(BTreeMap<Path, Entry>);

/// One value and where it came from.
#[derive(Clone)]
pub(super) struct Entry {
    /// In the form that the raw tree holds.
    pub(super) value: Value,
    /// As a person would write it; redacted.
    pub(super) shown: String,
    pub(super) source: Source,
}

/// What reading a layer takes.
pub(super) struct Reader<'a> {
    pub(super) keys: &'a Keys<'a>,
    pub(super) known: Known<'a>,
    pub(super) problems: &'a mut Problems,
}

impl Layer {
    pub(super) fn get(&self, path: &[String]) -> Option<&Entry> {
        self.0.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.0.iter()
    }

    pub(super) fn insert(&mut self, path: Path, entry: Entry) {
        self.0.insert(path, entry);
    }
}

impl Reader<'_> {
    /// The environment's layer. Nothing but `pairs` is looked at; of two pairs with one name the later wins.
    pub(super) fn environment(&mut self, pairs: &HashMap<&str, &str>) -> Layer {
        let mut layer = Layer::default();
        for key in self.keys.all.iter().filter(|key| !key.row.name.is_empty()) {
            if let Some(text) = pairs.get(key.row.name) {
                self.leaf(&mut layer, key, text, Source::Env(key.row.name.to_owned()));
            }
        }
        layer
    }

    /// The layer of what code says, as pairs of a dotted path and a text.
    pub(super) fn code(&mut self, pairs: &[(String, String)]) -> Layer {
        let mut layer = Layer::default();
        for (dotted, text) in pairs {
            let path = self.keys.resolve(dotted);
            match self.keys.place(&path) {
                Place::Key(key) => self.leaf(&mut layer, key, text, Source::Code),
                Place::Foreign => self.foreign(&mut layer, path, text.as_str().into(), Source::Code),
                Place::Section => self.problems.add(
                    Source::Code.place(&path),
                    None,
                    Refusal::expected("the path of a key").hint(format!("name one key of [{dotted}]")),
                ),
                Place::Unknown => self.problems.add(Source::Code.place(&path), None, self.keys.unknown(&path)),
            }
        }
        layer
    }

    /// Reads the text of one key. Empty text is as if nothing stood there.
    pub(super) fn leaf(&mut self, layer: &mut Layer, key: &Key, text: &str, source: Source) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let read = if text.len() > MAX_TEXT {
            Err(Refusal::expected(format!("{} of at most {MAX_TEXT} bytes", key.row.kind.expectation())))
        } else {
            key.row.kind.read(text, self.known)
        };
        match read {
            Ok(value) => {
                let shown = match key.row.secret {
                    true => "***".to_owned(),
                    false => conceal(&key.row.kind.show(&value)),
                };
                let value = Value::new(Some(&source.to_string()), value);
                layer.insert(key.path.clone(), Entry { value, shown, source });
            }
            Err(refusal) => {
                let found = if key.row.secret { "***".to_owned() } else { quote(&conceal(text)) };
                self.problems.add(source.place(&key.path), Some(found), refusal);
                self.problems.spoil(&key.path);
            }
        }
    }

    /// Takes a value that no row describes. It may be a secret, so that it is set is all that is shown.
    pub(super) fn foreign(&mut self, layer: &mut Layer, path: Path, value: ValueKind, source: Source) {
        if matches!(&value, ValueKind::String(text) if text.is_empty()) {
            return;
        }
        let value = Value::new(Some(&source.to_string()), value);
        layer.insert(path, Entry { value, shown: "(set)".to_owned(), source });
    }
}

impl Source {
    /// How the operator finds the value: the variable, or the file and the key.
    pub(super) fn place(&self, path: &[String]) -> String {
        match self {
            Self::Env(variable) => variable.clone(),
            Self::Default | Self::File(_) | Self::Code => format!("{self}: {}", join(path)),
        }
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut tree = Map::new();
        for (path, entry) in &self.0 {
            plant(&mut tree, path, &entry.value);
        }
        Ok(tree)
    }
}

fn plant(tree: &mut Map<String, Value>, path: &[String], value: &Value) {
    match path {
        [] => {}
        [last] => {
            tree.insert(last.clone(), value.clone());
        }
        [first, rest @ ..] => {
            let section = tree.entry(first.clone()).or_insert_with(|| Value::from(Map::<String, Value>::new()));
            if let ValueKind::Table(section) = &mut section.kind {
                plant(section, rest, value);
            }
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from {}", self.shown, self.source)
    }
}
