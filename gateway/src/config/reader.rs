// SPDX-License-Identifier: Apache-2.0
//! A table of a TOML file, read key by key. Each key is asked for once, by its type; what nobody asked for is unknown.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use biplane::config::units::{parse_duration, parse_size};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{Problems, near};
use crate::config::secret::{Secret, read_text};

/// What a value may refer to, and where faults go.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) env: &'a HashMap<&'a str, &'a str>,
    pub(super) problems: &'a mut Problems,
}

impl Source<'_> {
    pub(super) fn fault(&mut self, span: Range<usize>, path: &str, what: &str) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        self.problems.add(&format!("{}:{line}:{column}: {path}", self.file), what);
    }
}

type Value<'a> = &'a Spanned<DeValue<'a>>;

/// A table, and which of its keys were asked for.
pub(super) struct Table<'a> {
    path: String,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(path: impl Into<String>, table: &'a DeTable<'a>) -> Self {
        Self { path: path.into(), table, asked: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<(String, Value<'a>)> {
        self.asked.push(key);
        Some((format!("{}.{key}", self.path), self.table.get(key)?))
    }

    /// Any value that `read` takes from it; its error says what was expected. The value itself is not repeated.
    pub(super) fn parse<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let (path, value) = self.take(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(what) => {
                source.fault(value.span(), &path, &what);
                None
            }
        }
    }

    pub(super) fn text(&mut self, source: &mut Source<'_>, key: &'static str) -> Option<String> {
        self.parse(source, key, text)
    }

    pub(super) fn flag(&mut self, source: &mut Source<'_>, key: &'static str) -> Option<bool> {
        self.parse(source, key, |value| value.as_bool().ok_or_else(|| "expected true or false".to_owned()))
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.parse(source, key, |value| {
            let given = text(value)?;
            let found = choices.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice);
            found.ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                let hint = near(&given, words.iter().copied()).map(|word| format!("; did you mean {word:?}?"));
                format!("expected one of {words:?}{}", hint.unwrap_or_default())
            })
        })
    }

    /// More than zero.
    pub(super) fn duration(&mut self, source: &mut Source<'_>, key: &'static str) -> Option<Duration> {
        self.parse(source, key, |value| {
            let given = match value {
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                value => value.as_str().ok_or("expected a duration such as \"30s\"")?.to_owned(),
            };
            match parse_duration(&given)? {
                Duration::ZERO => Err("expected a duration of more than zero".to_owned()),
                duration => Ok(duration),
            }
        })
    }

    pub(super) fn size(&mut self, source: &mut Source<'_>, key: &'static str, most: usize) -> Option<usize> {
        self.parse(source, key, |value| {
            let given = match value {
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                value => value.as_str().ok_or("expected a size such as \"16MiB\"")?.to_owned(),
            };
            let bytes = parse_size(&given)?;
            let fits = usize::try_from(bytes).ok().filter(|bytes| (1..=most).contains(bytes));
            fits.ok_or_else(|| format!("expected a size from 1 to {most} bytes"))
        })
    }

    pub(super) fn count(&mut self, source: &mut Source<'_>, key: &'static str, most: usize) -> Option<usize> {
        self.parse(source, key, |value| {
            let number = value.as_integer().filter(|number| number.radix() == 10);
            let number = number.and_then(|number| number.as_str().parse().ok());
            let fits = number.filter(|number| (1..=most).contains(number));
            fits.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
        })
    }

    /// A list of texts, each with its place. One text stands for a list of one.
    pub(super) fn texts(&mut self, source: &mut Source<'_>, key: &'static str) -> Option<Vec<(String, Range<usize>)>> {
        let (path, value) = self.take(key)?;
        let one = std::slice::from_ref(value);
        let items = value.get_ref().as_array().map_or(one, |items| items);
        let mut texts = Vec::new();
        for item in items.iter() {
            match text(item.get_ref()) {
                Ok(text) => texts.push((text, item.span())),
                Err(what) => source.fault(item.span(), &path, &what),
            }
        }
        Some(texts)
    }

    /// A text that is a secret: `{ env = "NAME" }`, `{ file = "PATH" }`, or where `literal` says so the text itself.
    pub(super) fn secret(&mut self, source: &mut Source<'_>, key: &'static str, literal: bool) -> Option<Secret> {
        let (path, value) = self.take(key)?;
        secret(source, &path, value, literal)
    }

    /// Names and secrets of a table.
    pub(super) fn secrets(&mut self, source: &mut Source<'_>, key: &'static str) -> Vec<(String, Secret)> {
        let Some((path, value)) = self.take(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            source.fault(value.span(), &path, "expected a table of names and texts");
            return Vec::new();
        };
        let mut secrets = Vec::new();
        for (name, value) in table {
            let path = format!("{path}.{}", name.get_ref());
            secrets.extend(secret(source, &path, value, true).map(|secret| (name.get_ref().to_string(), secret)));
        }
        secrets
    }

    /// A table within this one.
    pub(super) fn table(&mut self, source: &mut Source<'_>, key: &'static str) -> Option<Table<'a>> {
        let (path, value) = self.take(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            source.fault(value.span(), &path, "expected a section");
        }
        table.map(|table| Table::new(path, table))
    }

    /// The tables of `[[key]]`, each with its place.
    pub(super) fn tables(&mut self, source: &mut Source<'_>, key: &'static str) -> Vec<(Table<'a>, Range<usize>)> {
        let Some((path, value)) = self.take(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            source.fault(value.span(), &path, &format!("expected sections; write [[{path}]] above each"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let path = format!("{path}[{at}]");
            match item.get_ref().as_table() {
                Some(table) => tables.push((Table::new(path, table), item.span())),
                None => source.fault(item.span(), &path, "expected a section"),
            }
        }
        tables
    }

    /// Tells of the keys that nobody asked for.
    pub(super) fn finish(self, source: &mut Source<'_>) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let what = match near(name, self.asked.iter().copied()) {
                    Some(known) => format!("expected a known key; did you mean `{known}`?"),
                    None => format!("expected a known key: {}", self.asked.join(", ")),
                };
                source.fault(key.span(), &format!("{}.{name}", self.path), &what);
            }
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value.as_str().map(str::trim) {
        Some("") => Err("expected a text that is not empty".to_owned()),
        Some(text) => Ok(text.to_owned()),
        None => Err("expected a text".to_owned()),
    }
}

fn secret(source: &mut Source<'_>, path: &str, value: Value<'_>, literal: bool) -> Option<Secret> {
    match find_secret(source.env, value.get_ref(), literal) {
        Ok(secret) => Some(secret),
        Err(what) => {
            source.fault(value.span(), path, &what);
            None
        }
    }
}

fn find_secret(env: &HashMap<&str, &str>, value: &DeValue<'_>, literal: bool) -> Result<Secret, String> {
    if let Some(text) = value.as_str() {
        return match literal {
            true => Ok(Secret::new(text)),
            false => {
                Err("expected { env = \"NAME\" } or { file = \"PATH\" }: a token does not belong into this file"
                    .to_owned())
            }
        };
    }
    let one = value.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next());
    let text = match one.and_then(|(key, value)| Some((&**key.get_ref(), value.get_ref().as_str()?))) {
        Some(("env", name)) => (*env.get(name).ok_or_else(|| format!("the variable {name} is not set"))?).to_owned(),
        Some(("file", name)) => {
            read_text(name.as_ref()).map_err(|error| format!("the file {name} cannot be read: {error}"))?
        }
        _ => {
            let text = if literal { "a text, " } else { "" };
            return Err(format!("expected {text}{{ env = \"NAME\" }} or {{ file = \"PATH\" }}"));
        }
    };
    match text.trim() {
        "" => Err("what it refers to is empty".to_owned()),
        text => Ok(Secret::new(text)),
    }
}
