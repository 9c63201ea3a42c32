// SPDX-License-Identifier: Apache-2.0
//! The slots of all streams on a link, by [`Key`].
//!
//! Two slabs, because a slot of ours is also the stream's number on the wire, and those must stay below the count that the
//! peer permits however many streams it has itself.

use slab::Slab;

use super::Key;
use super::stream::Stream;

/// Set in the keys of streams that the peer opened.
const THEIRS: Key = 1 << (Key::BITS - 1);

#[derive(Default)]
pub(super) struct Streams {
    ours: Slab<Stream>,
    theirs: Slab<Stream>,
    /// The peer's numbers → keys. A stream leaves this list before its slot is free, while local holders still read.
    numbers: Vec<Option<Key>>,
}

impl Streams {
    pub(super) fn get(&self, key: Key) -> Option<&Stream> {
        if is_ours(key) { self.ours.get(key) } else { self.theirs.get(key & !THEIRS) }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        if is_ours(key) { self.ours.get_mut(key) } else { self.theirs.get_mut(key & !THEIRS) }
    }

    /// A stream of ours, which `make` makes with its number.
    pub(super) fn open(&mut self, make: impl FnOnce(u32) -> Stream) -> Key {
        let entry = self.ours.vacant_entry();
        let key = entry.key();
        entry.insert(make(key as u32));
        key
    }

    /// A stream that the peer numbered `slot`, which must be within bounds and free.
    pub(super) fn accept(&mut self, slot: u32, stream: Stream) -> Key {
        let slot = slot as usize;
        let key = self.theirs.insert(stream) | THEIRS;
        if self.numbers.len() <= slot {
            self.numbers.resize(slot + 1, None);
        }
        if let Some(entry) = self.numbers.get_mut(slot) {
            *entry = Some(key);
        }
        key
    }

    /// The key of the peer's number `slot`, while neither end has said its last word.
    pub(super) fn numbered(&self, slot: u32) -> Option<Key> {
        self.numbers.get(slot as usize).copied().flatten()
    }

    /// The peer may use the number `slot` again, unless it has done so already.
    pub(super) fn release_number(&mut self, slot: u32, key: Key) {
        if let Some(entry) = self.numbers.get_mut(slot as usize)
            && *entry == Some(key)
        {
            *entry = None;
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Stream> {
        if is_ours(key) { self.ours.try_remove(key) } else { self.theirs.try_remove(key & !THEIRS) }
    }

    /// Gives back what streams needed, once there is none.
    pub(super) fn shrink(&mut self) {
        if self.ours.is_empty() {
            self.ours = Slab::new();
        }
        if self.theirs.is_empty() {
            self.theirs = Slab::new();
            self.numbers = Vec::new();
        }
    }

    /// Streams that we opened.
    pub(super) fn opened_here(&self) -> usize {
        self.ours.len()
    }

    pub(super) fn len(&self) -> usize {
        self.ours.len() + self.theirs.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Stream)> {
        let theirs = self.theirs.iter().map(|(key, stream)| (key | THEIRS, stream));
        self.ours.iter().chain(theirs)
    }
}

/// Whether we opened the stream.
pub(super) const fn is_ours(key: Key) -> bool {
    key & THEIRS == 0
}
