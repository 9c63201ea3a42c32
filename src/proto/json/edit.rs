// SPDX-License-Identifier: Apache-2.0
//! Changing one member and nothing else.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::scan::{last_member, members};

/// The same text with the value at `path` replaced, or put there: objects that are missing on the way are made. An empty
/// text counts as `{}`. Where the path leads through something that is no object, the text comes back as it was.
pub fn set(text: &Bytes, path: &[&str], value: &[u8]) -> Bytes {
    let mut object = 0..text.len();
    let mut rest = path;
    while let [key, deeper @ ..] = rest {
        let within = text.get(object.clone()).unwrap_or_default();
        let Some(member) = last_member(within, key) else { break };
        object = object.start + member.value.start..object.start + member.value.end;
        rest = deeper;
    }
    if rest.is_empty() {
        return splice(text, object, &[value]);
    }
    let opened = open(rest, value);
    if text.iter().all(u8::is_ascii_whitespace) {
        return [b"{", &opened[..], b"}"].concat().into();
    }
    let within = text.get(object.clone()).unwrap_or_default();
    let mut all = members(within);
    let is_empty = all.by_ref().last().is_none();
    match all.closing() {
        Some(end) => {
            let end = object.start + end;
            splice(text, end..end, &[if is_empty { b"" } else { b"," }, &opened])
        }
        None => text.clone(),
    }
}

/// `"a":{"b":value`, closed.
fn open(path: &[&str], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 32);
    for (level, key) in path.iter().enumerate() {
        if level > 0 {
            out.push(b'{');
        }
        out.extend_from_slice(&super::quote(key));
        out.push(b':');
    }
    out.extend_from_slice(value);
    out.extend(std::iter::repeat_n(b'}', path.len().saturating_sub(1)));
    out
}

/// The same text without the member at `path`.
pub fn remove(text: &Bytes, path: &[&str]) -> Bytes {
    let [parents @ .., key] = path else { return text.clone() };
    let mut object = 0..text.len();
    for parent in parents {
        let within = text.get(object.clone()).unwrap_or_default();
        let Some(member) = last_member(within, parent) else { return text.clone() };
        object = object.start + member.value.start..object.start + member.value.end;
    }
    let within = text.get(object.clone()).unwrap_or_default();
    let Some(member) = last_member(within, key) else { return text.clone() };
    // With the comma before it, or if it is the first one the comma behind it.
    let before = within.get(..member.key.start).unwrap_or_default().trim_ascii_end();
    let cut = match before.last() {
        Some(b',') => before.len() - 1..member.value.end,
        _ => {
            let behind = within.get(member.value.end..).unwrap_or_default();
            let blank = behind.len() - behind.trim_ascii_start().len();
            let comma = usize::from(behind.get(blank) == Some(&b','));
            member.key.start..member.value.end + if comma == 1 { blank + 1 } else { 0 }
        }
    };
    let without = splice(text, object.start + cut.start..object.start + cut.end, &[]);
    // A key that stood there twice is gone only when both are.
    if last_member(within, key) != last_member(without.get(object.start..).unwrap_or_default(), key) {
        return remove(&without, path);
    }
    without
}

fn splice(text: &Bytes, place: Range<usize>, parts: &[&[u8]]) -> Bytes {
    let (before, behind) = (text.get(..place.start).unwrap_or_default(), text.get(place.end..).unwrap_or_default());
    let added: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(before.len() + added + behind.len());
    out.extend_from_slice(before);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(behind);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn setting_touches_nothing_else() {
        assert_eq!(set(&text(r#"{"a": 1, "b":2}"#), &["a"], b"7"), r#"{"a": 7, "b":2}"#);
        assert_eq!(set(&text(r#"{ }"#), &["a", "b"], b"7"), r#"{ "a":{"b":7}}"#);
        assert_eq!(set(&text(r#"{"m":{"x":1.0 } }"#), &["m", "y"], b"7"), r#"{"m":{"x":1.0 ,"y":7} }"#);
        assert_eq!(set(&text(""), &["m", "y"], b"7"), r#"{"m":{"y":7}}"#);
        assert_eq!(set(&text("[1]"), &["m"], b"7"), "[1]");
        assert_eq!(set(&text(r#"{"m":3}"#), &["m", "x"], b"7"), r#"{"m":3}"#);
    }

    #[test]
    fn removing_takes_one_comma() {
        assert_eq!(remove(&text(r#"{"a":1 , "b":2}"#), &["a"]), r#"{ "b":2}"#);
        assert_eq!(remove(&text(r#"{"a":1 , "b":2}"#), &["b"]), r#"{"a":1 }"#);
        assert_eq!(remove(&text(r#"{"m":{"a":1}}"#), &["m", "a"]), r#"{"m":{}}"#);
        assert_eq!(remove(&text(r#"{"a":1,"b":2,"a":1}"#), &["a"]), r#"{"b":2}"#);
        assert_eq!(remove(&text(r#"{"a":1}"#), &["b"]), r#"{"a":1}"#);
    }

    fn objects() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(1)), Just(json!("x,}\"")), Just(json!([1, {"a": 2}]))];
        let key = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c\"".to_owned())];
        let inner = prop::collection::btree_map(key.clone(), leaf.clone(), 0..3).prop_map(|map| json!(map));
        prop::collection::btree_map(key, prop_oneof![leaf, inner], 0..4).prop_map(|map| json!(map))
    }

    proptest! {
        #[test]
        fn edits_are_those_of_a_tree(mut tree in objects(), key in "[abc]\"?", deep in any::<bool>()) {
            let before = Bytes::from(serde_json::to_vec_pretty(&tree).unwrap());
            let path: Vec<&str> = if deep { vec!["a", &key] } else { vec![&key] };
            let set: Value = serde_json::from_slice(&set(&before, &path, b"[7]")).unwrap();
            let removed: Value = serde_json::from_slice(&remove(&before, &path)).unwrap();
            let parent = if deep { tree.get_mut("a").and_then(Value::as_object_mut) } else { tree.as_object_mut() };
            if let Some(parent) = parent {
                parent.insert(key.clone(), json!([7]));
                prop_assert_eq!(&set, &tree);
                let parent = if deep { tree.get_mut("a").and_then(Value::as_object_mut) } else { tree.as_object_mut() };
                parent.unwrap().remove(&key);
                prop_assert_eq!(&removed, &tree);
            }
        }
    }
}
