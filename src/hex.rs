// SPDX-License-Identifier: Apache-2.0
//! Hexadecimal digits, without the machinery of formatting: every request has some.

/// Writes `bytes` as two small digits each into `text`, as many as there is room for.
pub(crate) fn write(bytes: &[u8], text: &mut [u8]) {
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Reads what [`write`] writes, and large digits too. `None` unless `text` has two digits for each byte.
pub(crate) fn read<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = *digits else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(bytes)
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_cross_and_nothing_else_is_one() {
        let bytes = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        let mut text = [0; 16];
        write(&bytes, &mut text);
        assert_eq!(&text, b"0123456789abcdef");
        assert_eq!(read("0123456789abcdef"), Some(bytes));
        assert_eq!(read("0123456789ABCDEF"), Some(bytes));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "+123456789abcdef", "0123456789abcdeg", "ää"] {
            assert_eq!(read::<8>(other), None, "{other}");
        }
    }
}
