// SPDX-License-Identifier: Apache-2.0
//! The unit of the mux's wire: an eight-byte header and a payload. `docs/wire.md` has the layouts and golden vectors.
//!
//! ```text
//! word 0 (little endian): payload length, 24 bits | kind, 4 bits | flags, 4 bits
//! word 1 (little endian): stream, 31 bits | opened by the link's acceptor, 1 bit
//! ```
//!
//! There is no checksum of our own, in debug and release alike: TCP has one, TLS authenticates, and what neither catches
//! a 32-bit sum over small frames would rarely catch either. The length is checked against the limit before a single
//! byte is reserved for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{Detail, Error, Result};

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;

/// The largest payload that the length field can say.
pub const MAX_PAYLOAD: usize = (1 << 24) - 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Opens a stream; the payload is an [`Open`](super::open::Open) and the first message.
    Open = 0,
    /// An item, or a part of one.
    Data = 1,
    /// A [`ControlMessage`](crate::ControlMessage) beside the items.
    Control = 2,
    /// The last frame of the sender's half: empty for a clean end, otherwise an error that comes after all items.
    End = 3,
    /// The last frame of the sender's half: the stream is given up, what is queued does not count.
    Reset = 4,
    /// Grants credit: four bytes, for a stream or for [`LINK`].
    Window = 5,
    /// Wants a pong with the same eight bytes.
    Ping = 6,
    /// Answers a ping.
    Pong = 7,
    /// No new streams from here on; the payload says why.
    GoAway = 8,
}

impl Kind {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Open,
            1 => Self::Data,
            2 => Self::Control,
            3 => Self::End,
            4 => Self::Reset,
            5 => Self::Window,
            6 => Self::Ping,
            7 => Self::Pong,
            8 => Self::GoAway,
            _ => return None,
        })
    }
}

/// Flag: the message goes on in the stream's next data frame.
pub const MORE: u8 = 1;
/// Flag: this message is the last frame of the sender's half, as if an empty [`Kind::End`] followed.
pub const FIN: u8 = 2;
/// Flag: a header block precedes the body.
pub const HEADERS: u8 = 4;
/// Flag on data: a subject precedes, and the message is a notification on account of the stream.
pub const INBOUND: u8 = 8;

/// The stream number that means the link itself.
pub const LINK: StreamId = StreamId(0x7fff_ffff);

/// A stream's name on the wire: the opener's slot number, and which end opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(u32);

impl StreamId {
    const BY_ACCEPTOR: u32 = 1 << 31;

    /// The stream in slot `slot` of the end that opened it.
    pub const fn new(slot: u32, by_acceptor: bool) -> Self {
        debug_assert!(slot < LINK.0);
        Self(slot | if by_acceptor { Self::BY_ACCEPTOR } else { 0 })
    }

    /// The opener's slot.
    pub const fn slot(self) -> u32 {
        self.0 & !Self::BY_ACCEPTOR
    }

    /// Whether the link's acceptor opened it.
    pub const fn by_acceptor(self) -> bool {
        self.0 & Self::BY_ACCEPTOR != 0
    }
}

/// A frame's first eight bytes, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// [`MORE`], [`FIN`], [`HEADERS`], [`INBOUND`]; what the kind does not define is ignored.
    pub flags: u8,
    /// Which stream.
    pub stream: StreamId,
    /// Bytes of payload.
    pub len: usize,
}

impl Header {
    /// Writes the header. `len` must be at most [`MAX_PAYLOAD`].
    pub fn encode(self, out: &mut impl BufMut) {
        out.put_slice(&self.to_bytes());
    }

    /// The header's bytes. `len` must be at most [`MAX_PAYLOAD`].
    #[inline]
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        debug_assert!(self.len <= MAX_PAYLOAD);
        let word = self.len as u32 | u32::from(self.kind as u8) << 24 | u32::from(self.flags & 15) << 28;
        (u64::from(word) | u64::from(self.stream.0) << 32).to_le_bytes()
    }

    /// Reads the header at the front of `input`; `None` if it is not all there.
    #[inline]
    pub(super) fn read(input: &[u8], max_payload: usize) -> Result<Option<Self>> {
        let Some(head) = input.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let words = u64::from_le_bytes(*head);
        let word = words as u32;
        let len = (word & 0x00ff_ffff) as usize;
        if len > max_payload {
            return Err(over(len, max_payload));
        }
        let Some(kind) = Kind::from_bits((word >> 24 & 15) as u8) else { return Err(unknown(word >> 24 & 15)) };
        Ok(Some(Self { kind, flags: (word >> 28) as u8, stream: StreamId((words >> 32) as u32), len }))
    }

    /// Sets `flag` in a header's bytes if it is that of a whole message of `kind`.
    pub(super) fn add_flag(bytes: &mut [u8], kind: Kind, flag: u8) -> bool {
        match bytes.get_mut(3) {
            Some(byte) if *byte & 15 == kind as u8 && *byte >> 4 & MORE == 0 => {
                *byte |= flag << 4;
                true
            }
            _ => false,
        }
    }
}

#[cold]
fn over(len: usize, max_payload: usize) -> Error {
    Error::protocol(format!("a frame that claims {len} bytes is over the limit of {max_payload} bytes"))
        .with_detail(Detail::FrameTooLarge { limit: max_payload as u64, got: len as u64 })
}

#[cold]
fn unknown(kind: u32) -> Error {
    Error::protocol(format!("frame kind {kind} is unknown")).with_detail(Detail::Malformed)
}

/// Takes the next whole frame out of `input`; `None` means that more bytes are needed. The payload shares `input`'s memory.
///
/// An error is fatal for the link: after a bad header nothing that follows can be trusted.
pub fn decode(input: &mut BytesMut, max_payload: usize) -> Result<Option<(Header, Bytes)>> {
    let Some(header) = Header::read(input, max_payload)? else { return Ok(None) };
    if input.len() < HEADER_LEN + header.len {
        return Ok(None);
    }
    input.advance(HEADER_LEN);
    Ok(Some((header, input.split_to(header.len).freeze())))
}

/// Bytes that the incomplete frame at the front of `input` lacks, as far as can be told.
pub(crate) fn missing(input: &[u8]) -> usize {
    match Header::read(input, MAX_PAYLOAD) {
        Ok(Some(header)) => (HEADER_LEN + header.len).saturating_sub(input.len()),
        _ => 0,
    }
}

/// What the payload length's bits are in a header.
const LEN: u64 = 0x00ff_ffff;

/// What the flag [`FIN`] is in a header.
const FIN_BIT: u64 = (FIN as u64) << 28;

/// The header at the front of `input`, as one number.
#[inline]
fn words(input: &[u8]) -> Option<u64> {
    input.first_chunk().map(|head| u64::from_le_bytes(*head))
}

/// The payload length of the frame at the front of `input`.
#[inline]
pub(super) fn payload_len(input: &[u8]) -> usize {
    words(input).map_or(0, |words| (words & LEN) as usize)
}

/// Bytes of the whole frames at the front of `input`, going by their lengths alone: whether they are good shows when they
/// are read.
pub(super) fn whole(input: &[u8]) -> usize {
    let mut rest = input;
    while let Some(words) = words(rest)
        && let Some(behind) = rest.get(HEADER_LEN + (words & LEN) as usize..)
    {
        rest = behind;
    }
    input.len() - rest.len()
}

/// Bytes of the whole frames at the front of `input` that are like `header`, which has no flags, and cost no more than
/// `credit` together. The one that is the last of its stream may be the last of them: then that is true.
#[inline]
pub(super) fn run(input: &[u8], header: Header, max_payload: usize, credit: i64) -> (usize, bool) {
    let like = u64::from_le_bytes(header.to_bytes()) & !LEN;
    if words(input).is_some_and(|words| words & !(LEN | FIN_BIT) == like) {
        run_like(input, like, max_payload, credit)
    } else {
        (0, false)
    }
}

fn run_like(input: &[u8], like: u64, max_payload: usize, credit: i64) -> (usize, bool) {
    let input = input.get(..usize::try_from(credit).unwrap_or(0)).unwrap_or(input);
    let mut rest = input;
    let mut is_last = false;
    while !is_last
        && let Some(words) = words(rest)
        && words & !(LEN | FIN_BIT) == like
        && let len = (words & LEN) as usize
        && len <= max_payload
        && let Some(behind) = rest.get(HEADER_LEN + len..)
    {
        rest = behind;
        is_last = words & FIN_BIT != 0;
    }
    (input.len() - rest.len(), is_last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        (0_u8..9).prop_map(|bits| Kind::from_bits(bits).unwrap())
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_decodes_the_same(
            frames in prop::collection::vec((kinds(), 0_u8..16, 0_u32..100, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 1..6),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let mut wire = BytesMut::new();
            let mut sent = Vec::new();
            for (kind, flags, slot, by_acceptor, payload) in &frames {
                let header = Header { kind: *kind, flags: *flags, stream: StreamId::new(*slot, *by_acceptor), len: payload.len() };
                header.encode(&mut wire);
                wire.extend_from_slice(payload);
                sent.push((header, Bytes::copy_from_slice(payload)));
            }
            let mut input = BytesMut::new();
            let mut seen = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while !wire.is_empty() {
                let take = (*cuts.next().unwrap()).min(wire.len());
                input.extend_from_slice(&wire.split_to(take));
                while let Some(frame) = decode(&mut input, 64).unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert!(input.is_empty());
            prop_assert_eq!(seen, sent);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut input, 32) {}
        }
    }

    #[test]
    fn a_claimed_length_over_the_limit_is_refused_before_it_arrives() {
        let mut input = BytesMut::from(&[0xff, 0xff, 0xff, 1, 0, 0, 0, 0][..]);
        let error = decode(&mut input, 1024).unwrap_err();
        assert_eq!(error.detail(), Some(&Detail::FrameTooLarge { limit: 1024, got: 0x00ff_ffff }));
    }
}
