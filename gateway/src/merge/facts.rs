// SPDX-License-Identifier: Apache-2.0
//! What several servers say of themselves, as one.

use biplane::proto::json;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::view::{Era, Facts};

/// Our name and version, where we speak for several.
pub(crate) fn server_info() -> Value {
    json!({ "name": "biplane-gateway", "title": "Biplane gateway", "version": env!("CARGO_PKG_VERSION") })
}

/// The facts of those that are there. `may_change` says that others may join, and that these may go.
pub(crate) fn merge(era: Era, present: &[(&str, &Facts)], is_complete: bool, may_change: bool) -> Facts {
    let mut capabilities = union(present.iter().map(|(_, facts)| &facts.capabilities));
    if !is_complete {
        // A legacy client does not ask later for what was not claimed at the start.
        for kind in ["tools", "prompts", "resources"] {
            capabilities.entry(kind).or_insert_with(|| json!({}));
        }
    }
    if may_change {
        announce_changes(&mut capabilities);
    }
    let default = match era {
        Era::Legacy => "2025-11-25",
        Era::Modern => "2026-07-28",
    };
    // The oldest: a newer revision's features would be promised for a server that lacks them.
    let version = present.iter().map(|(_, facts)| facts.version.as_str()).min().unwrap_or(default);
    let said: Vec<_> = present.iter().map(|(name, facts)| (*name, facts.instructions.as_ref())).collect();
    let server_info = match present {
        [(_, only)] if is_complete => only.server_info.clone(),
        _ => server_info().to_string().into(),
    };
    Facts {
        era,
        version: version.to_owned(),
        server_info,
        capabilities: Value::Object(capabilities).to_string().into(),
        instructions: instructions(&said),
    }
}

/// What any of `all` has: objects are joined, yes wins over no, otherwise the first counts.
pub(crate) fn union<'a>(all: impl Iterator<Item = &'a Bytes>) -> Map<String, Value> {
    let mut joined = Map::new();
    for capabilities in all {
        if let Ok(Value::Object(capabilities)) = serde_json::from_slice(capabilities) {
            join(&mut joined, capabilities);
        }
    }
    joined
}

fn join(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(value)) => join(known, value),
            (Some(Value::Bool(known)), Value::Bool(value)) => *known |= value,
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// We tell when an upstream comes or goes, so lists change even where no upstream says that its own do.
pub(crate) fn announce_changes(capabilities: &mut Map<String, Value>) {
    for kind in ["tools", "prompts", "resources"] {
        if let Some(Value::Object(kind)) = capabilities.get_mut(kind) {
            kind.insert("listChanged".to_owned(), Value::Bool(true));
        }
    }
}

/// The instructions of all, each below its upstream's name; those of a single one as they are.
pub(crate) fn instructions(said: &[(&str, Option<&Bytes>)]) -> Option<Bytes> {
    if let [(_, only)] = said {
        return only.cloned();
    }
    let texts = said.iter().filter_map(|(name, raw)| Some((name, json::text(raw.as_ref()?)?)));
    let sections: Vec<String> = texts.map(|(name, text)| format!("# {name}\n\n{}", text.trim_end())).collect();
    (!sections.is_empty()).then(|| json::quote(&sections.join("\n\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str, capabilities: &str, instructions: Option<&str>) -> Facts {
        Facts {
            era: Era::Legacy,
            version: version.to_owned(),
            server_info: Bytes::from_static(br#"{"name":"x","version":"1"}"#),
            capabilities: capabilities.to_owned().into(),
            instructions: instructions.map(json::quote),
        }
    }

    #[test]
    fn capabilities_are_the_union() {
        let a = facts("2025-11-25", r#"{"tools":{},"resources":{"subscribe":false},"x/y":{"a":1}}"#, None);
        let b = facts("2025-06-18", r#"{"resources":{"subscribe":true},"logging":{},"x/y":{"a":2,"b":3}}"#, None);
        let merged = merge(Era::Legacy, &[("a", &a), ("b", &b)], true, false);
        let capabilities: Value = serde_json::from_slice(&merged.capabilities).unwrap();
        assert_eq!(capabilities, json!({"tools":{},"resources":{"subscribe":true},"logging":{},"x/y":{"a":1,"b":3}}));
        assert_eq!(merged.version, "2025-06-18");
        assert!(json::get(&merged.server_info, &["name"]).unwrap() == "\"biplane-gateway\"");
    }

    #[test]
    fn lists_that_may_change_say_so_and_a_missing_part_may_bring_any() {
        let a = facts("2025-11-25", r#"{"tools":{}}"#, None);
        let merged = merge(Era::Legacy, &[("a", &a)], false, true);
        for kind in ["tools", "prompts", "resources"] {
            assert_eq!(json::get(&merged.capabilities, &[kind, "listChanged"]).unwrap(), "true");
        }
        let none = merge(Era::Modern, &[], false, true);
        assert_eq!(none.version, "2026-07-28");
    }

    #[test]
    fn instructions_bear_the_names_of_several() {
        let (a, b) = (facts("1", "{}", Some("use \"a\"\n")), facts("1", "{}", Some("use b")));
        let c = facts("1", "{}", None);
        let merged = merge(Era::Legacy, &[("a", &a), ("b", &b), ("c", &c)], true, false);
        assert_eq!(json::text(&merged.instructions.unwrap()).unwrap(), "# a\n\nuse \"a\"\n\n# b\n\nuse b");
        assert!(merge(Era::Legacy, &[("c", &c), ("c2", &c)], true, false).instructions.is_none());
        assert_eq!(merge(Era::Legacy, &[("a", &a)], true, false).instructions, a.instructions);
    }
}
