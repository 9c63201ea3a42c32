// SPDX-License-Identifier: Apache-2.0
//! JSON text (RFC 8259) that is looked into and edited without being parsed into a tree.
//!
//! What is not asked for is passed on byte for byte: unknown members, the order of keys, the spelling of numbers. Where an
//! object has a key twice, the last one counts, as in every JSON library of the field.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

mod compact;
mod edit;
mod scan;
mod scanner;

pub use edit::{remove, set};
pub use scan::{Malformed, Member, Members, check, members};
pub(crate) use scan::{check_members, pass_over};
pub(crate) use scanner::{first_special, is_plain_text, printable};

/// The raw value at `path`, without a copy; `None` if a key of the path is missing or what bears it is no object.
pub fn get(text: &Bytes, path: &[&str]) -> Option<Bytes> {
    let mut at = text.clone();
    for key in path {
        let value = scan::last_member(&at, key)?.value;
        at = at.slice(value);
    }
    Some(at)
}

/// The text of a raw JSON string; `None` if it is none.
pub fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice::<String>(raw).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// `text` as a raw JSON string.
pub fn quote(text: &str) -> Bytes {
    // A string always serialises.
    serde_json::to_vec(text).unwrap_or_default().into()
}

/// Appends what [`quote`] makes.
pub fn write_quoted(text: &str, out: &mut BytesMut) {
    out.extend_from_slice(b"\"");
    write_escaped(text, out);
    out.extend_from_slice(b"\"");
}

/// Appends what [`quote`] makes, without its quotes.
pub(crate) fn write_escaped(text: &str, out: &mut BytesMut) {
    if is_plain_text(text.as_bytes()) {
        return out.extend_from_slice(text.as_bytes());
    }
    let quoted = quote(text);
    out.extend_from_slice(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_path_leads_to_the_raw_value() {
        let text = json(r#" {"a": 1, "m" : {"io.x/y":[1, {"z":2}] , "t":"\u0041"}, "a": 2.50} "#);
        assert_eq!(get(&text, &["m", "io.x/y"]).unwrap(), r#"[1, {"z":2}]"#);
        assert_eq!(get(&text, &["a"]).unwrap(), "2.50", "the last one counts");
        assert_eq!(super::text(&get(&text, &["m", "t"]).unwrap()).unwrap(), "A");
        assert!(get(&text, &["m", "none"]).is_none());
        assert!(get(&text, &["a", "b"]).is_none());
        assert!(get(&Bytes::new(), &["a"]).is_none());
    }

    #[test]
    fn keys_are_compared_unescaped() {
        assert_eq!(get(&json(r#"{"\u0061":1}"#), &["a"]).unwrap(), "1");
    }
}
