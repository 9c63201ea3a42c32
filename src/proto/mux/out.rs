// SPDX-License-Identifier: Apache-2.0
//! What waits to be written, and how far the writer has come.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use crate::proto::frame::{FIN, HEADER_LEN, Header, Kind, StreamId};
use crate::proto::open::{Asking, USUAL};

/// A payload of this many bytes is not copied: beyond it a copy costs more than a further segment of a vectored write.
const SHARE_FROM: usize = 4096;

/// Bytes that may wait before senders do: a request of 16 KiB from each of 64 callers, and no more, because what queues in
/// the kernel and here only displaces caches.
const FULL: u64 = 1280 << 10;

#[derive(Default)]
pub(super) struct Out {
    waiting: Batch,
    /// Where the last frame of `waiting` begins.
    last: usize,
    pushed: u64,
    written: u64,
}

impl Out {
    /// Appends a frame whose payload is what `head` writes, followed by `body`. Returns the position of its first byte.
    #[inline]
    pub(super) fn frame(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: StreamId,
        head: impl FnOnce(&mut Vec<u8>),
        body: Bytes,
    ) -> u64 {
        let at = self.pushed;
        let out = &mut self.waiting.bytes;
        let start = out.len();
        let is_copied = body.len() < SHARE_FROM;
        out.reserve(HEADER_LEN + 128 + if is_copied { body.len() } else { 0 });
        out.extend_from_slice(&[0; HEADER_LEN]);
        head(out);
        let len = out.len() - start - HEADER_LEN + body.len();
        if let Some(place) = out.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&Header { kind, flags, stream, len }.to_bytes());
        }
        if is_copied {
            out.extend_from_slice(&body);
        } else {
            let place = out.len();
            self.waiting.shared.push_back((place, body));
        }
        self.last = start;
        self.pushed += (HEADER_LEN + len) as u64;
        at
    }

    /// Appends what opens a stream for a request that is like most, with its small body. `None` if it is none: then nothing
    /// is done.
    #[inline]
    pub(super) fn request(
        &mut self,
        flags: u8,
        stream: StreamId,
        asking: Asking<'_>,
        now: Instant,
        body: &[u8],
    ) -> Option<u64> {
        if body.len() >= SHARE_FROM {
            return None;
        }
        let (fields, fields_len) = asking.usual(now)?;
        let subject = asking.subject.as_str().as_bytes();
        let len = fields_len + subject.len() + body.len();
        let mut head = [0; HEADER_LEN + USUAL];
        head[..HEADER_LEN].copy_from_slice(&Header { kind: Kind::Open, flags, stream, len }.to_bytes());
        head[HEADER_LEN..].copy_from_slice(&fields);
        let at = self.pushed;
        let out = &mut self.waiting.bytes;
        self.last = out.len();
        // The head whole, which is one step, and the subject over what it has too many.
        out.reserve(HEADER_LEN + USUAL + len);
        out.extend_from_slice(&head);
        out.truncate(self.last + HEADER_LEN + fields_len);
        out.extend_from_slice(subject);
        out.extend_from_slice(body);
        self.pushed += (HEADER_LEN + len) as u64;
        Some(at)
    }

    /// Appends a whole item, and takes `body` unless a copy does.
    #[inline]
    pub(super) fn item(&mut self, stream: StreamId, body: &mut Bytes) {
        if body.len() >= SHARE_FROM {
            return self.shared_item(stream, std::mem::take(body));
        }
        let out = &mut self.waiting.bytes;
        self.last = out.len();
        out.extend_from_slice(&Header { kind: Kind::Data, flags: 0, stream, len: body.len() }.to_bytes());
        out.extend_from_slice(body);
        self.pushed += (HEADER_LEN + body.len()) as u64;
    }

    /// Appends frames that are laid out already, the last of them from `last` on.
    pub(super) fn frames(&mut self, frames: &[u8], last: usize) {
        self.last = self.waiting.bytes.len() + last;
        self.waiting.bytes.extend_from_slice(frames);
        self.pushed += frames.len() as u64;
    }

    #[inline(never)]
    fn shared_item(&mut self, stream: StreamId, body: Bytes) {
        self.frame(Kind::Data, 0, stream, |_| {}, body);
    }

    /// Makes the item that ends at position `end` the last of its stream, if it still waits and nothing came after it: one
    /// frame fewer to write and to read.
    pub(super) fn finish(&mut self, end: u64) -> bool {
        if end != self.pushed || self.waiting.is_empty() {
            return false;
        }
        let Some(place) = self.waiting.bytes.get_mut(self.last..self.last + HEADER_LEN) else { return false };
        Header::add_flag(place, Kind::Data, FIN)
    }

    /// The position behind the last byte.
    pub(super) fn position(&self) -> u64 {
        self.pushed
    }

    /// Whether anything waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether senders should wait.
    pub(super) fn is_full(&self) -> bool {
        self.pushed - self.written >= FULL
    }

    /// Whether even answers to the peer's own frames should wait. Far above [`Self::is_full`], which stops data: if data
    /// could stop an end from reading, two ends with full outputs would wait for each other.
    pub(super) fn is_choked(&self) -> bool {
        self.pushed - self.written >= 2 * FULL
    }

    /// Gives what waits to the writer, for its empty batch.
    pub(super) fn swap(&mut self, written: &mut Batch) {
        debug_assert!(written.is_empty());
        written.clear();
        std::mem::swap(&mut self.waiting, written);
    }

    /// Moves what waits to a writer that keeps segments.
    pub(super) fn take(&mut self, writing: &mut VecDeque<Bytes>) {
        let Batch { bytes, mut shared, .. } = std::mem::take(&mut self.waiting);
        let mut small = BytesMut::from(&bytes[..]);
        let mut from = 0;
        while let Some((to, payload)) = shared.pop_front() {
            writing.push_back(small.split_to(to - from).freeze());
            writing.push_back(payload);
            from = to;
        }
        if !small.is_empty() {
            writing.push_back(small.freeze());
        }
    }

    /// Gives the room back, if nothing waits.
    pub(super) fn shrink(&mut self) {
        self.waiting.shrink();
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
        self.waiting = Batch::default();
        self.written = self.pushed;
    }
}
