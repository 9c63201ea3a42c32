// SPDX-License-Identifier: Apache-2.0
//! What waits to be written: small frames batched into one buffer, large payloads as shared segments between them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::proto::frame::{HEADER_LEN, Header, Kind, StreamId};

/// A payload of this many bytes is not copied: beyond it a copy costs more than a further segment of a vectored write.
const SHARE_FROM: usize = 4096;

/// Bytes that may wait before senders do. Bounded, because what queues in the kernel and here only displaces caches.
const FULL: u64 = 512 << 10;

#[derive(Default)]
pub(super) struct Out {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    pushed: u64,
    written: u64,
}

impl Out {
    /// Appends a frame whose payload is what `head` writes, followed by `body`. Returns the position of its first byte.
    pub(super) fn frame(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: StreamId,
        head: impl FnOnce(&mut BytesMut),
        body: Bytes,
    ) -> u64 {
        let at = self.pushed;
        let start = self.tail.len();
        self.tail.reserve(HEADER_LEN + 64 + if body.len() < SHARE_FROM { body.len() } else { 0 });
        self.tail.extend_from_slice(&[0; HEADER_LEN]);
        head(&mut self.tail);
        let len = self.tail.len() - start - HEADER_LEN + body.len();
        Header { kind, flags, stream, len }.encode(&mut &mut self.tail[start..start + HEADER_LEN]);
        if body.len() < SHARE_FROM {
            self.tail.extend_from_slice(&body);
        } else {
            self.segments.push_back(self.tail.split().freeze());
            self.segments.push_back(body);
        }
        self.pushed += (HEADER_LEN + len) as u64;
        at
    }

    /// The position behind the last byte.
    pub(super) fn position(&self) -> u64 {
        self.pushed
    }

    /// Whether anything waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.tail.is_empty()
    }

    /// Whether senders should wait.
    pub(super) fn is_full(&self) -> bool {
        self.pushed - self.written >= FULL
    }

    /// Whether even answers to the peer's own frames should wait. Far above [`Self::is_full`], which stops data: if data
    /// could stop an end from reading, two ends with full outputs would wait for each other.
    pub(super) fn is_choked(&self) -> bool {
        self.pushed - self.written >= 4 * FULL
    }

    /// Moves what waits to the writer.
    pub(super) fn take(&mut self, writing: &mut VecDeque<Bytes>) {
        writing.append(&mut self.segments);
        if !self.tail.is_empty() {
            writing.push_back(self.tail.split().freeze());
        }
    }

    /// The writer handed `bytes` to the system, maybe of what [`Self::clear`] forgot after it had been taken.
    pub(super) fn wrote(&mut self, bytes: u64) {
        // What a failed link forgot counts as written, and may still be reported by a writer that had taken it.
        self.written = (self.written + bytes).min(self.pushed);
    }

    /// Whether the byte at position `at` was handed to the system.
    pub(super) fn has_written(&self, at: u64) -> bool {
        self.written > at
    }

    /// Whether everything before position `end` was handed to the system.
    pub(super) fn has_written_to(&self, end: u64) -> bool {
        self.written >= end
    }

    /// Whether all was handed to the system.
    pub(super) fn is_flushed(&self) -> bool {
        self.written >= self.pushed
    }

    /// Forgets what waits; the link is dead.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.tail = BytesMut::new();
        self.written = self.pushed;
    }
}
