// SPDX-License-Identifier: Apache-2.0
//! Where a list over several upstreams goes on: for each upstream that has more, its name and its own cursor. Everything is
//! in the text, so any replica can go on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biplane::PeerError;

/// JSON-RPC's *invalid params*, which the specification asks for here.
const INVALID_PARAMS: i64 = -32602;
/// The form of this version. A text of another one is refused, not misread.
const VERSION: u8 = 1;
/// Longer than any cursor that we made, unless upstreams have very long ones.
const MAX_LEN: usize = 64 * 1024;

/// Writes the cursor of the page after this one: pairs of an upstream's name and its raw cursor.
pub(crate) fn write<'a>(places: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut bytes = vec![VERSION];
    for (name, cursor) in places {
        for text in [name, cursor] {
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes.push(sum(&bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// `-32602` for any other text.
pub(crate) fn read(text: &str) -> Result<Vec<(String, String)>, PeerError> {
    decode(text).ok_or_else(|| PeerError::new(INVALID_PARAMS, "the cursor is none of this server's, or is damaged"))
}

fn decode(text: &str) -> Option<Vec<(String, String)>> {
    if text.len() > MAX_LEN {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (check, bytes) = bytes.split_last()?;
    if sum(bytes) != *check {
        return None;
    }
    let (version, mut rest) = bytes.split_first()?;
    let mut places = Vec::new();
    while !rest.is_empty() {
        let name = take(&mut rest)?;
        let cursor = take(&mut rest)?;
        places.push((name, cursor));
    }
    (*version == VERSION && !places.is_empty()).then_some(places)
}

fn take(rest: &mut &[u8]) -> Option<String> {
    let (len, behind) = rest.split_first_chunk::<4>()?;
    let (text, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *rest = behind;
    String::from_utf8(text.to_vec()).ok()
}

/// Tells a cut or mistyped cursor from ours; what a cursor says is no secret and gives no rights.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0x5A_u8, |sum, byte| sum.rotate_left(1) ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip() {
        let places = [("a", "page 2"), ("tools-1", ""), ("c", "é\u{0}_")];
        let text = write(places);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        let read: Vec<_> = read(&text).unwrap();
        assert!(read.iter().map(|(name, cursor)| (name.as_str(), cursor.as_str())).eq(places));
    }

    #[test]
    fn any_other_text_is_invalid_params() {
        let good = write([("a", "2")]);
        let mut bad: Vec<String> = (0..good.len()).map(|at| good[..at].to_owned()).collect();
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            bad.push(String::from_utf8(bytes).unwrap());
        }
        bad.extend(["abc".to_owned(), "=".to_owned(), "é".to_owned(), "A".repeat(MAX_LEN + 4)]);
        for text in bad {
            assert_eq!(read(&text).unwrap_err().code, INVALID_PARAMS, "{text:?}");
        }
    }
}
