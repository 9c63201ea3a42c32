// SPDX-License-Identifier: Apache-2.0
//! What is to be sent to a client on no request's account, until it listens.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

/// Messages in order, and the streams that could carry them.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Streams with a reader, by number. The last one carries: a client that opens another has most likely lost the first.
    listening: Vec<u32>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One message.
pub(super) struct Queued {
    pub(super) text: Bytes,
    /// The request of ours that it is.
    pub(super) asked: Option<u64>,
}

impl Outbox {
    /// Whether a stream is read.
    pub(super) fn has_reader(&self) -> bool {
        !self.listening.is_empty()
    }

    /// Whether `stream` carries.
    pub(super) fn carries(&self, stream: u32) -> bool {
        self.listening.last() == Some(&stream)
    }

    /// Whether one more message fits.
    pub(super) fn has_room(&self, max_messages: usize, max_bytes: usize) -> bool {
        self.queue.len() < max_messages && self.bytes < max_bytes
    }

    /// Adds a message; the waker is to be woken.
    pub(super) fn push(&mut self, text: Bytes, asked: Option<u64>) -> Option<Waker> {
        self.bytes += text.len();
        self.queue.push_back(Queued { text, asked });
        self.reader.take()
    }

    /// Takes the next message; the waker is to be woken.
    pub(super) fn pop(&mut self) -> Option<(Queued, Option<Waker>)> {
        let next = self.queue.pop_front()?;
        self.bytes -= next.text.len();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some((next, self.writer.take()))
    }

    /// Takes out a request that was not sent yet.
    pub(super) fn withdraw(&mut self, asked: u64) -> bool {
        let Some(at) = self.queue.iter().position(|queued| queued.asked == Some(asked)) else { return false };
        self.bytes -= self.queue.remove(at).map_or(0, |queued| queued.text.len());
        true
    }

    /// A stream has a reader, which carries from now on.
    pub(super) fn attach(&mut self, stream: u32) {
        self.listening.retain(|number| *number != stream);
        self.listening.push(stream);
    }

    /// A stream lost its reader; says which stream carries now.
    pub(super) fn detach(&mut self, stream: u32) -> Option<u32> {
        self.listening.retain(|number| *number != stream);
        if self.listening.is_empty() {
            self.listening = Vec::new();
        }
        self.listening.last().copied()
    }

    pub(super) fn read_by(&mut self, waker: &Waker) {
        self.reader = Some(waker.clone());
    }

    pub(super) fn written_by(&mut self, waker: &Waker) {
        self.writer = Some(waker.clone());
    }

    /// Forgets everything; the wakers are to be woken.
    pub(super) fn clear(&mut self) -> [Option<Waker>; 2] {
        let Self { reader, writer, .. } = std::mem::take(self);
        [reader, writer]
    }
}
