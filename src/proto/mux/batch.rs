// SPDX-License-Identifier: Apache-2.0
//! Frames on their way to the socket: small ones in one buffer, large payloads as shared segments between them.
//!
//! Two of them take turns, one is filled while the other is written, so that a busy link allocates nothing for its output.

use bytes::Bytes;

use super::lazy::LazyQueue;

/// A buffer above this many bytes is not kept once it is empty: it came of a burst. Well above what may wait before senders
/// do, or a busy link would grow it anew for every write.
const KEEP: usize = 2 << 20;

/// What is written next, in order.
#[derive(Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Payloads that were not copied, each with the place in `bytes` that it goes before.
    pub(super) shared: LazyQueue<(usize, Bytes)>,
    /// How much of `bytes` is written.
    written: usize,
}

impl Batch {
    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.written == self.bytes.len() && self.shared.is_empty()
    }

    /// Whether it is one piece, so that a plain write does.
    pub fn as_single(&self) -> Option<&[u8]> {
        if self.shared.is_empty() { self.bytes.get(self.written..) } else { None }
    }

    /// What is left, piece by piece. None of them is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.shared.iter().map(|(place, _)| *place).chain([self.bytes.len()]);
        let starts = [self.written].into_iter().chain(self.shared.iter().map(|(place, _)| *place));
        let small = starts.zip(ends).map(|(from, to)| self.bytes.get(from..to).unwrap_or_default());
        let shared = self.shared.iter().map(|(_, payload)| &payload[..]).chain([&[][..]]);
        small.zip(shared).flat_map(|(small, payload)| [small, payload]).filter(|piece| !piece.is_empty())
    }

    /// `count` bytes were written.
    pub fn advance(&mut self, mut count: usize) {
        use bytes::Buf;
        while let Some((to, payload)) = self.shared.front_mut() {
            let small = count.min(*to - self.written);
            self.written += small;
            count -= small;
            if count < payload.len() {
                payload.advance(count);
                return;
            }
            count -= payload.len();
            self.shared.pop_front();
        }
        self.written = (self.written + count).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Adds a segment at the end.
    pub fn push(&mut self, segment: Bytes) {
        self.shared.push_back((self.bytes.len(), segment));
    }

    /// Forgets what is left; keeps the room.
    pub fn clear(&mut self) {
        self.shared.clear();
        self.written = 0;
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }

    /// Gives the room back, if nothing is left.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch { bytes: b"abcdefg".to_vec(), ..Batch::default() };
        for (at, text) in [(2, "LARGE"), (2, "second"), (5, "third")] {
            batch.shared.push_back((at, Bytes::from_static(text.as_bytes())));
        }
        batch
    }

    fn text(batch: &Batch, room: usize) -> String {
        batch.pieces().take(room).flatten().map(|byte| char::from(*byte)).collect()
    }

    #[test]
    fn any_step_writes_the_same_bytes() {
        let whole = "abLARGEsecondcdethirdfg";
        for step in 1..=whole.len() {
            let mut batch = batch();
            let mut seen = String::new();
            while !batch.is_empty() {
                let next = text(&batch, 8);
                assert_eq!(next, whole[seen.len()..], "step {step}");
                let taken = step.min(next.len());
                seen.push_str(&next[..taken]);
                batch.advance(taken);
            }
            assert_eq!(seen, whole);
        }
    }

    #[test]
    fn few_places_take_the_front() {
        assert_eq!(text(&batch(), 2), "abLARGE");
        let mut batch = batch();
        batch.advance(3);
        assert_eq!(text(&batch, 1), "ARGE");
        assert!(batch.as_single().is_none());
        batch.advance("ARGEsecondcdethirdf".len());
        assert_eq!(batch.as_single(), Some(&b"g"[..]));
    }
}
