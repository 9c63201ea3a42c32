// SPDX-License-Identifier: Apache-2.0
//! Bytes that came in chunks, to be taken from the front in parts that know nothing of the chunks.

use std::ops::Deref;

use bytes::{Buf, Bytes, BytesMut};

/// What came and was not taken. Parts of one chunk are slices of it; only what spans two is copied, once. A chunk of which
/// all is taken is let go: it may be a slice of a link's whole buffer, and the next one may be long in coming.
#[derive(Debug)]
pub(super) enum Chunks {
    /// The rest of one chunk.
    One(Bytes),
    /// The rests of several, until all is taken.
    Joined(BytesMut),
}

impl Default for Chunks {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Chunks {
    /// Adds a chunk at the end.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            *self = Self::One(chunk);
            return;
        }
        match self {
            Self::One(rest) => {
                let mut joined = BytesMut::with_capacity(rest.len() + chunk.len());
                joined.extend_from_slice(rest);
                joined.extend_from_slice(&chunk);
                *self = Self::Joined(joined);
            }
            Self::Joined(joined) => joined.extend_from_slice(&chunk),
        }
    }

    /// Takes the first `count` bytes, which must be there.
    pub(super) fn split_to(&mut self, count: usize) -> Bytes {
        match self {
            Self::One(rest) if count == rest.len() => std::mem::take(rest),
            Self::One(rest) => rest.split_to(count),
            Self::Joined(joined) => joined.split_to(count).freeze(),
        }
    }

    /// Takes `count` bytes that stand between `before` and `after` others, all of which must be there.
    pub(super) fn split_between(&mut self, before: usize, count: usize, after: usize) -> Bytes {
        let all = before + count + after;
        match self {
            Self::One(rest) if all < rest.len() => {
                let part = rest.slice(before..before + count);
                rest.advance(all);
                part
            }
            Self::One(rest) => {
                let mut part = std::mem::take(rest);
                part.advance(before);
                part.truncate(count);
                part
            }
            Self::Joined(joined) => {
                joined.advance(before);
                let part = joined.split_to(count).freeze();
                self.skip(after);
                part
            }
        }
    }

    /// Drops the first `count` bytes, which must be there.
    pub(super) fn skip(&mut self, count: usize) {
        match self {
            Self::One(rest) => rest.advance(count),
            Self::Joined(joined) => joined.advance(count),
        }
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Deref for Chunks {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::One(rest) => rest,
            Self::Joined(joined) => joined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_which_all_is_taken_is_let_go() {
        let chunk = || Bytes::from(vec![b'a'; 4]).slice(..3);
        for take in [
            |chunks: &mut Chunks| chunks.skip(3),
            |chunks: &mut Chunks| drop(chunks.split_to(3)),
            |chunks: &mut Chunks| {
                drop(chunks.split_between(1, 1, 1));
            },
        ] {
            let (mut chunks, held) = (Chunks::default(), chunk());
            chunks.push(held.clone());
            take(&mut chunks);
            assert!(held.is_unique());
        }
    }

    #[test]
    fn parts_know_nothing_of_the_chunks() {
        let mut chunks = Chunks::default();
        let first = Bytes::from(vec![b'a'; 4]);
        let at = first.as_ptr();
        chunks.push(first);
        let part = chunks.split_to(2);
        assert_eq!((&part[..], part.as_ptr()), (&b"aa"[..], at), "a slice of the chunk");
        chunks.push(Bytes::from_static(b"bcd"));
        assert_eq!(&chunks.split_to(3)[..], b"aab");
        chunks.push(Bytes::from_static(b"e"));
        chunks.skip(1);
        assert_eq!(&chunks[..], b"de");
        assert_eq!(&chunks.split_to(2)[..], b"de");
        chunks.push(Bytes::from_static(b"f"));
        assert!(matches!(chunks, Chunks::One(_)));
    }

    #[test]
    fn what_stands_between_others_is_taken_with_them() {
        for cut in 0..=8 {
            let mut chunks = Chunks::default();
            let (first, second) = b"(a)((b))".split_at(cut);
            chunks.push(Bytes::copy_from_slice(first));
            chunks.push(Bytes::copy_from_slice(second));
            assert_eq!(&chunks.split_between(1, 1, 1)[..], b"a");
            assert_eq!(&chunks.split_between(2, 1, 2)[..], b"b");
            assert!(chunks.is_empty() && matches!(chunks, Chunks::One(_)));
        }
    }
}
