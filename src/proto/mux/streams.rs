// SPDX-License-Identifier: Apache-2.0
//! The slots of all streams on a link, by [`Key`].
//!
//! Two slabs, because a slot of ours is also the stream's number on the wire, and those must stay below the count that the
//! peer permits however many streams it has itself.
//!
//! The slabs are of our own making: a stream begins and ends in its slot, where one of the library's would move it in and
//! out, and streams are large and short-lived.

use super::Key;
use super::stream::Stream;

/// Set in the keys of streams that the peer opened.
const THEIRS: Key = 1 << (Key::BITS - 1);

/// In [`Slots::numbers`]: no stream has this number.
const NONE: u32 = u32::MAX;

/// Nothing while there is none.
#[derive(Default)]
pub(super) struct Streams(Option<Box<Slots>>);

#[derive(Default)]
struct Slots {
    ours: Slab,
    theirs: Slab,
    /// The peer's numbers → slots of `theirs`. A stream leaves this list before its slot is free, while local holders still read.
    numbers: Vec<u32>,
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

    /// The slot of a stream of ours, with its key, which is also its number. The stream there is as [`Stream::vacant`].
    #[inline]
    pub(super) fn open(&mut self) -> (Key, &mut Stream) {
        self.0.get_or_insert_default().ours.open()
    }

    /// The slot of a stream that the peer numbered `number`, which must be within bounds and free.
    #[inline]
    pub(super) fn accept(&mut self, number: u32) -> (Key, &mut Stream) {
        let Slots { theirs, numbers, .. } = &mut **self.0.get_or_insert_default();
        let number = number as usize;
        let (key, stream) = theirs.open();
        if numbers.len() <= number {
            numbers.resize(number + 1, NONE);
        }
        if let Some(entry) = numbers.get_mut(number) {
            *entry = key as u32;
        }
        (key | THEIRS, stream)
    }

    /// The key of the peer's number `slot`, while neither end has said its last word.
    #[inline]
    pub(super) fn numbered(&self, slot: u32) -> Option<Key> {
        let key = *self.0.as_deref()?.numbers.get(slot as usize)?;
        (key != NONE).then_some(key as Key | THEIRS)
    }

    /// The peer may use the number `slot` again, unless it has done so already.
    #[inline]
    pub(super) fn release_number(&mut self, slot: u32, key: Key) {
        if let Some(slots) = self.0.as_deref_mut()
            && let Some(entry) = slots.numbers.get_mut(slot as usize)
            && *entry as Key | THEIRS == key
        {
            *entry = NONE;
        }
    }

    /// Frees the slot. What the stream held is gone.
    #[inline]
    pub(super) fn vacate(&mut self, key: Key) {
        let Some(slots) = self.0.as_deref_mut() else { return };
        if is_ours(key) { slots.ours.vacate(key) } else { slots.theirs.vacate(key & !THEIRS) }
    }

    /// Gives back what streams needed, once there is none.
    pub(super) fn shrink(&mut self) {
        self.0.take_if(|slots| slots.ours.len() + slots.theirs.len() == 0);
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

/// Streams in place.
#[derive(Default)]
struct Slab {
    slots: Vec<Stream>,
    /// Slots without a stream. The one that was left last is used first: it is still in the cache.
    vacant: Vec<u32>,
}

impl Slab {
    #[inline]
    fn get(&self, key: Key) -> Option<&Stream> {
        self.slots.get(key).filter(|stream| stream.is_present)
    }

    #[inline]
    fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.slots.get_mut(key).filter(|stream| stream.is_present)
    }

    #[inline]
    fn open(&mut self) -> (Key, &mut Stream) {
        let key = match self.vacant.pop() {
            Some(key) => key as Key,
            None => self.add(),
        };
        let stream = &mut self.slots[key];
        stream.is_present = true;
        (key, stream)
    }

    #[cold]
    fn add(&mut self) -> Key {
        self.slots.push(Stream::vacant());
        self.slots.len() - 1
    }

    #[inline]
    fn vacate(&mut self, key: Key) {
        if let Some(stream) = self.get_mut(key) {
            stream.clear();
            self.vacant.push(key as u32);
        }
    }

    fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    fn iter(&self) -> impl Iterator<Item = (Key, &Stream)> {
        self.slots.iter().enumerate().filter(|(_, stream)| stream.is_present)
    }
}

/// Whether we opened the stream.
pub(super) const fn is_ours(key: Key) -> bool {
    key & THEIRS == 0
}
