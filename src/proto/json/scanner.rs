// SPDX-License-Identifier: Apache-2.0
//! The way through JSON text: strict, without looking back, in bounded depth.
//!
//! Every message that comes over a link goes through here. So what is left of the text is handed from step to step in
//! registers, what went wrong is noted apart from it, and strings are passed over a word at a time.

use super::scan::{Malformed, Member};

/// Objects and arrays within each other; `reliability` calls for a bound, and this is a recursion.
const MAX_DEPTH: usize = 64;
/// Members of one object.
const MAX_MEMBERS: usize = 10_000;
/// Characters of a number.
const MAX_NUMBER: usize = 64;

/// Bytes of a long string that are looked at together.
pub(super) const BLOCK: usize = 64;

/// What was seen on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    /// The bytes of all strings so far, and some beside them, in one: a top bit in it means that not all are ASCII.
    seen: u64,
    /// What is wrong, and how many bytes are left there.
    fault: Option<(Fault, usize)>,
}

/// What is left of the text behind a step; `None` if there is a fault.
type Rest<'a> = Option<&'a [u8]>;

/// What is wrong where the scanner stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Begins,
    Ends,
    Deep,
    Colon,
    ObjectComma,
    ArrayComma,
    Members,
    Key,
    Control,
    EndsInString,
    Escape,
    Digit,
    Number,
    More,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::Begins => "no value begins so",
            Self::Ends => "the text ends before the value",
            Self::Deep => "more than 64 levels",
            Self::Colon => "no colon after a key",
            Self::ObjectComma => "neither a comma nor the object's end",
            Self::ArrayComma => "neither a comma nor the array's end",
            Self::Members => "an object of more than 10,000 members",
            Self::Key => "no string begins so",
            Self::Control => "a control character in a string",
            Self::EndsInString => "the text ends within a string",
            Self::Escape => "an unknown escape",
            Self::Digit => "a digit is missing",
            Self::Number => "a number of more than 64 characters",
            Self::More => "more than one value",
        }
    }
}

impl Scanner {
    /// Why `text` is malformed, once a step said that it is.
    pub(super) fn malformed(&self, text: &[u8]) -> Malformed {
        let (fault, left) = self.fault.unwrap_or((Fault::More, 0));
        Malformed { at: text.len().saturating_sub(left), what: fault.text() }
    }

    #[cold]
    fn fail<'a>(&mut self, fault: Fault, rest: &[u8]) -> Rest<'a> {
        self.fault = Some((fault, rest.len()));
        None
    }

    /// Whether all strings were ASCII for sure.
    pub(super) fn saw_ascii(&self) -> bool {
        self.seen & HIGH == 0
    }

    /// One value and nothing behind it. The members of its outermost object are told, with their names if `known` knows
    /// them: see [`member`](Self::member).
    #[inline(always)]
    pub(super) fn whole<'a, N>(
        &mut self,
        text: &'a [u8],
        known: impl Fn(&[u8]) -> Option<(N, usize)>,
        each: impl FnMut(Option<N>, Member),
    ) -> Rest<'a> {
        let start = blank(text);
        let rest = match start {
            [b'{', ..] => self.object(text.len(), start, 0, known, each)?,
            _ => self.value(start, 0)?,
        };
        match blank(rest) {
            [] => Some(&[]),
            rest => self.fail(Fault::More, rest),
        }
    }

    pub(super) fn value<'a>(&mut self, text: &'a [u8], depth: usize) -> Rest<'a> {
        match text {
            [b'"', ..] => self.string(text),
            [b'{', ..] if depth < MAX_DEPTH => self.object(0, text, depth, unknown, |_, _| {}),
            [b'[', ..] if depth < MAX_DEPTH => self.array(text, depth),
            [b'{' | b'[', ..] => self.fail(Fault::Deep, text),
            _ => self.leaf(text),
        }
    }

    /// What is neither a string nor an object nor an array.
    pub(super) fn leaf<'a>(&mut self, text: &'a [u8]) -> Rest<'a> {
        match text {
            [b't', rest @ ..] => self.word(text, rest.strip_prefix(b"rue")),
            [b'f', rest @ ..] => self.word(text, rest.strip_prefix(b"alse")),
            [b'n', rest @ ..] => self.word(text, rest.strip_prefix(b"ull")),
            [b'-' | b'0'..=b'9', ..] => self.number(text),
            [_, ..] => self.fail(Fault::Begins, text),
            [] => self.fail(Fault::Ends, text),
        }
    }

    /// Of a text of `length` bytes, in which places are counted.
    #[inline(always)]
    fn object<'a, N>(
        &mut self,
        length: usize,
        text: &'a [u8],
        depth: usize,
        known: impl Fn(&[u8]) -> Option<(N, usize)>,
        mut each: impl FnMut(Option<N>, Member),
    ) -> Rest<'a> {
        let mut rest = blank(text.get(1..).unwrap_or_default());
        if let [b'}', rest @ ..] = rest {
            return Some(rest);
        }
        for _ in 0..MAX_MEMBERS {
            let (name, member, behind) = self.member(length, rest, depth, &known)?;
            each(name, member);
            rest = match blank(behind) {
                [b',', rest @ ..] => blank(rest),
                [b'}', rest @ ..] => return Some(rest),
                rest => return self.fail(Fault::ObjectComma, rest),
            };
        }
        self.fail(Fault::Members, rest)
    }

    /// A member of an object that is `depth` levels deep, in a text of `length` bytes.
    ///
    /// `known` looks at what is left of the text: where that begins with a key that it expects, spelled plainly, it tells
    /// which, and the length of the key with its colon. To compare costs less than to find the key's end.
    #[inline(always)]
    pub(super) fn member<'a, N>(
        &mut self,
        length: usize,
        text: &'a [u8],
        depth: usize,
        known: impl Fn(&[u8]) -> Option<(N, usize)>,
    ) -> Option<(Option<N>, Member, &'a [u8])> {
        let at = |rest: &[u8]| length.wrapping_sub(rest.len());
        let (name, key_end, value) = match known(text) {
            Some((name, long)) => {
                let value = text.get(long..).unwrap_or_default();
                (Some(name), at(value).wrapping_sub(1), value)
            }
            None => {
                let behind = self.string(text)?;
                match blank(behind) {
                    [b':', rest @ ..] => (None, at(behind), rest),
                    rest => {
                        self.fail(Fault::Colon, rest);
                        return None;
                    }
                }
            }
        };
        let value = blank(value);
        // Most values are strings, which need no way down.
        let rest = if let [b'"', ..] = value { self.string(value)? } else { self.value(value, depth + 1)? };
        Some((name, Member { key: at(text)..key_end, value: at(value)..at(rest) }, rest))
    }

    fn array<'a>(&mut self, text: &'a [u8], depth: usize) -> Rest<'a> {
        let mut rest = blank(text.get(1..).unwrap_or_default());
        if let [b']', rest @ ..] = rest {
            return Some(rest);
        }
        loop {
            rest = match blank(self.value(rest, depth + 1)?) {
                [b',', rest @ ..] => blank(rest),
                [b']', rest @ ..] => return Some(rest),
                rest => return self.fail(Fault::ArrayComma, rest),
            };
        }
    }

    /// Most strings are short: a key, a name. They end within one word.
    #[inline(always)]
    fn string<'a>(&mut self, text: &'a [u8]) -> Rest<'a> {
        let [b'"', rest @ ..] = text else { return self.fail(Fault::Key, text) };
        if let Some((word, behind)) = rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            self.seen |= word;
            let special = special_bytes(word);
            if special == 0 {
                return self.rest_of_string(behind);
            }
            if let Some([b'"', behind @ ..]) = rest.get((special.trailing_zeros() / 8) as usize..) {
                return Some(behind);
            }
        }
        self.rest_of_string(rest)
    }

    #[inline(never)]
    fn rest_of_string<'a>(&mut self, rest: &'a [u8]) -> Rest<'a> {
        match self.plain(rest) {
            [b'"', rest @ ..] => Some(rest),
            rest => self.string_with_escapes(rest),
        }
    }

    /// From the first byte on that does not stand for itself.
    #[inline(never)]
    fn string_with_escapes<'a>(&mut self, mut rest: &'a [u8]) -> Rest<'a> {
        loop {
            rest = match rest {
                [b'"', rest @ ..] => return Some(rest),
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => rest,
                [b'\\', b'u', a, b, c, d, rest @ ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
                    rest
                }
                rest @ [b'\\', ..] => return self.fail(Fault::Escape, rest),
                rest @ [_, ..] => return self.fail(Fault::Control, rest),
                [] => return self.fail(Fault::EndsInString, &[]),
            };
            rest = self.plain(rest);
        }
    }

    /// Goes on to what does not stand for itself in a string: most of a message is passed over here. Eight bytes at once,
    /// and thirty-two where a string is long.
    #[inline(always)]
    fn plain<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            self.seen |= word;
            let special = special_bytes(word);
            if special != 0 {
                return rest.get((special.trailing_zeros() / 8) as usize..).unwrap_or_default();
            }
            rest = behind;
            while let Some((block, behind)) = rest.split_first_chunk::<BLOCK>()
                && (is_plain_ascii(block) || (!self.saw_ascii() && is_plain(block)))
            {
                rest = behind;
            }
        }
        while let [first, behind @ ..] = rest
            && !matches!(first, b'"' | b'\\' | 0..=0x1F)
        {
            self.seen |= u64::from(*first);
            rest = behind;
        }
        rest
    }

    fn word<'a>(&mut self, text: &[u8], rest: Rest<'a>) -> Rest<'a> {
        if rest.is_some() { rest } else { self.fail(Fault::Begins, text) }
    }

    fn number<'a>(&mut self, text: &'a [u8]) -> Rest<'a> {
        let mut rest = text.strip_prefix(b"-").unwrap_or(text);
        rest = match rest {
            [b'0', rest @ ..] => rest,
            _ => self.digits(rest)?,
        };
        if let [b'.', fraction @ ..] = rest {
            rest = self.digits(fraction)?;
        }
        if let [b'e' | b'E', exponent @ ..] = rest {
            rest = self.digits(match exponent {
                [b'+' | b'-', digits @ ..] => digits,
                digits => digits,
            })?;
        }
        if text.len() - rest.len() > MAX_NUMBER { self.fail(Fault::Number, rest) } else { Some(rest) }
    }

    #[inline(always)]
    fn digits<'a>(&mut self, text: &'a [u8]) -> Rest<'a> {
        let [b'0'..=b'9', rest @ ..] = text else { return self.fail(Fault::Digit, text) };
        let mut rest = rest;
        while let [b'0'..=b'9', behind @ ..] = rest {
            rest = behind;
        }
        Some(rest)
    }
}

/// Passes over blanks. Those who write for machines write none.
#[inline(always)]
pub(super) fn blank(text: &[u8]) -> &[u8] {
    match text {
        [b'\0'..=b' ', ..] => blanks(text),
        _ => text,
    }
}

#[inline(never)]
fn blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The top bit of each byte, and the lowest.
const HIGH: u64 = 0x8080_8080_8080_8080;
const EACH: u64 = 0x0101_0101_0101_0101;

/// Has the top bit of each byte that is a quote, a backslash or a control character. Borrows may set it in bytes above
/// such a one, never below.
#[inline(always)]
fn special_bytes(word: u64) -> u64 {
    // With this bit turned, the quote comes right behind the control characters, and what stands between them does not.
    let low = (word ^ (EACH * 0x02)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    (low | backslash) & !word & HIGH
}

/// Where the first byte is that does not stand for itself in a string, or is not ASCII.
#[inline(always)]
pub(crate) fn first_special(word: &[u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(*word);
    let low = (word ^ (EACH * 0x02)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    let special = (low | backslash | word) & HIGH;
    if special == 0 { None } else { Some((special.trailing_zeros() / 8) as usize) }
}

/// Whether all of it stands for itself, and is ASCII.
#[inline(always)]
pub(super) fn is_plain_ascii<const N: usize>(block: &[u8; N]) -> bool {
    // No branch and no early end, so that the compiler makes vectors of it. Beyond ASCII a byte is negative.
    !block.iter().fold(false, |special, byte| special | ((*byte ^ 2).cast_signed() < 0x21) | (*byte == b'\\'))
}

/// Whether all of it stands for itself. Asked once it is known that not all is ASCII.
#[inline(always)]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    !block.iter().fold(false, |special, byte| special | ((*byte ^ 2) < 0x21) | (*byte == b'\\'))
}

/// Knows no key.
pub(super) fn unknown(_: &[u8]) -> Option<((), usize)> {
    None
}

/// Whether `text` may stand in a string as it is.
pub(crate) fn is_plain_text(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else {
        return !text.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F));
    };
    // The last word overlaps the one before it.
    let mut special = special_bytes(u64::from_le_bytes(*last));
    let mut rest = text;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        special |= special_bytes(u64::from_le_bytes(*word));
        rest = behind;
    }
    special == 0
}

/// How many bytes at the front of `text` are printable ASCII and neither a quote nor a backslash.
#[inline(always)]
pub(crate) fn printable(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The last character of ASCII is a control character too: with one added, it has the top bit as well.
        let special = special_bytes(word) | ((word | word.wrapping_add(EACH)) & HIGH);
        if special != 0 {
            return text.len() - rest.len() + (special.trailing_zeros() / 8) as usize;
        }
        rest = behind;
    }
    while let [b' '..=b'~', behind @ ..] = rest
        && !matches!(rest, [b'"' | b'\\', ..])
    {
        rest = behind;
    }
    text.len() - rest.len()
}
