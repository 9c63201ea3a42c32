// SPDX-License-Identifier: Apache-2.0
//! One-time tokens: whoever has one may deliver, or fetch, one answer.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::error::{Error, Result};
use crate::hex;
use crate::proto::open::TOKEN_LEN as LEN;

/// Random bytes that are asked of the system at once: a call for each answer would be felt. Calls for no more than this
/// are never interrupted.
const STOCK: usize = 256;

/// 128 random bits. 32 hexadecimal digits where it is text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) [u8; LEN]);

/// Random bytes that were not used yet.
pub(crate) struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

impl Stock {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; STOCK], left: 0 }
    }

    /// A token that a stranger cannot guess. Without the system's generator there is no such thing.
    pub(crate) fn token(&mut self) -> Result<Token> {
        if self.left < LEN {
            self.left = 0;
            getrandom::fill(&mut self.bytes)
                .map_err(|error| Error::unexpected(format!("the system has no randomness for a token: {error}")))?;
            self.left = STOCK;
        }
        self.left -= LEN;
        let mut token = [0; LEN];
        // What is handed out is kept nowhere else.
        token.iter_mut().zip(self.bytes.iter_mut().skip(self.left)).for_each(|(to, from)| *to = std::mem::take(from));
        Ok(Token(token))
    }
}

impl Token {
    /// Reads the text form, which may be a peer's.
    pub(crate) fn read(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }

    /// The text form.
    pub(crate) fn text(&self) -> String {
        let mut text = [0; 2 * LEN];
        hex::write(&self.0, &mut text);
        std::str::from_utf8(&text).unwrap_or_default().to_owned()
    }

    /// Whether it is `other`, in a time that says nothing about where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
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
    fn its_text_is_read_back() {
        let token = Token([0, 1, 0x0a, 0xa0, 0xff, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(token.text(), "00010aa0ff05060708090a0b0c0d0e0f");
        assert_eq!(Token::read(&token.text()), Some(token));
    }

    #[test]
    fn no_two_are_alike_though_they_come_out_of_a_stock() {
        let mut stock = Stock::new();
        let tokens: HashSet<Token> = (0..3 * STOCK / LEN).filter_map(|_| stock.token().ok()).collect();
        assert_eq!(tokens.len(), 3 * STOCK / LEN);
        assert!(!tokens.contains(&Token([0; LEN])));
    }
}
