// SPDX-License-Identifier: Apache-2.0
//! What waits to be sent: small bodies copied into one buffer, large ones referred to.

use std::io::IoSlice;

use bytes::Bytes;

use super::{Kind, header};

/// Cheaper to copy below this, and to refer to from here on.
const LARGE: usize = 4096;
/// Parts in one call; the system takes up to 1024.
const PARTS: usize = 64;

#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Bodies, each with the place in `bytes` that it comes after.
    large: Vec<(usize, Bytes)>,
    /// Of everything, sent already.
    sent: usize,
    length: usize,
}

impl Batch {
    pub(super) fn put(&mut self, kind: Kind, slot: u32, body: &Bytes) {
        self.bytes.extend_from_slice(&header(kind, slot, body.len()));
        self.length += super::HEADER + body.len();
        if body.len() < LARGE {
            self.bytes.extend_from_slice(body);
        } else {
            self.large.push((self.bytes.len(), body.clone()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether `by` more bytes gone were the last.
    pub(super) fn advance(&mut self, by: usize) -> bool {
        self.sent += by;
        let done = self.sent == self.length;
        if done {
            self.bytes.clear();
            self.large.clear();
            (self.sent, self.length) = (0, 0);
        }
        done
    }

    /// Hands what is left to `write`, which says how much it took.
    pub(super) fn write<'a, T>(&'a self, write: impl FnOnce(&[IoSlice<'a>]) -> T) -> T {
        if self.large.is_empty() {
            return write(&[IoSlice::new(&self.bytes[self.sent..])]);
        }
        let mut parts = [IoSlice::new(&[]); PARTS];
        let (mut filled, mut skip, mut from) = (0, self.sent, 0);
        let mut add = |part: &'a [u8]| {
            if skip >= part.len() {
                skip -= part.len();
            } else if let Some(place) = parts.get_mut(filled) {
                *place = IoSlice::new(&part[skip..]);
                (filled, skip) = (filled + 1, 0);
            }
        };
        // Once the parts are full, later ones find no place; bytes that were skipped come before.
        for (place, body) in &self.large {
            add(&self.bytes[from..*place]);
            add(body);
            from = *place;
        }
        add(&self.bytes[from..]);
        write(&parts[..filled])
    }
}
