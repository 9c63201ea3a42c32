// SPDX-License-Identifier: Apache-2.0
//! Messages as most are written: the members in the order of the specification's examples, without blanks, with an id that
//! is a number or plain text. They are read from front to back without finding out what stands where, and just as strictly.
//!
//! What is written in any other way, or is wrong in any, is left to `envelope`.

use bytes::Bytes;

use super::{FIRST, Id, Packet};
use crate::message::{Message, Subject};
use crate::proto::json;

/// The message, if it is written so; then `envelope` would read the same.
#[inline]
pub(super) fn parse(text: &Bytes) -> Option<Packet> {
    let Some(rest) = behind(text, FIRST) else {
        let (method, message) = call(text, behind(text, br#"{"jsonrpc":"2.0","method":""#)?)?;
        return Some(Packet::Notification { method, message });
    };
    let (id, rest) = match rest {
        [b'"', inner @ ..] => text_id(text, inner)?,
        _ => number(rest).map(|(number, rest)| (Id::number(number), rest))?,
    };
    if let Some(rest) = behind(rest, br#","method":""#) {
        let (method, message) = call(text, rest)?;
        return Some(Packet::Request { id, method, message });
    }
    let result = behind(rest, br#","result":"#)?;
    Some(Packet::Response { id, outcome: Ok(last(text, result)?) })
}

/// What is behind a prefix; its length is known, so that it is compared as a few numbers.
#[inline(always)]
fn behind<'a, const N: usize>(text: &'a [u8], prefix: &[u8; N]) -> Option<&'a [u8]> {
    let (first, rest) = text.split_first_chunk()?;
    if first == prefix { Some(rest) } else { None }
}

/// From within the method's quotes on.
#[inline(always)]
fn call(text: &Bytes, rest: &[u8]) -> Option<(Subject, Message)> {
    if let Some((method, rest)) = well_known(rest) {
        return Some((Subject::from_static(method), params(text, rest)?));
    }
    let length = json::printable(rest);
    let [b'"', params @ ..] = rest.get(length..)? else { return None };
    let start = text.len() - rest.len();
    let message = self::params(text, params)?;
    Some((Subject::from_printable(text.slice(start..start + length))?, message))
}

/// Most requests are of few methods. Their names need not be looked at again, and are no part of a text that somebody
/// has to keep.
#[inline(always)]
fn well_known(rest: &[u8]) -> Option<(&'static str, &[u8])> {
    // One by one, so that each is compared as a number or two.
    macro_rules! known {
        ($($name:literal),*) => {
            $(if let Some(behind) = rest.strip_prefix(concat!($name, "\"").as_bytes()) {
                return Some(($name, behind));
            })*
        };
    }
    known!("tools/call", "notifications/progress", "tools/list", "resources/read", "prompts/get", "ping");
    None
}

/// From behind the method's quotes on.
#[inline(always)]
fn params(text: &Bytes, rest: &[u8]) -> Option<Message> {
    match behind(rest, br#","params":"#) {
        Some(params @ [b'{' | b'[', ..]) => last(text, params),
        Some(_) => None,
        None => (rest == b"}").then(Message::default),
    }
}

/// A value that is the last of the message.
#[inline(always)]
fn last(text: &Bytes, value: &[u8]) -> Option<Message> {
    let [b'}'] = json::pass_over(value)? else { return None };
    Some(Message::new(text.slice(text.len() - value.len()..text.len() - 1)))
}

/// From within the id's quotes on.
#[inline(never)]
fn text_id<'a>(text: &Bytes, inner: &'a [u8]) -> Option<(Id, &'a [u8])> {
    let length = json::printable(inner);
    let [b'"', rest @ ..] = inner.get(length..)? else { return None };
    let start = text.len() - inner.len();
    Some((Id::from_raw(text.slice(start - 1..start + length + 1))?, rest))
}

/// A number that reads back as it is written.
#[inline(always)]
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some((number, length)) = text.first_chunk().and_then(leading_digits) else { return long_number(text) };
    // As we write it: without zeros in front.
    let is_usual = length == 1 || text.first() != Some(&b'0');
    if is_usual { Some((number, text.get(length..)?)) } else { None }
}

#[inline(never)]
fn long_number(text: &[u8]) -> Option<(u64, &[u8])> {
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

/// The number that the digits at the front are, and how many there are; `None` if there are none or more than seven.
#[inline(always)]
fn leading_digits(text: &[u8; 8]) -> Option<(u64, usize)> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(*text) ^ (EACH * b'0' as u64);
    // What is no digit has a top bit now, or gets one; what carries over is only above the first such byte.
    let others = (digits.wrapping_add(EACH * 0x76) | digits) & (EACH * 0x80);
    if others == 0 || others & 0x80 != 0 {
        return None;
    }
    let length = others.trailing_zeros() / 8;
    // The last digit into the highest byte, with zeros before the first. Then pairs of digits, of pairs, and of those.
    let digits = digits.wrapping_shl(64 - 8 * length);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF;
    Some((eight, length as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::envelope;
    use super::*;

    fn usual() -> impl Strategy<Value = String> {
        let id =
            prop_oneof!["0|[1-9][0-9]{0,19}", "[0-9]{1,21}", "-?[0-9]{1,3}", "\"[a-z]{0,9}\"", r#""[a-z\\é"]{0,12}""#];
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
                r#"{"a":{"b":[1,{"c":"d"}]},"e":"f"}"#,
                r#"{"a":"b"},"id":7,"x":{"a":"b"}"#,
                r#"{"a":"b"},"method":"other""#,
            ][..],
        );
        let method = prop_oneof![
            "[a-z/]{0,30}",
            "[ -~é\u{7f}\u{1}]{1,12}",
            "(tools/call|tools/list|notifications/progress|resources/read|prompts/get|ping)[a-z\"]?",
        ];
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
            r#"{"jsonrpc":"2.0","id":"c0ffee-7","method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":9999999999999999999,"result":{"y":[1,2]}}"#,
        ] {
            assert!(parse(&Bytes::from_static(text.as_bytes())).is_some(), "{text}");
        }
    }
}
