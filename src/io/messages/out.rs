// SPDX-License-Identifier: Apache-2.0
//! Messages that wait for the wire: written one behind the other by whoever has something to say, taken all at once by the
//! driver.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::error::PeerError;
use crate::message::{Message, Subject};
use crate::proto::jsonrpc::{Id, write};

/// Places of messages that are kept for the next ones.
const KEPT: usize = 64;

/// Bytes that are reserved for a burst at its beginning.
const MAX_EXPECTED: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Out {
    batch: Batch,
    /// Bytes that the wire has not taken, those that the driver holds included.
    bytes: usize,
    /// Bytes of the last burst: the next one is given as many at once.
    expected: usize,
    waiting: Vec<Waker>,
}

/// Messages, whole, in one buffer.
#[derive(Default)]
pub(super) struct Batch {
    text: BytesMut,
    lengths: VecDeque<usize>,
}

impl Batch {
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let length = self.lengths.pop_front()?;
        // The last one takes the buffer with it: a link that is idle holds none.
        let rest = if self.lengths.is_empty() { std::mem::take(&mut self.text) } else { self.text.split_to(length) };
        Some(rest.freeze())
    }

    fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

impl Out {
    pub(super) fn request(&mut self, id: &Id, method: &Subject, message: &Message) {
        self.put(|text| write::request(id, method, message, text));
    }

    pub(super) fn notification(&mut self, method: &Subject, message: &Message) {
        self.put(|text| write::notification(method, message, text));
    }

    pub(super) fn response(&mut self, id: &Id, outcome: Result<&Message, &PeerError>) {
        self.put(|text| write::response(id, outcome, text));
    }

    fn put(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let Batch { text, lengths } = &mut self.batch;
        let before = text.len();
        if lengths.is_empty() {
            text.reserve(self.expected);
        }
        write(text);
        let length = text.len() - before;
        lengths.push_back(length);
        self.bytes += length;
    }

    /// Bytes that the wire has not taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the wire has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether the driver has something to fetch.
    pub(super) fn has_more(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Puts what waits in the place of an empty `batch`, whose buffers serve the next messages.
    pub(super) fn swap(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut self.batch, batch);
        self.expected = batch.text.len().min(MAX_EXPECTED);
        // What is kept between two bursts is a few places, and no bytes.
        if self.batch.lengths.capacity() > KEPT {
            self.batch.lengths = VecDeque::new();
        }
    }

    /// The wire took this many; whom to wake, once what is left is half of `most`.
    pub(super) fn taken(&mut self, bytes: usize, most: usize) -> Vec<Waker> {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.bytes <= most / 2 { std::mem::take(&mut self.waiting) } else { Vec::new() }
    }

    /// To be woken when there is room again.
    pub(super) fn wait(&mut self, waker: &Waker) {
        self.waiting.push(waker.clone());
    }

    /// Nothing goes any more.
    pub(super) fn clear(&mut self) -> Vec<Waker> {
        std::mem::take(self).waiting
    }
}
