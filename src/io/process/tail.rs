// SPDX-License-Identifier: Apache-2.0
//! The end of what a program says.

use bytes::{Buf, BytesMut};

/// Takes everything, keeps the last bytes.
#[derive(Debug)]
pub struct Tail {
    kept: BytesMut,
    limit: usize,
    is_cut: bool,
}

impl Tail {
    /// Keeps `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { kept: BytesMut::new(), limit, is_cut: false }
    }

    /// What comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        let surplus = (self.kept.len() + bytes.len()).saturating_sub(self.limit);
        self.is_cut |= surplus > 0;
        let of_old = surplus.min(self.kept.len());
        self.kept.advance(of_old);
        self.kept.extend_from_slice(bytes.get(surplus - of_old..).unwrap_or_default());
    }

    /// What was kept, as text without blanks at its end.
    pub fn text(&self) -> String {
        // A character that was cut in two at the front shows as a replacement.
        let text = String::from_utf8_lossy(&self.kept);
        let text = text.trim_end();
        if self.is_cut { format!("…{}", text.trim_start_matches('\u{fffd}')) } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_however_it_comes() {
        let text = format!("{}ä the end\n", "é".repeat(5000));
        for piece in [1, 7, 4095, 4096, 4097, text.len()] {
            let mut tail = Tail::new(4096);
            text.as_bytes().chunks(piece).for_each(|chunk| tail.push(chunk));
            let kept = tail.text();
            assert!(kept.starts_with("…é") && kept.ends_with("ä the end"), "{kept}");
            assert!(kept.len() <= 4096 + "…".len());
        }
        let mut short = Tail::new(4096);
        short.push(b"a\n");
        assert_eq!(short.text(), "a");
        let mut none = Tail::new(0);
        none.push(b"abc");
        assert_eq!(none.text(), "…");
    }
}
