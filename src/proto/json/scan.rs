// SPDX-License-Identifier: Apache-2.0
//! Finding one's way in JSON text: one pass, no allocation, bounded depth.

use std::fmt;
use std::ops::Range;

/// Objects and arrays within each other; `reliability` calls for a bound, and this is a recursion.
const MAX_DEPTH: usize = 64;
/// Members of one object.
const MAX_MEMBERS: usize = 10_000;
/// Characters of a number.
const MAX_NUMBER: usize = 64;

/// Why a text is no JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The byte at which it ceases to be JSON.
    pub at: usize,
    what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Malformed {}

/// Whether `text` is one JSON value in UTF-8, at most 64 levels deep.
pub fn check(text: &[u8]) -> Result<(), Malformed> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Malformed { at: error.valid_up_to(), what: "a byte that is not UTF-8" });
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.blank();
    scanner.value(0)?;
    scanner.blank();
    if scanner.at == text.len() { Ok(()) } else { Err(scanner.error("more than one value")) }
}

/// The members of an object, in order. Ends at the first fault, which [`check`] would have named; anything but an object
/// has none.
pub fn members(text: &[u8]) -> Members<'_> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.blank();
    let is_open = scanner.take(b'{');
    Members { scanner, is_open, is_first: true }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    is_open: bool,
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
        let place = if self.is_open { self.advance() } else { None };
        self.is_open = place.is_some();
        place
    }

    fn advance(&mut self) -> Option<Member> {
        let scanner = &mut self.scanner;
        scanner.blank();
        if !self.is_first && !scanner.take(b',') {
            return None;
        }
        scanner.blank();
        let key = scanner.at;
        scanner.string().ok()?;
        let key = key..scanner.at;
        scanner.blank();
        if !scanner.take(b':') {
            return None;
        }
        scanner.blank();
        let value = scanner.at;
        scanner.value(1).ok()?;
        self.is_first = false;
        Some(Member { key, value: value..scanner.at })
    }

    /// After the last member: the place of the closing brace.
    pub(super) fn closing(&mut self) -> Option<usize> {
        self.scanner.blank();
        (self.scanner.peek() == Some(b'}')).then_some(self.scanner.at)
    }
}

impl<'a> Iterator for Members<'a> {
    /// The key as it is written, without its quotes, and the raw value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.scanner.text;
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

#[derive(Clone, Debug)]
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') if depth < MAX_DEPTH => self.object(depth),
            Some(b'[') if depth < MAX_DEPTH => self.array(depth),
            Some(b'{' | b'[') => Err(self.error("more than 64 levels")),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.error("no value begins so")),
            None => Err(self.error("the text ends before the value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Malformed> {
        self.at += 1;
        self.blank();
        if self.take(b'}') {
            return Ok(());
        }
        for _ in 0..MAX_MEMBERS {
            self.blank();
            self.string()?;
            self.blank();
            if !self.take(b':') {
                return Err(self.error("no colon after a key"));
            }
            self.blank();
            self.value(depth + 1)?;
            self.blank();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.error("neither a comma nor the object's end"));
            }
        }
        Err(self.error("an object of more than 10,000 members"))
    }

    fn array(&mut self, depth: usize) -> Result<(), Malformed> {
        self.at += 1;
        self.blank();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.blank();
            self.value(depth + 1)?;
            self.blank();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.error("neither a comma nor the array's end"));
            }
        }
    }

    fn string(&mut self) -> Result<(), Malformed> {
        if !self.take(b'"') {
            return Err(self.error("no string begins so"));
        }
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1F) => return Err(self.error("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("the text ends within a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        let hex = |byte: &u8| byte.is_ascii_hexdigit();
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if self.text.get(self.at + 2..self.at + 6).is_some_and(|four| four.iter().all(hex)) => {
                self.at += 6;
            }
            _ => return Err(self.error("an unknown escape")),
        }
        Ok(())
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Malformed> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.error("no value begins so"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        if self.at - start > MAX_NUMBER { Err(self.error("a number of more than 64 characters")) } else { Ok(()) }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("a digit is missing")) } else { Ok(()) }
    }
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
