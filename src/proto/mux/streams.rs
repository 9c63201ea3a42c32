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

/// Nothing while there is none.
#[derive(Default)]
pub(super) struct Streams(Option<Box<Slots>>);

#[derive(Default)]
struct Slots {
    ours: Slab<Stream>,
    theirs: Slab<Stream>,
    /// The peer's numbers → keys. A stream leaves this list before its slot is free, while local holders still read.
    numbers: Vec<Option<Key>>,
}

impl Streams {
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&Stream> {
        let slots = self.0.as_deref()?;
        if is_ours(key) { slots.ours.get(key) } else { slots.theirs.get(key & !THEIRS) }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        let slots = self.0.as_deref_mut()?;
        if is_ours(key) { slots.ours.get_mut(key) } else { slots.theirs.get_mut(key & !THEIRS) }
    }

    /// A stream of ours, which `make` makes with its number.
    pub(super) fn open(&mut self, make: impl FnOnce(u32) -> Stream) -> Key {
        let entry = self.0.get_or_insert_default().ours.vacant_entry();
        let key = entry.key();
        entry.insert(make(key as u32));
        key
    }

    /// A stream that the peer numbered `slot`, which must be within bounds and free.
    pub(super) fn accept(&mut self, slot: u32, stream: Stream) -> Key {
        let slots = self.0.get_or_insert_default();
        let slot = slot as usize;
        let key = slots.theirs.insert(stream) | THEIRS;
        if slots.numbers.len() <= slot {
            slots.numbers.resize(slot + 1, None);
        }
        if let Some(entry) = slots.numbers.get_mut(slot) {
            *entry = Some(key);
        }
        key
    }

    /// The key of the peer's number `slot`, while neither end has said its last word.
    pub(super) fn numbered(&self, slot: u32) -> Option<Key> {
        self.0.as_deref()?.numbers.get(slot as usize).copied().flatten()
    }

    /// The peer may use the number `slot` again, unless it has done so already.
    pub(super) fn release_number(&mut self, slot: u32, key: Key) {
        if let Some(slots) = self.0.as_deref_mut()
            && let Some(entry) = slots.numbers.get_mut(slot as usize)
            && *entry == Some(key)
        {
            *entry = None;
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Stream> {
        let slots = self.0.as_deref_mut()?;
        if is_ours(key) { slots.ours.try_remove(key) } else { slots.theirs.try_remove(key & !THEIRS) }
    }

    /// Gives back what streams needed, once there is none.
    pub(super) fn shrink(&mut self) {
        self.0.take_if(|slots| slots.ours.is_empty() && slots.theirs.is_empty());
    }

    /// Streams that we opened.
    pub(super) fn opened_here(&self) -> usize {
        self.0.as_deref().map_or(0, |slots| slots.ours.len())
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_deref().map_or(0, |slots| slots.ours.len() + slots.theirs.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Stream)> {
        self.0.iter().flat_map(|slots| {
            let theirs = slots.theirs.iter().map(|(key, stream)| (key | THEIRS, stream));
            slots.ours.iter().chain(theirs)
        })
    }
}

/// Whether we opened the stream.
pub(super) const fn is_ours(key: Key) -> bool {
    key & THEIRS == 0
}
