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
                // There is nobody to read it: code speaks to the gateway itself.
                Place::Other | Place::Unknown => self.unknown(&path, &Source::Code),
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
        let nested = |other: &Path| other.len() != path.len() && (other.starts_with(&path) || path.starts_with(other));
        if let Some(other) = layer.0.keys().find(|other| nested(other)) {
            let refusal = Refusal::expected("a value or a section, not both").hint(format!("see {}", join(other)));
            return self.problems.add(source.place(&path), None, refusal);
        }
        let value = Value::new(Some(&source.to_string()), value);
        layer.insert(path, Entry { value, shown: "(set)".to_owned(), source });
    }

    pub(super) fn unknown(&mut self, path: &[String], source: &Source) {
        // Advice costs a comparison with every key, and a file may hold a hundred thousand that are unknown.
        let refusal = if self.problems.is_full() { Refusal::expected("a known key") } else { self.keys.unknown(path) };
        self.problems.add(source.place(path), None, refusal);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kind::{EnvKind, EnvVar};
    use crate::registry::TransportRegistration;

    const ENV: &[EnvVar] =
        &[EnvVar::new("ACME_PORT", "transport.acme.fast.port", EnvKind::Port, "", "A port of an id with a dot.")];
    const ROWS: &[TransportRegistration] = &[
        TransportRegistration::request("acme", |_| Err(crate::Error::unsupported("a name only"))),
        TransportRegistration::request("acme.fast", |_| Err(crate::Error::unsupported("a name only"))).env(ENV),
    ];

    fn read(pairs: &[(&str, &str)]) -> (Layer, Result<(), String>) {
        let keys = Keys::new(ROWS).unwrap();
        let mut problems = Problems::default();
        let pairs: Vec<_> = pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let layer = Reader { keys: &keys, known: Known::Only(ROWS), problems: &mut problems }.code(&pairs);
        (layer, problems.into_result().map_err(|error| error.to_string()))
    }

    #[test]
    fn an_id_with_a_dot_is_one_segment() {
        let (layer, problems) = read(&[("transport.acme.fast.port", "7"), ("transport.acme.fast.extra.x", "y")]);
        problems.unwrap();
        let tree = config::Source::collect(&layer).unwrap();
        let transport = tree["transport"].clone().into_table().unwrap();
        let section = transport["acme.fast"].clone().into_table().unwrap();
        assert_eq!(section["port"].clone().into_uint().unwrap(), 7);
        assert_eq!(section["extra"].clone().into_table().unwrap()["x"].clone().into_string().unwrap(), "y");
        assert_eq!(layer.iter().next().map(|(path, _)| join(path)).unwrap(), "transport.\"acme.fast\".extra.x");
    }

    #[test]
    fn a_path_is_a_value_or_a_section() {
        let (_, problems) = read(&[("transport.acme.x", "1"), ("transport.acme.x.y", "2")]);
        assert!(problems.unwrap_err().contains("not both"));
        for path in
            ["transport.acme.fast.port.x", "limits", "transport.acme", "", "..", "strict.x", "transport.tcp.pool"]
        {
            let (layer, problems) = read(&[(path, "1")]);
            assert!(problems.is_err() && layer.iter().next().is_none(), "{path:?}");
        }
    }

    #[test]
    fn the_later_of_two_wins() {
        let (layer, problems) = read(&[("balance", "random"), ("balance", "round-robin")]);
        problems.unwrap();
        assert_eq!(layer.get(&["balance".to_owned()]).unwrap().shown, "round-robin");
    }
}
