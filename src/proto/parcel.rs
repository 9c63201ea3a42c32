// SPDX-License-Identifier: Apache-2.0
//! Small items of one stream on their way to its link: what a [`Run`](super::run) is to their receiver.

use super::frame::{HEADER_LEN, Header, Kind, LINK, StreamId};
use crate::message::Message;

/// Items that their sender lays out as the frames that they go in, within credit that the link lent for them. They cost
/// the link's lock once, when it takes all of them back.
#[derive(Debug)]
pub struct Parcel {
    frames: Vec<u8>,
    /// Where the last frame begins.
    last: usize,
    stream: StreamId,
    /// What of the credit is left.
    room: u32,
    is_lent: bool,
}

impl Parcel {
    /// The most credit that is lent at once: enough for many small items, and little of any link's window.
    pub(crate) const ROOM: u32 = 16 << 10;

    /// Bytes of a body that goes into a parcel. It is copied once more than others, which is to cost less than a lock.
    pub(crate) const LARGEST: usize = 512;

    /// Nothing, with nothing lent.
    pub const EMPTY: Self = Self { frames: Vec::new(), last: 0, stream: LINK, room: 0, is_lent: false };

    /// Whether a link waits to take it back.
    pub fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// `room` bytes of credit are for items of `stream`.
    pub(super) fn lend(&mut self, stream: StreamId, room: u32) {
        debug_assert!(!self.is_lent && self.frames.is_empty());
        (self.stream, self.room, self.is_lent) = (stream, room, true);
    }

    /// Lays out `item`, if it is plain and small and there is credit for it.
    #[inline]
    pub(crate) fn add(&mut self, item: &Message) -> bool {
        let Message { headers, body } = item;
        let len = body.len();
        let cost = (HEADER_LEN + len) as u32;
        if len > Self::LARGEST || cost > self.room || !headers.is_empty() {
            return false;
        }
        self.room -= cost;
        self.last = self.frames.len();
        self.frames.extend_from_slice(&Header { kind: Kind::Data, flags: 0, stream: self.stream, len }.to_bytes());
        self.frames.extend_from_slice(body);
        true
    }

    /// The frames, and where the last of them begins.
    pub(super) fn frames(&self) -> (&[u8], usize) {
        (&self.frames, self.last)
    }

    /// What is left of the credit, and what was used of it.
    pub(super) fn credit(&self) -> (i64, i64) {
        (self.room.into(), i64::try_from(self.frames.len()).unwrap_or(i64::MAX))
    }

    /// Nothing is in it and nothing is lent any more. Keeps the buffer.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        (self.room, self.is_lent) = (0, false);
    }
}
