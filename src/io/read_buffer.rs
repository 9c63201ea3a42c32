// SPDX-License-Identifier: Apache-2.0
//! What a link reads into: as large as its traffic, used again as soon as nobody holds what was read, gone while it idles.
//!
//! Messages share this memory, so the size of a buffer is what a message that somebody keeps may pin. It starts small and
//! grows with what comes at once, to a few times of that: hundreds of links that are busy with small messages must not
//! have as much as one that carries large ones.

use ::bytes::BytesMut;

/// Bytes of a quiet link's buffer.
const SMALLEST: usize = 2 << 10;

/// Bytes of a busy one's, unless a single frame needs more.
const LARGEST: usize = 256 << 10;

/// Full buffers that are kept until their messages are gone. Further ones are left to the allocator, which hands large ones
/// back to the system and faults them in anew.
const RETIRED: usize = 3;

pub(super) struct ReadBuffer {
    pub(super) bytes: BytesMut,
    size: usize,
    retired: Vec<BytesMut>,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new(BytesMut::new())
    }
}

impl ReadBuffer {
    /// `bytes` are what came with the handshake.
    pub(super) fn new(bytes: BytesMut) -> Self {
        Self { bytes, size: SMALLEST, retired: Vec::new() }
    }

    /// Makes room for the next read: for the rest of a frame that lacks `missing` bytes, and more.
    pub(super) fn prepare(&mut self, missing: usize) {
        // A claim alone reserves no more than a busy link has anyway.
        let missing = missing.min(LARGEST);
        let spare = self.bytes.capacity() - self.bytes.len();
        if spare >= missing.max(self.size / 8) {
            return;
        }
        let room = missing.max(self.size);
        if self.bytes.try_reclaim(room) {
            return;
        }
        let size = self.bytes.len() + room;
        let reusable = self.retired.iter_mut().position(|buffer| buffer.try_reclaim(size));
        let mut next = match reusable {
            Some(at) => self.retired.swap_remove(at),
            None => BytesMut::with_capacity(size),
        };
        next.extend_from_slice(&self.bytes);
        let mut full = std::mem::replace(&mut self.bytes, next);
        full.clear();
        if self.retired.len() == RETIRED {
            self.retired.remove(0);
        }
        self.retired.push(full);
    }

    /// `bytes` came by one read into `spare` bytes of room.
    pub(super) fn came(&mut self, bytes: usize, spare: usize) {
        // The end of a buffer is filled by any read that comes there, and says nothing.
        if bytes == spare && spare >= self.size / 4 {
            self.size = (self.size * 2).min(LARGEST);
        }
    }

    pub(super) fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Gives everything back that holds no unread byte.
    pub(super) fn shrink(&mut self) {
        self.retired = Vec::new();
        self.size = SMALLEST;
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Whether there is no buffer.
    pub(super) fn is_gone(&self) -> bool {
        self.bytes.capacity() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_what_was_read() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        buffer.prepare(0);
        let place = buffer.bytes.as_ptr();
        let capacity = buffer.bytes.capacity();
        for _ in 0..3 {
            buffer.bytes.resize(capacity, 1);
            drop(buffer.bytes.split());
            buffer.prepare(0);
            assert_eq!(buffer.bytes.as_ptr(), place);
        }
    }

    #[test]
    fn what_is_held_stays_and_what_is_incomplete_moves_on() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        buffer.prepare(0);
        let capacity = buffer.bytes.capacity();
        buffer.bytes.resize(capacity, 1);
        let held = buffer.bytes.split_to(capacity - 10).freeze();
        buffer.prepare(100_000);
        assert_eq!(&buffer.bytes[..], &[1; 10]);
        assert!(buffer.spare() >= 100_000);
        buffer.bytes.resize(10 + buffer.spare(), 2);
        assert!(held.iter().all(|byte| *byte == 1));
        buffer.bytes.clear();
        buffer.shrink();
        assert!(buffer.is_gone());
    }

    #[test]
    fn it_grows_with_reads_that_fill_it() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        for _ in 0..10 {
            buffer.prepare(0);
            let spare = buffer.spare();
            buffer.bytes.resize(buffer.bytes.len() + spare, 0);
            buffer.came(spare, spare);
            drop(buffer.bytes.split());
        }
        buffer.bytes = BytesMut::new();
        buffer.prepare(0);
        assert_eq!(buffer.spare(), LARGEST);
    }

    #[test]
    fn it_stays_in_proportion_to_what_comes_at_once() {
        const BURST: usize = 3000;
        let mut buffer = ReadBuffer::new(BytesMut::new());
        for _ in 0..100 {
            let mut left = BURST;
            while left > 0 {
                buffer.prepare(0);
                let spare = buffer.spare();
                let came = left.min(spare);
                buffer.bytes.resize(came, 0);
                buffer.came(came, spare);
                drop(buffer.bytes.split());
                left -= came;
            }
        }
        assert!((BURST..=8 * BURST).contains(&buffer.size), "{}", buffer.size);
    }
}
