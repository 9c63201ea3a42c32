// SPDX-License-Identifier: Apache-2.0
//! The file's layer: bytes to TOML to a checked layer.

use std::fs::File;
use std::io::Read;
use std::path::Path as FilePath;

use config::{FileFormat, Source as _, Value, ValueKind};

use crate::config::keys::{Key, Path, Place};
use crate::config::layer::{Layer, Reader};
use crate::config::load::Source;
use crate::config::problem::{Refusal, quote};

/// A configuration is read whole, so a file is refused beyond this; it also bounds a device that never ends.
const MAX_FILE: u64 = 1 << 20;

/// The text of a file of at most 1 MiB. The error says what to do.
pub(super) fn read_text(path: &FilePath) -> Result<String, Refusal> {
    let refuse = |error: std::io::Error| Refusal::expected("a readable file").hint(error.to_string());
    // A pipe without a writer would make `open` wait for ever.
    if !std::fs::metadata(path).map_err(refuse)?.is_file() {
        return Err(Refusal::expected("a regular file").hint("write the configuration to a file of its own"));
    }
    let mut text = String::new();
    File::open(path).map_err(refuse)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(refuse)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Refusal::expected("a file of at most 1 MiB"));
    }
    Ok(text)
}

impl Reader<'_> {
    /// The layer of a TOML text.
    pub(super) fn toml(&mut self, text: &str, source: &Source) -> Layer {
        let mut layer = Layer::default();
        match config::File::from_str(text, FileFormat::Toml).collect() {
            Ok(tree) => self.walk(&mut layer, &mut Path::new(), tree, source),
            Err(error) => {
                let refusal = Refusal::expected("TOML").hint(without_excerpt(&error.to_string()));
                self.problems.add(source.to_string(), None, refusal);
            }
        }
        layer
    }

    fn walk(&mut self, layer: &mut Layer, path: &mut Path, tree: config::Map<String, Value>, source: &Source) {
        // In order, so that messages are the same from run to run.
        let mut children: Vec<_> = tree.into_iter().collect();
        children.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, value) in children {
            path.push(name);
            self.node(layer, path, value, source);
            path.pop();
        }
    }

    fn node(&mut self, layer: &mut Layer, path: &mut Path, value: Value, source: &Source) {
        match (self.keys.place(path), value.kind) {
            (Place::Key(key), kind) => match text_of(key, &kind) {
                Ok(text) => self.leaf(layer, key, &text, source.clone()),
                Err(refusal) => self.problems.add(source.place(path), None, refusal),
            },
            (Place::Section | Place::Foreign, ValueKind::Table(tree)) => self.walk(layer, path, tree, source),
            (Place::Section, _) => {
                let refusal = Refusal::expected("a section").hint("write its keys below a [section] line of that name");
                self.problems.add(source.place(path), None, refusal);
            }
            (Place::Foreign, kind) => self.foreign(layer, path.clone(), kind, source.clone()),
            (Place::Other, _) => {}
            (Place::Unknown, _) => self.unknown(path, source),
        }
    }
}

/// What would stand in the variable.
fn text_of(key: &Key, value: &ValueKind) -> Result<String, Refusal> {
    match value {
        ValueKind::Nil => Ok(String::new()),
        ValueKind::Table(_) => Err(Refusal::expected(format!("{}, not a section", key.row.kind.expectation()))),
        ValueKind::Array(items) if key.row.kind.is_list() => {
            let texts =
                items.iter().map(|item| match &item.kind {
                    ValueKind::String(text) => Ok(text.as_str()),
                    other => Err(Refusal::expected("a list of texts")
                        .hint(format!("put {} in quotes", quote(&other.to_string())))),
                });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        ValueKind::Array(_) => Err(Refusal::expected(format!("{}, not a list", key.row.kind.expectation()))),
        scalar => Ok(scalar.to_string()),
    }
}

/// A TOML error's place and reason. It also quotes the line, which may hold a secret.
fn without_excerpt(error: &str) -> String {
    let excerpt = |line: &&str| !line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    error.lines().filter(excerpt).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Keys;
    use crate::config::kind::Known;
    use crate::config::problem::Problems;

    #[test]
    fn a_syntax_error_is_told_without_its_line() {
        let error = config::File::from_str("a = 1\npassword = \"s3cret\n", FileFormat::Toml).collect().unwrap_err();
        let text = without_excerpt(&error.to_string());
        assert!(text.contains("line 2") && !text.contains("s3cret"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_hundred_thousand_unknown_keys_are_one_short_error() {
        let keys = Keys::new(&[]).unwrap();
        let mut problems = Problems::default();
        let text: String = (0..100_000).map(|number| format!("k{number} = 1\n")).collect();
        let mut reader = Reader { keys: &keys, known: Known::Any, problems: &mut problems };
        let layer = reader.toml(&text, &Source::File("x.toml".into()));
        assert!(layer.iter().next().is_none());
        let error = problems.into_result().unwrap_err().to_string();
        assert!(error.contains("100000 problems") && error.len() < 10_000, "{error}");
    }

    #[test]
    fn a_file_is_bounded_and_regular() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.toml");
        File::create(&path).unwrap().set_len(10 << 20).unwrap();
        assert!(read_text(&path).unwrap_err().expected.contains("1 MiB"));
        assert!(read_text(dir.path()).unwrap_err().expected.contains("regular"));
        assert!(read_text(&dir.path().join("none")).is_err());
    }
}
