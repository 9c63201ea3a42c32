// SPDX-License-Identifier: Apache-2.0
//! Arguments of tools that are mirrored into headers: `x-mcp-header` in a tool's `inputSchema` names the header
//! `Mcp-Param-{name}` for the argument that it stands at.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::proto::json;

const ANNOTATION: &str = "x-mcp-header";

/// Whole numbers beyond this do not survive every JSON implementation.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// One argument and its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The header's name after `Mcp-Param-`.
    pub name: String,
    /// The names of the properties that lead to the argument.
    pub path: Vec<String>,
}

impl Mirrored {
    /// The value for these `arguments`, not yet [encoded](super::header::encode); `None` if the argument is absent, null,
    /// or of no type that is mirrored.
    pub fn value(&self, arguments: &Bytes) -> Option<String> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let raw = json::get(arguments, &path)?;
        match raw.first()? {
            b'"' => json::text(&raw).map(|text| text.into_owned()),
            b't' => Some("true".to_owned()),
            b'f' => Some("false".to_owned()),
            b'-' | b'0'..=b'9' => {
                let digits = std::str::from_utf8(&raw).ok()?;
                if digits.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
                    return Some(digits.to_owned());
                }
                let number: f64 = digits.parse().ok()?;
                (number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER).then(|| format!("{number:.0}"))
            }
            _ => None,
        }
    }
}

/// What the annotations of a schema say; an error says what is wrong with them.
pub fn read_schema(schema: &[u8]) -> Result<Vec<Mirrored>, String> {
    // Nearly no tool has any.
    if !contains(schema, ANNOTATION.as_bytes()) {
        return Ok(Vec::new());
    }
    let schema: Value = serde_json::from_slice(schema).map_err(|_| "its schema cannot be read".to_owned())?;
    let mut found = Vec::new();
    walk(&schema, &mut Vec::new(), true, &mut found)?;
    let mut names = HashSet::new();
    match found.iter().find(|mirrored| !names.insert(mirrored.name.to_ascii_lowercase())) {
        Some(twice) => Err(format!("{ANNOTATION} {:?} stands there twice", twice.name)),
        None => Ok(found),
    }
}

/// `reachable`: a chain of `properties` leads here, so an argument has one value for it.
fn walk(schema: &Value, path: &mut Vec<String>, reachable: bool, found: &mut Vec<Mirrored>) -> Result<(), String> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(items) => return items.iter().try_for_each(|item| walk(item, path, false, found)),
        _ => return Ok(()),
    };
    if let Some(annotation) = members.get(ANNOTATION) {
        if !reachable || path.is_empty() {
            return Err(format!("{ANNOTATION} stands where no plain argument is"));
        }
        check_type(members.get("type"))?;
        found.push(Mirrored { name: check_name(annotation)?, path: path.clone() });
    }
    for (key, value) in members {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (property, schema) in properties {
                    path.push(property.clone());
                    walk(schema, path, reachable, found)?;
                    path.pop();
                }
            }
            // Values, not schemas.
            (ANNOTATION | "default" | "const" | "enum" | "examples", _) => {}
            _ => walk(value, path, false, found)?,
        }
    }
    Ok(())
}

fn check_name(annotation: &Value) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match annotation.as_str() {
        Some(name) if !name.is_empty() && name.bytes().all(is_token) => Ok(name.to_owned()),
        _ => Err(format!("{ANNOTATION} {annotation} is no name of a header")),
    }
}

fn check_type(kind: Option<&Value>) -> Result<(), String> {
    let is_plain = |kind: &Value| matches!(kind.as_str(), Some("string" | "integer" | "boolean"));
    let fits = match kind {
        Some(Value::Array(kinds)) => {
            kinds.iter().filter(|kind| *kind != "null").count() == 1
                && kinds.iter().all(|kind| kind == "null" || is_plain(kind))
        }
        Some(kind) => is_plain(kind),
        None => false,
    };
    if fits { Ok(()) } else { Err(format!("{ANNOTATION} stands at something else than a string, integer or boolean")) }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What a result of `tools/list` says of headers.
#[derive(Debug, Default)]
pub struct Listed {
    /// The result without the tools whose annotations are invalid; `None` if it has none of those.
    pub cleaned: Option<Bytes>,
    /// The tools that are left, each with the arguments that are mirrored.
    pub tools: Vec<(String, Vec<Mirrored>)>,
    /// The tools that were taken out, each with the reason.
    pub invalid: Vec<(String, String)>,
    /// Where the list goes on.
    pub next_cursor: Option<String>,
}

/// Reads a result of `tools/list`. What is no such result comes out as an empty one.
pub fn read_tools(result: &Bytes) -> Listed {
    #[derive(Deserialize)]
    struct Tool<'a> {
        name: String,
        #[serde(borrow, default, rename = "inputSchema")]
        input_schema: Option<&'a RawValue>,
    }
    let mut listed = Listed::default();
    let cursor = json::get(result, &["nextCursor"]);
    listed.next_cursor = cursor.and_then(|raw| json::text(&raw).map(|text| text.into_owned()));
    let Some(tools) = json::get(result, &["tools"]) else { return listed };
    let Ok(tools) = serde_json::from_slice::<Vec<&RawValue>>(&tools) else { return listed };
    let mut kept = Vec::with_capacity(tools.len());
    for raw in tools {
        let tool = serde_json::from_str::<Tool<'_>>(raw.get());
        let Ok(Tool { name, input_schema }) = tool else {
            kept.push(raw.get());
            continue;
        };
        match read_schema(input_schema.map_or(b"", |schema| schema.get().as_bytes())) {
            Ok(mirrored) => {
                kept.push(raw.get());
                listed.tools.push((name, mirrored));
            }
            Err(reason) => listed.invalid.push((name, reason)),
        }
    }
    if !listed.invalid.is_empty() {
        listed.cleaned = Some(json::set(result, &["tools"], format!("[{}]", kept.join(",")).as_bytes()));
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Result<Vec<Mirrored>, String> {
        read_schema(text.as_bytes())
    }

    #[test]
    fn annotations_are_found_along_properties() {
        let found = schema(
            r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
                "at":{"type":"object","properties":{"n":{"type":["integer","null"],"x-mcp-header":"N"}}},
                "x-mcp-header":{"type":"string"},"d":{"type":"object","default":{"x-mcp-header":1}}}}"#,
        )
        .unwrap();
        let paths: Vec<(&str, String)> = found.iter().map(|one| (one.name.as_str(), one.path.join("/"))).collect();
        assert_eq!(paths, [("N", "at/n".to_owned()), ("Region", "region".to_owned())]);
    }

    #[test]
    fn invalid_ones_are_refused() {
        for (bad, why) in [
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#, "empty"),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#, "no token"),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":"a\r\nb"}}}"#, "control"),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":7}}}"#, "no text"),
            (r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#, "number"),
            (r#"{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}"#, "object"),
            (r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#, "no type"),
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
                "twice",
            ),
            (r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#, "items"),
            (r#"{"oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#, "composition"),
            (r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#, "definitions"),
            (r#"{"type":"string","x-mcp-header":"A"}"#, "the root"),
        ] {
            assert!(schema(bad).is_err(), "{why}");
        }
    }

    #[test]
    fn values_are_written_in_their_type() {
        let arguments =
            Bytes::from_static(br#"{"s":"\u00e4","i":-7,"f":42.0,"e":1e3,"h":0.5,"b":true,"n":null,"o":{"x":"y"}}"#);
        let value = |path: &[&str]| {
            Mirrored { name: String::new(), path: path.iter().map(|part| (*part).to_owned()).collect() }
                .value(&arguments)
        };
        let texts: Vec<_> = ["s", "i", "f", "e", "h", "b", "n", "o", "absent"].map(|name| value(&[name])).into();
        let expected = [Some("ä"), Some("-7"), Some("42"), Some("1000"), None, Some("true"), None, None, None];
        assert_eq!(texts, expected.map(|text| text.map(str::to_owned)));
        assert_eq!(value(&["o", "x"]).as_deref(), Some("y"));
    }

    #[test]
    fn tools_with_invalid_annotations_are_taken_out_and_the_rest_is_left_alone() {
        let good = r#"{"name":"good", "inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#;
        let plain = r#"{"name":"plain","inputSchema":{ }}"#;
        let bad = r#"{"name":"bad","inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}}"#;
        let listed = read_tools(&format!(r#"{{"tools":[{good},{bad}, {plain}],"nextCursor":"c","x":1.0}}"#).into());
        assert_eq!(listed.cleaned.unwrap(), format!(r#"{{"tools":[{good},{plain}],"nextCursor":"c","x":1.0}}"#));
        assert_eq!(listed.next_cursor.as_deref(), Some("c"));
        assert_eq!(listed.invalid[0].0, "bad");
        let tools: Vec<(&str, usize)> = listed.tools.iter().map(|(name, all)| (name.as_str(), all.len())).collect();
        assert_eq!(tools, [("good", 1), ("plain", 0)]);
        let untouched = read_tools(&format!(r#"{{"tools":[{plain}]}}"#).into());
        assert!(untouched.cleaned.is_none() && untouched.next_cursor.is_none());
    }
}
