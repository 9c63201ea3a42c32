// SPDX-License-Identifier: Apache-2.0
//! The way through JSON text that programs write for programs: without blanks, and of objects and strings above all.
//!
//! It takes nothing that `scanner` would not take, and goes only as far as there is nothing to be thought about: text beyond
//! ASCII, an escape, a blank, and whatever is wrong are left to that one, from the beginning. In return it knows what most
//! strings are followed by, so that a key and its value are passed over in two steps.

use super::scanner::{BLOCK, Scanner, first_special, is_plain_ascii};

/// No text of this length has an object with more members than `scanner` takes: each takes five bytes.
const MAX_LENGTH: usize = 50_000;

/// Passes over an object that a text begins with and that stands one level deep.
pub(super) fn pass_over(text: &[u8]) -> Option<&[u8]> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let [b'{', b'"', first @ ..] = text else { return None };
    let mut open = Open(0b11);
    // What is left of the text from within a key, or else from a value on.
    let mut key = Some(first);
    let mut rest = text;
    'value: loop {
        'ended: {
            let mut name = match (key, rest) {
                (Some(name), _) => name,
                (None, [b'{', b'"', name @ ..]) => {
                    open.object()?;
                    name
                }
                (None, [b'{', b'}', behind @ ..] | [b'[', b']', behind @ ..]) => {
                    rest = behind;
                    break 'ended;
                }
                (None, [b'[', behind @ ..]) => {
                    open.array()?;
                    rest = behind;
                    continue 'value;
                }
                (None, [b'"', inner @ ..]) => {
                    rest = string(inner).strip_prefix(b"\"")?;
                    break 'ended;
                }
                (None, _) => {
                    rest = Scanner::default().leaf(rest)?;
                    break 'ended;
                }
            };
            rest = loop {
                let behind = string(name);
                if let Some(inner) = behind_prefix(behind, br#"":""#) {
                    let behind = string(inner);
                    if let Some(next) = behind_prefix(behind, br#"",""#) {
                        name = next;
                        continue;
                    }
                    rest = behind.strip_prefix(b"\"")?;
                    break 'ended;
                }
                if let Some(next) = behind_prefix(behind, br#"":{""#) {
                    open.object()?;
                    name = next;
                    continue;
                }
                break behind.strip_prefix(br#"":"#)?;
            };
            key = None;
            continue 'value;
        }
        key = loop {
            let [first, behind @ ..] = rest else { return None };
            match (first, open.is_object()) {
                (b'}', true) | (b']', false) => {
                    if open.close() {
                        return Some(behind);
                    }
                    rest = behind;
                }
                (b',', true) => break Some(behind.strip_prefix(b"\"")?),
                (b',', false) => {
                    rest = behind;
                    break None;
                }
                _ => return None,
            }
        };
    }
}

/// The objects and arrays that are open: a bit for each, below the one that is always there.
struct Open(u64);

impl Open {
    /// `None` if it would be more than 63, so more than 64 with what is around them.
    #[inline(always)]
    fn array(&mut self) -> Option<()> {
        self.0 = self.0.checked_add(self.0)?;
        Some(())
    }

    #[inline(always)]
    fn object(&mut self) -> Option<()> {
        self.array()?;
        self.0 |= 1;
        Some(())
    }

    #[inline(always)]
    fn is_object(&self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether that was the last one.
    #[inline(always)]
    fn close(&mut self) -> bool {
        self.0 >>= 1;
        self.0 == 1
    }
}

/// What is behind a prefix of at most four bytes, where a few more follow: they are compared as one number.
#[inline(always)]
fn behind_prefix<'a, const N: usize>(text: &'a [u8], prefix: &[u8; N]) -> Option<&'a [u8]> {
    const { assert!(N <= 4) };
    let (mut expected, mut counts) = ([0; 4], [0; 4]);
    for ((place, counts), byte) in expected.iter_mut().zip(&mut counts).zip(prefix) {
        (*place, *counts) = (*byte, 0xFF);
    }
    let first = u32::from_le_bytes(*text.first_chunk()?) & u32::from_le_bytes(counts);
    if first == u32::from_le_bytes(expected) { text.get(N..) } else { None }
}

/// From within a string to what is special in it: its end, or else something that is left to `scanner`.
#[inline(always)]
fn string(inner: &[u8]) -> &[u8] {
    let mut rest = inner;
    // Most strings are short: a key, a name.
    for _ in 0..2 {
        let Some((word, behind)) = rest.split_first_chunk() else { break };
        if let Some(at) = first_special(word) {
            return rest.get(at..).unwrap_or_default();
        }
        rest = behind;
    }
    long_string(rest)
}

#[inline(never)]
fn long_string(mut rest: &[u8]) -> &[u8] {
    while let Some((block, behind)) = rest.split_first_chunk::<BLOCK>()
        && is_plain_ascii(block)
    {
        rest = behind;
    }
    while let Some((block, behind)) = rest.split_first_chunk::<16>()
        && is_plain_ascii(block)
    {
        rest = behind;
    }
    while let Some((word, behind)) = rest.split_first_chunk() {
        if let Some(at) = first_special(word) {
            return rest.get(at..).unwrap_or_default();
        }
        rest = behind;
    }
    while let [b' '..=b'\x7F', behind @ ..] = rest
        && !matches!(rest, [b'"' | b'\\', ..])
    {
        rest = behind;
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn by_scanner(text: &[u8]) -> Option<&[u8]> {
        let mut scanner = Scanner::default();
        let behind = scanner.value(text, 1)?;
        let passed = text.get(..text.len() - behind.len())?;
        std::str::from_utf8(passed).is_ok().then_some(behind)
    }

    fn value() -> impl Strategy<Value = String> {
        let string = prop_oneof![
            8 => "[a-z0-9 ,:{}\\[\\]/]{0,24}",
            2 => "[ !#-\\[\\]-~]{0,200}",
            1 => r#"[a-zé\x7F]{0,80}(\\n|\\u00e4|\\"|\\\\)?[a-z]{0,80}"#,
        ]
        .prop_map(|text| format!("\"{text}\""));
        let leaf = prop_oneof![
            4 => string,
            1 => "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,3})?(e[+-]?[0-9]{1,2})?",
            1 => prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            let member = ("[a-z]{0,20}", inner.clone()).prop_map(|(key, value)| format!("\"{key}\":{value}"));
            prop_oneof![
                3 => prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
                1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            ]
        })
    }

    /// What may be done to a text by one who wants to slip something through.
    #[derive(Clone, Debug)]
    enum Change {
        Byte(prop::sample::Index, u8),
        Special(prop::sample::Index, u8),
        Insert(prop::sample::Index, u8),
        Remove(prop::sample::Index),
        Twice(prop::sample::Index, prop::sample::Index),
    }

    fn change() -> impl Strategy<Value = Change> {
        let special = || prop::sample::select(&b"\"\\{}[]:, 0-nt\n\x00\x1F\x7F\x80"[..]);
        prop_oneof![
            (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
            (any::<prop::sample::Index>(), special()).prop_map(|(at, byte)| Change::Special(at, byte)),
            (any::<prop::sample::Index>(), special()).prop_map(|(at, byte)| Change::Insert(at, byte)),
            any::<prop::sample::Index>().prop_map(Change::Remove),
            (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(from, to)| Change::Twice(from, to)),
        ]
    }

    fn changed(mut text: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for change in changes {
            if text.is_empty() {
                break;
            }
            match change {
                Change::Byte(at, byte) | Change::Special(at, byte) => *at.get_mut(&mut text) = *byte,
                Change::Insert(at, byte) => text.insert(at.index(text.len()), *byte),
                Change::Remove(at) => drop(text.remove(at.index(text.len()))),
                Change::Twice(from, to) => {
                    let (from, to) = (from.index(text.len()), to.index(text.len()));
                    text.extend_from_within(from.min(to)..from.max(to));
                }
            }
        }
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        /// Whatever is done to a text: what is passed over here is what `scanner` passes over, and JSON to others.
        #[test]
        fn passes_over_nothing_that_is_no_json(
            value in value(), behind in r#"[,}\]"{\[a]{0,3}"#, changes in prop::collection::vec(change(), 0..4),
        ) {
            let text = changed(format!("{value}{behind}").into_bytes(), &changes);
            if let Some(rest) = pass_over(&text) {
                prop_assert_eq!(by_scanner(&text), Some(rest), "{:?}", String::from_utf8_lossy(&text));
                let passed = &text[..text.len() - rest.len()];
                prop_assert!(serde_json::from_slice::<IgnoredAny>(passed).is_ok(), "{:?}", String::from_utf8_lossy(passed));
            }
        }

        /// The same of a soup of all that means something.
        #[test]
        fn passes_over_no_soup(text in r#"\{"[\[\]{}:,"\\a0n]{0,24}"#) {
            if let Some(rest) = pass_over(text.as_bytes()) {
                prop_assert_eq!(by_scanner(text.as_bytes()), Some(rest), "{}", text);
            }
        }

        /// What it is for it does take.
        #[test]
        fn passes_over_what_programs_write(members in prop::collection::vec(("[a-z]{1,20}", value()), 1..4)) {
            let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let text = format!("{{{}}}}}", members.join(","));
            if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\') {
                prop_assert_eq!(pass_over(text.as_bytes()), Some(&b"}"[..]), "{}", text);
            }
        }
    }

    #[test]
    fn limits_are_those_of_the_scanner() {
        let nested = |levels: usize| format!("{}0{}", "{\"a\":".repeat(levels), "}".repeat(levels)).into_bytes();
        assert!(pass_over(&nested(63)).is_some() && by_scanner(&nested(63)).is_some());
        assert!(pass_over(&nested(64)).is_none() && by_scanner(&nested(64)).is_none());
        let members = |count: usize| format!("{{{}}}", vec!["\"\":0"; count].join(",")).into_bytes();
        assert!(pass_over(&members(9_999)).is_some() && by_scanner(&members(9_999)).is_some());
        assert!(pass_over(&members(10_001)).is_none() && by_scanner(&members(10_001)).is_none());
        let one_by_one = ["{\"a\":{},\"b\":[]}", "{\"a\":[[],{}]}"];
        assert!(one_by_one.iter().all(|text| pass_over(text.as_bytes()) == Some(b"")));
        assert!(
            ["{}", "[]", "\"a\"", "0", "", "{\"", "{},\"a\":{}}"]
                .iter()
                .all(|text| pass_over(text.as_bytes()).is_none())
        );
    }
}
