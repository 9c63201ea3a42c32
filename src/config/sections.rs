// SPDX-License-Identifier: Apache-2.0
//! The sections of transports that the core does not know.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use config::{ConfigError, Map, Value};
use serde::de::DeserializeOwned;

/// `[transport.<id>]` by id. `Debug` shows the ids only: what stands in a section may be a secret.
#[derive(Clone, Default)]
pub struct Sections(BTreeMap<String, Value>);

impl Sections {
    /// The section of `id`, or an empty one, as a `T`. The error names the key and never the value.
    pub(super) fn parse<T: DeserializeOwned>(&self, id: &str) -> Result<T, String> {
        let section = self.0.get(id).cloned().unwrap_or_else(|| Value::from(Map::<String, Value>::new()));
        section.try_deserialize().map_err(|error| reason(&error))
    }
}

/// What the `config` crate says, less the value that it quotes.
fn reason(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { expected, key, .. } => match key {
            Some(key) => format!("{key}: expected {expected}"),
            None => format!("expected {expected}"),
        },
        ConfigError::At { error, key: Some(key), .. } => format!("{key}: {}", reason(error)),
        other => other.to_string(),
    }
}

impl From<BTreeMap<String, Value>> for Sections {
    fn from(sections: BTreeMap<String, Value>) -> Self {
        Self(sections)
    }
}

impl Deref for Sections {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Sections {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Acme {
        #[allow(dead_code, reason = "its type is what the test is about")]
        size: Option<u32>,
    }

    #[test]
    fn a_malformed_section_is_refused_without_its_value() {
        let section = Value::from(Map::from([("size".to_owned(), Value::from("s3cret"))]));
        let sections = Sections::from(BTreeMap::from([("acme".to_owned(), section)]));
        let reason = sections.parse::<Acme>("acme").unwrap_err();
        assert!(reason.contains("size") && reason.contains("integer"), "{reason}");
        assert!(!reason.contains("s3cret") && !format!("{sections:?}").contains("s3cret"), "{reason}");
        assert!(sections.parse::<Acme>("absent").is_ok());
    }
}
