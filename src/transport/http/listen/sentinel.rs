// SPDX-License-Identifier: Apache-2.0
//! Header values that stand for any text (MCP 2026-07-28, *Streamable HTTP*, Value Encoding): plain ASCII as it is,
//! anything else as `=?base64?…?=`.

use std::borrow::Cow;

use http::HeaderValue;

use crate::proto::mcp::header;

/// The text; `None` if there is none behind it.
pub(super) fn decode(value: &HeaderValue) -> Option<Cow<'_, str>> {
    header::decode(value.to_str().ok()?.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (value, text) in [
            ("us-west1", "us-west1"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
            ("=?base64?IHBhZGRlZCA=?=", " padded "),
            ("=?base64?bGluZTEKbGluZTI=?=", "line1\nline2"),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
            ("=?BASE64?IHBhZGRlZCA=?=", "=?BASE64?IHBhZGRlZCA=?="),
            ("  spaced  ", "spaced"),
        ] {
            let value = HeaderValue::from_str(value).unwrap();
            assert_eq!(decode(&value).as_deref(), Some(text));
        }
        for bad in [&b"=?base64?!!!?="[..], b"=?base64?gA==?=", b"caf\xc3\xa9"] {
            assert_eq!(decode(&HeaderValue::from_bytes(bad).unwrap()), None);
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text: String) {
            let value = HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(&text))).unwrap();
            let decoded = decode(&value);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn no_value_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = decode(&value);
            }
        }
    }
}
