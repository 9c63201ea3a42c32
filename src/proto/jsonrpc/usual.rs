// SPDX-License-Identifier: Apache-2.0
//! Messages as most are written: the members in the order of the specification's examples, without blanks, with a number for
//! an id. They are read from front to back without finding out what stands where, and just as strictly.
//!
//! What is written in any other way, or is wrong in any, is left to `envelope`.

use bytes::Bytes;

use super::{Id, Packet};
use crate::message::{Message, Subject};
use crate::proto::json;

/// The message, if it is written so; then `envelope` would read the same.
#[inline]
pub(super) fn parse(text: &Bytes) -> Option<Packet> {
    let rest = text.strip_prefix(br#"{"jsonrpc":"2.0","#)?;
    let Some(rest) = rest.strip_prefix(br#""id":"#) else {
        let (method, message) = call(text, rest.strip_prefix(br#""method":""#)?)?;
        return Some(Packet::Notification { method, message });
    };
    let (number, rest) = number(rest)?;
    let id = Id::number(number);
    if let Some(rest) = rest.strip_prefix(br#","method":""#) {
        let (method, message) = call(text, rest)?;
        return Some(Packet::Request { id, method, message });
    }
    let result = rest.strip_prefix(br#","result":"#)?;
    Some(Packet::Response { id, outcome: Ok(last(text, result)?) })
}

/// From within the method's quotes on.
#[inline(always)]
fn call(text: &Bytes, rest: &[u8]) -> Option<(Subject, Message)> {
    let length = json::printable(rest);
    let [b'"', behind @ ..] = rest.get(length..)? else { return None };
    let start = text.len() - rest.len();
    let message = match behind {
        [b'}'] => Message::default(),
        _ => {
            let params = behind.strip_prefix(br#","params":"#)?;
            if !matches!(params, [b'{' | b'[', ..]) {
                return None;
            }
            last(text, params)?
        }
    };
    Some((Subject::from_printable(text.slice(start..start + length))?, message))
}

/// A value that is the last of the message.
#[inline(always)]
fn last(text: &Bytes, value: &[u8]) -> Option<Message> {
    let [b'}'] = json::pass_over(value)? else { return None };
    Some(Message::new(text.slice(text.len() - value.len()..text.len() - 1)))
}

/// A number that reads back as it is written.
#[inline(always)]
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut rest) = (0u64, text);
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = behind;
    }
    // 19 digits always fit.
    let is_usual = match text.len() - rest.len() {
        1 => true,
        2..=19 => text.first() != Some(&b'0'),
        _ => false,
    };
    is_usual.then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::envelope;
    use super::*;

    fn usual() -> impl Strategy<Value = String> {
        let id = prop_oneof!["0|[1-9][0-9]{0,19}", "[0-9]{1,21}", "-?[0-9]{1,3}", "\"[a-z]{0,9}\""];
        let value = prop::sample::select(
            &[
                "{}",
                "[]",
                r#"{"a":"b"}"#,
                r#"{"name":"echo","arguments":{"text":["a \"long\" text with everything in it",1.5e3,true,null]}}"#,
                r#"{ "t" : "grüße, 你好 und alles" }"#,
                "7",
                "null",
                r#""text""#,
                "{",
                "]",
                "{}}",
                "{},\"id\":7",
            ][..],
        );
        let method = prop_oneof!["[a-z/]{0,30}", "[ -~é\u{7f}\u{1}]{1,12}"];
        (id, method, value, 0..5).prop_map(|(id, method, value, shape)| match shape {
            0 => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{value}}}"#),
            1 => format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{value}}}"#),
            2 => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#),
            _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{value}}}"#),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_read_is_what_the_other_way_reads(
            text in usual(), change in prop::option::weighted(0.5, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut text = text.into_bytes();
            if let Some((at, byte)) = change {
                *at.get_mut(&mut text) = byte;
            }
            let text = Bytes::from(text);
            if let Some(packet) = parse(&text) {
                prop_assert_eq!(envelope::parse(&text), Ok(packet), "{:?}", text);
            }
        }
    }

    #[test]
    fn the_usual_is_taken() {
        for text in [
            r#"{"jsonrpc":"2.0","id":417,"method":"tools/call","params":{"name":"echo"}}"#,
            r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":9999999999999999999,"result":{"y":[1,2]}}"#,
        ] {
            assert!(parse(&Bytes::from_static(text.as_bytes())).is_some(), "{text}");
        }
    }
}
