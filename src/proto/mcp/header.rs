// SPDX-License-Identifier: Apache-2.0
//! The headers of the HTTP transport, and how a value is written that HTTP would not carry as it is.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The revision.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// The session, in the legacy revisions.
pub const SESSION_ID: &str = "mcp-session-id";
/// Mirrors `method`.
pub const METHOD: &str = "mcp-method";
/// Mirrors `params.name` or `params.uri`.
pub const NAME: &str = "mcp-name";
/// Mirrors an argument of a tool, see [`mirror`](super::mirror).
pub const PARAM_PREFIX: &str = "mcp-param-";
/// Where a stream is to be resumed.
pub const LAST_EVENT_ID: &str = "last-event-id";

const OPENING: &str = "=?base64?";
const CLOSING: &str = "?=";

/// `value` as the header has it: as it is where it is plain text, else as base64 between markers.
pub fn encode(value: &str) -> Cow<'_, str> {
    let is_plain = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if is_plain && value.trim_matches([' ', '\t']) == value && !is_marked(value) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("{OPENING}{}{CLOSING}", STANDARD.encode(value)))
}

/// The value that a header stands for; `None` where it has the markers and no base64 of text between them.
pub fn decode(header: &str) -> Option<Cow<'_, str>> {
    if !is_marked(header) {
        return Some(Cow::Borrowed(header));
    }
    let inner = header.strip_prefix(OPENING)?.strip_suffix(CLOSING)?;
    String::from_utf8(STANDARD.decode(inner).ok()?).ok().map(Cow::Owned)
}

fn is_marked(text: &str) -> bool {
    text.len() >= OPENING.len() + CLOSING.len() && text.starts_with(OPENING) && text.ends_with(CLOSING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("", ""),
            ("=?base64?=", "=?base64?="),
        ] {
            assert_eq!(encode(value), header);
            assert_eq!(decode(header).unwrap(), value);
        }
        assert_eq!(decode("=?base64?!?="), None);
        assert_eq!(decode("=?base64?/w==?="), None, "not UTF-8");
    }
}
