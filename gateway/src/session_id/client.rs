// SPDX-License-Identifier: Apache-2.0
//! What a client said in `initialize`, cut down to what has to be said again.

use biplane::proto::json;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Characters of a client's name or version that are kept where there is little room.
const MAX_NAME: usize = 64;
/// The capabilities that decide how a session is served.
const ROUTING: [&str; 3] = ["roots", "sampling", "elicitation"];

/// The `params` of `initialize` in at most `room` bytes: version, client and capabilities as they were said if they fit,
/// else with less and less of what does not decide how the session is served.
pub(super) fn reduced(params: &Bytes, room: usize) -> Bytes {
    let version = member(params, "protocolVersion").filter(Value::is_string);
    let version = version.unwrap_or_else(|| json!("2025-11-25"));
    let info = member(params, "clientInfo").unwrap_or_default();
    let capabilities = match member(params, "capabilities") {
        Some(Value::Object(capabilities)) => capabilities,
        _ => Map::new(),
    };
    let whole = || json!({ "name": info["name"], "version": info["version"] });
    let short = || json!({ "name": cut(&info["name"]), "version": cut(&info["version"]) });
    let mut attempts = [
        (whole(), capabilities.clone()),
        (short(), with_bare_extensions(&capabilities)),
        (short(), routing(&capabilities, |value| value.clone())),
        (short(), routing(&capabilities, bare)),
        (short(), routing(&capabilities, |_| json!({}))),
    ]
    .into_iter()
    .map(|(info, capabilities)| {
        Bytes::from(json!({ "protocolVersion": version, "clientInfo": info, "capabilities": capabilities }).to_string())
    });
    // The last one is bounded but for the version, which a peer may have made long.
    attempts.find(|text| text.len() <= room).unwrap_or_else(|| {
        let capabilities = routing(&capabilities, |_| json!({}));
        let info = json!({ "name": "", "version": "" });
        let known = json!({ "protocolVersion": "2025-11-25", "clientInfo": info, "capabilities": capabilities });
        known.to_string().into()
    })
}

fn member(params: &Bytes, key: &str) -> Option<Value> {
    serde_json::from_slice(&json::get(params, &[key])?).ok()
}

fn cut(text: &Value) -> String {
    text.as_str().unwrap_or_default().chars().take(MAX_NAME).collect()
}

/// Without experiments, and extensions without their settings.
fn with_bare_extensions(capabilities: &Map<String, Value>) -> Map<String, Value> {
    let mut capabilities = capabilities.clone();
    capabilities.remove("experimental");
    if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions") {
        extensions.values_mut().for_each(|value| *value = json!({}));
    }
    capabilities
}

fn routing(capabilities: &Map<String, Value>, reduce: impl Fn(&Value) -> Value) -> Map<String, Value> {
    let kept = ROUTING.iter().filter_map(|key| Some(((*key).to_owned(), reduce(capabilities.get(*key)?))));
    kept.collect()
}

/// Only yes and no, and the names of what it has.
fn bare(value: &Value) -> Value {
    let Value::Object(members) = value else { return json!({}) };
    let known = ["listChanged", "form", "url", "context", "tools"];
    let kept = members.iter().filter(|(key, _)| known.contains(&key.as_str())).map(|(key, value)| {
        let value = if value.is_object() { json!({}) } else { json!(value.as_bool().unwrap_or(true)) };
        (key.clone(), value)
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &Bytes) -> Value {
        serde_json::from_slice(text).unwrap()
    }

    #[test]
    fn what_fits_is_kept_but_for_ornaments() {
        let said = json!({
            "protocolVersion": "2025-06-18",
            "clientInfo": { "name": "c", "version": "1", "icons": ["x"], "title": "C" },
            "capabilities": { "sampling": { "tools": {} }, "experimental": { "a": { "b": 1 } } },
            "_meta": { "progressToken": 1 },
        });
        let kept = read(&reduced(&said.to_string().into(), 1000));
        assert_eq!(
            kept,
            json!({
                "protocolVersion": "2025-06-18",
                "clientInfo": { "name": "c", "version": "1" },
                "capabilities": { "sampling": { "tools": {} }, "experimental": { "a": { "b": 1 } } },
            })
        );
    }

    #[test]
    fn whatever_is_said_what_routing_needs_remains_within_the_room() {
        let long = "x".repeat(5000);
        let routing =
            json!({ "roots": { "listChanged": true }, "sampling": {}, "elicitation": { "form": {}, "url": {} } });
        for (key, value) in [
            ("experimental", json!({ &long: {} })),
            ("extensions", json!({ "a/b": { "c": &long } })),
            ("other", json!(&long)),
            ("roots", json!({ "listChanged": true, "y": &long })),
            ("roots", json!({ &long: true })),
        ] {
            let mut capabilities = routing.clone();
            capabilities[key] = value;
            let said = json!({
                "protocolVersion": "2025-11-25",
                "clientInfo": { "name": &long, "version": &long },
                "capabilities": capabilities,
            });
            let text = reduced(&said.to_string().into(), 600);
            assert!(text.len() <= 600, "{key}: {}", text.len());
            let kept = read(&text);
            for needed in ROUTING {
                assert!(kept["capabilities"].get(needed).is_some(), "{key}: {kept}");
            }
            assert_eq!(kept["capabilities"]["elicitation"], json!({ "form": {}, "url": {} }), "{key}");
        }
        let text = reduced(&json!({ "protocolVersion": long }).to_string().into(), 600);
        assert_eq!(read(&text)["protocolVersion"], "2025-11-25");
        for odd in ["", "[]", "{", r#"{"capabilities":7,"clientInfo":null}"#] {
            assert!(read(&reduced(&Bytes::from(odd), 600))["capabilities"].is_object(), "{odd}");
        }
    }
}
