// SPDX-License-Identifier: Apache-2.0
//! Finding one's way in JSON text: one pass, no allocation, bounded depth.

use std::fmt;
use std::ops::Range;

use super::compact;
use super::scanner::{Scanner, blank, unknown};

/// Why a text is no JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The byte at which it ceases to be JSON.
    pub at: usize,
    pub(super) what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Malformed {}

/// Whether `text` is one JSON value in UTF-8, at most 64 levels deep.
pub fn check(text: &[u8]) -> Result<(), Malformed> {
    check_members(text, unknown, |_, _| {})
}

/// [`check`], which on its one way through the text also tells where the members of its outermost object stand, in order.
/// Where there is a fault, what it told before means nothing.
///
/// `known` is given the text from each key on. Where that begins with a key that it expects, spelled plainly and with the
/// colon right behind it, it tells which, and how long both are: so the member comes with its name.
#[inline(always)]
pub(crate) fn check_members<N>(
    text: &[u8],
    known: impl Fn(&[u8]) -> Option<(N, usize)>,
    each: impl FnMut(Option<N>, Member),
) -> Result<(), Malformed> {
    let mut scanner = Scanner::default();
    if scanner.whole(text, known, each).is_none() {
        return Err(scanner.malformed(text));
    }
    // Outside of strings, JSON is ASCII.
    if !scanner.saw_ascii()
        && let Err(error) = std::str::from_utf8(text)
    {
        return Err(Malformed { at: error.valid_up_to(), what: "a byte that is not UTF-8" });
    }
    Ok(())
}

/// Passes over a value that a text begins with and that stands one level deep, as [`check`] would; `None` if that would not
/// take it.
#[inline(always)]
pub(crate) fn pass_over(text: &[u8]) -> Option<&[u8]> {
    match compact::pass_over(text) {
        None => pass_over_any(text),
        behind => behind,
    }
}

#[inline(never)]
fn pass_over_any(text: &[u8]) -> Option<&[u8]> {
    let mut scanner = Scanner::default();
    let behind = scanner.value(text, 1)?;
    let passed = text.get(..text.len() - behind.len())?;
    (scanner.saw_ascii() || std::str::from_utf8(passed).is_ok()).then_some(behind)
}

/// The members of an object, in order. Ends at the first fault, which [`check`] would have named; anything but an object
/// has none.
pub fn members(text: &[u8]) -> Members<'_> {
    match blank(text) {
        [b'{', rest @ ..] => Members { text, rest: Some(rest), is_first: true },
        _ => Members { text, rest: None, is_first: true },
    }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a [u8],
    /// Behind the last member; `None` if it is no object.
    rest: Option<&'a [u8]>,
    is_first: bool,
}

/// Where a member stands in the text of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// From the key's opening quote to its closing one.
    pub key: Range<usize>,
    /// The raw value.
    pub value: Range<usize>,
}

impl Members<'_> {
    /// Where the next member stands.
    pub fn next_place(&mut self) -> Option<Member> {
        let rest = blank(self.rest?);
        let key = match rest {
            _ if self.is_first => rest,
            [b',', rest @ ..] => blank(rest),
            _ => return None,
        };
        let (_, member, rest) = Scanner::default().member(self.text.len(), key, 0, unknown)?;
        (self.rest, self.is_first) = (Some(rest), false);
        Some(member)
    }

    /// After the last member: the place of the closing brace.
    pub(super) fn closing(&self) -> Option<usize> {
        let rest = blank(self.rest?);
        (rest.first() == Some(&b'}')).then_some(self.text.len() - rest.len())
    }
}

impl<'a> Iterator for Members<'a> {
    /// The key as it is written, without its quotes, and the raw value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.text;
        let place = self.next_place()?;
        Some((text.get(place.key.start + 1..place.key.end - 1)?, text.get(place.value)?))
    }
}

/// Whether a key, given as it is written between its quotes, reads `name`.
pub(super) fn is_key(raw: &[u8], name: &str) -> bool {
    if !raw.contains(&b'\\') {
        return raw == name.as_bytes();
    }
    let quoted = [b"\"", raw, b"\""].concat();
    super::text(&quoted).is_some_and(|key| key == name)
}

pub(super) fn last_member(text: &[u8], name: &str) -> Option<Member> {
    let mut found = None;
    let mut members = members(text);
    while let Some(place) = members.next_place() {
        if text.get(place.key.start + 1..place.key.end - 1).is_some_and(|key| is_key(key, name)) {
            found = Some(place);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_hold_at_their_edge() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(nested(64).as_bytes()).is_ok());
        assert_eq!(check(nested(65).as_bytes()).unwrap_err().at, 64);
        assert!(check("1".repeat(64).as_bytes()).is_ok());
        assert!(check("1".repeat(65).as_bytes()).is_err());
    }

    proptest! {
        /// We agree with a library of the field on what is JSON.
        #[test]
        fn judges_as_serde_json_does(text in r#"[\[\]{}:, "\\a0-2.eE+\-tfnulrs/]{0,24}"#) {
            prop_assert_eq!(check(text.as_bytes()).is_ok(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }

        /// Strings of every length, with what is special at every place in them.
        #[test]
        fn judges_strings_as_serde_json_does(
            front in "[a-zäé€\u{1F600}]{0,80}", special in r#"["\\a\x00\x1F\x20\x7Fntu0é]{0,6}"#, back in "[a-z]{0,80}",
        ) {
            let text = format!("[\"{front}{special}{back}\"]");
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), theirs, "{}", text);
            // Cut within a character it is no text any more.
            let broken: Vec<u8> = text.bytes().enumerate().filter(|(at, byte)| *at != 2 || *byte < 0x80).map(|(_, byte)| byte).collect();
            let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&broken).is_ok() && std::str::from_utf8(&broken).is_ok();
            prop_assert_eq!(check(&broken).is_ok(), theirs, "{:?}", broken);
        }

        #[test]
        fn every_cut_is_told(at in 0usize..40) {
            let text = br#"{"a":[1,-2.5e3,"x\n\u00e4",{"b":null}]}"#;
            if let Some(cut) = text.get(..at.min(text.len() - 1)) {
                prop_assert!(check(cut).is_err());
                prop_assert!(members(cut).count() <= 1);
            }
        }
    }
}
