// SPDX-License-Identifier: Apache-2.0
//! What both ends of a mux link say first: who they are, which version, and what they are willing to receive.
//!
//! ```text
//! "BPLN" | version u16 | flags u16 | stream window u32 | link window u32 | largest frame u32 | most streams u32
//! ```
//!
//! All little endian, 24 bytes. The first eight bytes keep their meaning in every future version, so that two ends that
//! cannot talk can say so. Unknown flags are ignored.

use bytes::{Buf, BufMut};

use crate::error::{Detail, Error, Result, TlsReason};

/// Bytes of a prologue.
pub const LEN: usize = 24;

/// The version of the wire that this crate speaks.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"BPLN";

/// The least that an end must take as the largest frame: what cannot be split (a subject, a reply-to, a block of headers,
/// an error) fits into half of it, and the part of a body that goes with it into the other half.
pub const MIN_MAX_FRAME: u32 = 128 << 10;

/// What an end is willing to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prologue {
    /// Bytes of credit that every stream starts with.
    pub stream_window: u32,
    /// Bytes of credit that the link starts with.
    pub link_window: u32,
    /// The largest payload of a frame.
    pub max_frame: u32,
    /// How many streams the other end may have open at once.
    pub max_streams: u32,
}

impl Default for Prologue {
    fn default() -> Self {
        Self {
            stream_window: 256 << 10,
            // As much as the 256 streams that the pool puts on a link may hold: so no number of stalled readers on a
            // pooled link can stall a neighbour, and memory stays bounded all the same.
            link_window: 64 << 20,
            // Eight times what our own sender puts into a frame.
            max_frame: 1 << 20,
            max_streams: 16_384,
        }
    }
}

impl Prologue {
    /// The bytes to send.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u32_le(self.stream_window);
        out.put_u32_le(self.link_window);
        out.put_u32_le(self.max_frame);
        out.put_u32_le(self.max_streams);
        bytes
    }

    /// Reads what a peer sent.
    pub fn decode(bytes: &[u8; LEN]) -> Result<Self> {
        recognise(bytes)?;
        let mut input = &bytes[8..];
        let prologue = Self {
            stream_window: input.get_u32_le(),
            link_window: input.get_u32_le(),
            max_frame: input.get_u32_le(),
            max_streams: input.get_u32_le(),
        };
        if prologue.stream_window == 0
            || prologue.link_window == 0
            || prologue.max_frame < MIN_MAX_FRAME
            || prologue.max_streams == 0
        {
            return Err(Error::protocol(format!("the peer's prologue permits too little: {prologue:?}"))
                .with_detail(Detail::Malformed));
        }
        Ok(prologue)
    }
}

/// Whether this is the beginning of a prologue, of any version.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Judges the beginning of a prologue: who speaks, and which version. Bytes that are missing are no fault.
pub fn recognise(bytes: &[u8]) -> Result<()> {
    let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    // A TLS alert or handshake record (RFC 8446, section 5.1).
    if let [0x15 | 0x16, 0x03, ..] = magic {
        return Err(Error::protocol("the peer speaks TLS, this end does not")
            .with_detail(Detail::Tls { reason: TlsReason::NotTls })
            .with_hint("set DYN_TCP_TLS_CA_CERT_PATH where the link is dialled, DYN_TCP_TLS_CERT_PATH and _KEY_PATH where it is accepted"));
    }
    if let [b'{', ..] = magic {
        return Err(Error::protocol("the peer speaks JSON-RPC as lines, this end speaks Biplane's multiplexed links")
            .with_detail(Detail::Malformed)
            .with_hint("put lines+ before the URL at both ends, or at neither"));
    }
    if !MAGIC.starts_with(magic) {
        return Err(Error::protocol(format!(
            "the peer is no Biplane link: it began with {:?}",
            magic.escape_ascii().to_string()
        ))
        .with_detail(Detail::Malformed)
        .with_hint("check host and port; an HTTP or NATS server answers like this"));
    }
    let Some(mut version) = bytes.get(4..6) else { return Ok(()) };
    let theirs = version.get_u16_le();
    if theirs != VERSION {
        return Err(Error::protocol(format!(
            "the peer speaks version {theirs} of the wire, this end version {VERSION}"
        ))
        .with_detail(Detail::UnsupportedVersion { theirs: theirs.into(), ours: VERSION.into() })
        .with_hint("upgrade the older end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let ours = Prologue::default();
        assert_eq!(Prologue::decode(&ours.encode()).unwrap(), ours);
        let mut other = ours.encode();
        other[4] = 9;
        let error = Prologue::decode(&other).unwrap_err();
        assert_eq!(error.detail(), Some(&Detail::UnsupportedVersion { theirs: 9, ours: 1 }));
        let error = Prologue::decode(b"HTTP/1.1 400 Bad Request").unwrap_err();
        assert!(error.to_string().contains("HTTP"), "{error}");
        let small = Prologue { max_frame: MIN_MAX_FRAME - 1, ..ours };
        assert_eq!(Prologue::decode(&small.encode()).unwrap_err().detail(), Some(&Detail::Malformed));
    }

    #[test]
    fn a_beginning_tells_what_it_can() {
        let ours = Prologue::default().encode();
        for len in 0..LEN {
            recognise(&ours[..len]).unwrap();
        }
        assert_eq!(recognise(b"SS").unwrap_err().detail(), Some(&Detail::Malformed));
        assert!(matches!(recognise(b"BPLN\x02\0").unwrap_err().detail(), Some(Detail::UnsupportedVersion { .. })));
    }
}
