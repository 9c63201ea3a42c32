// SPDX-License-Identifier: Apache-2.0
//! Items of one stream that came one behind the other: they wait as the frames that they came in.

use bytes::{Buf, Bytes};

use super::frame::{self, HEADER_LEN};

/// Whole frames of data, each of them a message without headers. Never empty.
///
/// What a fast sender says fills whole reads. Kept in one piece, its items cost the link one place in a queue and one
/// holder of the memory between them; each gets its own when it is read.
pub(crate) struct Run(Bytes);

impl Run {
    /// `frames` are as [`frame::run`] found them, behind one that is like them.
    pub(super) fn new(frames: Bytes) -> Self {
        Self(frames)
    }

    /// What its items count against credit.
    pub(crate) fn cost(&self) -> u32 {
        self.0.len() as u32
    }

    /// What an item of a run does.
    pub(crate) fn cost_of(item: &[u8]) -> u32 {
        (HEADER_LEN + item.len()) as u32
    }

    /// The first item, unless it is the only one.
    #[inline]
    pub(crate) fn pop_before_last(&mut self) -> Option<Bytes> {
        let Self(frames) = self;
        let end = HEADER_LEN + frame::payload_len(frames);
        if end >= frames.len() {
            return None;
        }
        let item = frames.slice(HEADER_LEN..end);
        frames.advance(end);
        Some(item)
    }

    /// The first item. `run` is none after the last.
    pub(crate) fn pop(run: &mut Option<Self>) -> Option<Bytes> {
        if let Some(item) = run.as_mut()?.pop_before_last() {
            return Some(item);
        }
        let mut last = run.take()?.0;
        last.advance(HEADER_LEN.min(last.len()));
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::frame::{FIN, HEADERS, Header, Kind, StreamId, run};
    use super::*;

    fn frame(wire: &mut BytesMut, slot: u32, flags: u8, payload: &str) {
        let header = Header { kind: Kind::Data, flags, stream: StreamId::new(slot, false), len: payload.len() };
        header.encode(wire);
        wire.extend_from_slice(payload.as_bytes());
    }

    fn items(frames: Bytes) -> Vec<Bytes> {
        let mut run = Some(Run::new(frames));
        std::iter::from_fn(|| Run::pop(&mut run)).collect()
    }

    #[test]
    fn a_run_gives_its_items_one_by_one() {
        let mut wire = BytesMut::new();
        ["one", "", "three", ""].iter().for_each(|item| frame(&mut wire, 1, 0, item));
        assert_eq!(items(wire.freeze()), ["one", "", "three", ""]);
    }

    #[test]
    fn a_run_goes_to_what_is_no_item_of_its_stream() {
        let header = Header { kind: Kind::Data, flags: 0, stream: StreamId::new(1, false), len: 0 };
        for (slot, flags, payload) in [(2, 0, ""), (1, HEADERS, ""), (1, 0, "too long")] {
            let mut wire = BytesMut::new();
            frame(&mut wire, 1, 0, "a");
            frame(&mut wire, 1, 0, "b");
            let whole = wire.len();
            frame(&mut wire, slot, flags, payload);
            assert_eq!(run(&wire, header, 5, 1000), (whole, false));
            assert_eq!(run(&wire, header, 5, 17), (whole / 2, false), "beyond the credit");
            assert_eq!(run(&wire[..whole - 1], header, 5, 1000), (whole / 2, false), "the second is not whole");
        }
    }

    #[test]
    fn a_run_ends_with_its_stream() {
        let header = Header { kind: Kind::Data, flags: 0, stream: StreamId::new(1, false), len: 0 };
        let mut wire = BytesMut::new();
        frame(&mut wire, 1, 0, "a");
        frame(&mut wire, 1, FIN, "b");
        let whole = wire.len();
        frame(&mut wire, 1, 0, "of the next");
        assert_eq!(run(&wire, header, 100, 1000), (whole, true));
    }
}
