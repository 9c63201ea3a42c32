// SPDX-License-Identifier: Apache-2.0
//! One-time tokens: whoever has one may deliver, or fetch, one answer.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use subtle::ConstantTimeEq;

use crate::error::{Error, Result};
use crate::proto::open::TOKEN_LEN as LEN;

/// Random bytes that are asked of the system at once: a call for each answer would be felt. Calls for no more than this
/// are never interrupted.
const STOCK: usize = 256;

/// 128 random bits. 32 hexadecimal digits where it is text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) [u8; LEN]);

/// Random bytes that were not used yet.
struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

static UNUSED: Mutex<Stock> = Mutex::new(Stock { bytes: [0; STOCK], left: 0 });

impl Token {
    /// One that a stranger cannot guess. Without the system's generator there is no such thing.
    pub(crate) fn random() -> Result<Self> {
        let mut stock = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if stock.left < LEN {
            stock.left = 0;
            getrandom::fill(&mut stock.bytes)
                .map_err(|error| Error::unexpected(format!("the system has no randomness for a token: {error}")))?;
            stock.left = STOCK;
        }
        stock.left -= LEN;
        let at = stock.left;
        let mut token = [0; LEN];
        // What is handed out is kept nowhere else.
        token.iter_mut().zip(stock.bytes.iter_mut().skip(at)).for_each(|(to, from)| *to = std::mem::take(from));
        Ok(Self(token))
    }

    /// Reads the text form, which may be a peer's.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut token = [0; LEN];
        if text.len() != 2 * LEN {
            return None;
        }
        for (byte, digits) in token.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = *digits else { return None };
            *byte = value(high)? << 4 | value(low)?;
        }
        Some(Self(token))
    }

    /// The text form.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(2 * LEN);
        self.0.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
        text
    }

    /// Whether it is `other`, in a time that says nothing about where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

fn digit(value: u8) -> char {
    char::from(if value < 10 { b'0' + value } else { b'a' + value - 10 })
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A token is a secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn its_text_is_read_back_and_no_other_is_read() {
        let token = Token([0, 1, 0x0a, 0xa0, 0xff, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(token.text(), "00010aa0ff05060708090a0b0c0d0e0f");
        assert_eq!(Token::read(&token.text()), Some(token));
        assert_eq!(Token::read(&token.text().to_uppercase()), Some(token));
        for other in ["", "00010aa0ff05060708090a0b0c0d0e0", "+0010aa0ff05060708090a0b0c0d0e0f", "0g", &"ä".repeat(16)]
        {
            assert_eq!(Token::read(other), None, "{other}");
        }
    }

    #[test]
    fn no_two_are_alike_though_they_come_out_of_a_stock() {
        let tokens: HashSet<Token> = (0..3 * STOCK / LEN).filter_map(|_| Token::random().ok()).collect();
        assert_eq!(tokens.len(), 3 * STOCK / LEN);
        assert!(!tokens.contains(&Token([0; LEN])));
    }
}
