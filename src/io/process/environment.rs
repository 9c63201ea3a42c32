// SPDX-License-Identifier: Apache-2.0
//! What a program that is run for somebody else gets to see of our environment.

use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::error::{Error, Result};
use crate::proto::command_line::{assignment, is_name};

/// What every program needs to find itself, its user, its language and its place for temporary files.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR"];

/// Whole families: languages, and the settings of npm, without which `npx` does not find its registry.
const PASSED_PREFIXES: [&str; 2] = ["LC_", "npm_config_"];

/// The environment of a child: an allow-list of ours, and what the configuration adds.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// What a child sees of `ours`: `PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL`, `TERM`, `LANG`, `LC_*`, `TMPDIR`,
    /// `npm_config_*`, and what `more` says: `NAME=VALUE` sets, `NAME` passes ours on.
    pub fn of(ours: &[(OsString, OsString)], more: &[String]) -> Result<Self> {
        let mut environment = Self(ours.iter().filter(|(name, _)| is_passed(name)).cloned().collect());
        for (at, entry) in more.iter().enumerate() {
            match assignment(entry) {
                Some((name, value)) if !value.contains('\0') => environment.set(name, value),
                None if is_name(entry) => {
                    let found = ours.iter().rev().find(|(name, _)| name == entry.as_str());
                    if let Some((name, value)) = found {
                        environment.set(name, value);
                    }
                }
                // Not the text: whoever forgot the name wrote a value, and that may be a secret.
                _ => {
                    return Err(Error::config(format!("entry {} of the children's environment is malformed", at + 1))
                        .with_hint("write NAME=VALUE, or NAME to pass ours on"));
                }
            }
        }
        Ok(environment)
    }

    /// Sets `name`, in place of what it was.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let name = name.as_ref();
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value.as_ref().to_owned()));
    }

    /// Whether there is nothing in it: then not even programs can be found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All pairs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

fn is_passed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<(OsString, OsString)> {
        let pairs = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("npm_config_registry", "r"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("LD_PRELOAD", "x.so"),
            ("MY_KEY", "k"),
            ("PATHS", "no"),
        ];
        pairs.map(|(name, value)| (name.into(), value.into())).to_vec()
    }

    fn seen(more: &[&str]) -> Vec<String> {
        let more: Vec<String> = more.iter().map(|entry| (*entry).to_owned()).collect();
        let environment = Environment::of(&ours(), &more).unwrap();
        environment.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect()
    }

    #[test]
    fn only_what_is_listed_passes() {
        assert_eq!(seen(&[]), ["PATH=/bin", "LC_ALL=C", "npm_config_registry=r"]);
        let more = seen(&["MY_KEY", "NOT_SET", "PATH=/usr/bin", "EMPTY=", "EQ=a=b"]);
        assert_eq!(more, ["LC_ALL=C", "npm_config_registry=r", "MY_KEY=k", "PATH=/usr/bin", "EMPTY=", "EQ=a=b"]);
    }

    #[test]
    fn a_malformed_entry_is_refused_without_its_text() {
        for entry in ["=s3cret", "s3cret-value", "a b=s3cret", "A=s3cret\0"] {
            let error = Environment::of(&ours(), &[entry.to_owned()]).unwrap_err();
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
        let environment = Environment::of(&ours(), &["A=s3cret".to_owned()]).unwrap();
        assert!(!format!("{environment:?}").contains("s3cret"));
    }
}
