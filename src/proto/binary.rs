// SPDX-License-Identifier: Apache-2.0
//! `application/octet-stream`: length-prefixed frames, for callers that want items without any escaping.
//!
//! ```text
//! frame        = kind u8, length u32, payload of that many bytes              (integers in network byte order)
//! 0 item         payload = the body
//! 1 item         payload = headers, the body
//! 2 notification payload = subject length u16, subject, headers, the body
//! 3 error        payload = {"code", "message", "data"} as JSON
//! 4 end          length 0
//! headers      = count u8, then for each: name length u32, name, value length u32, value
//! ```
//!
//! The length is checked before anything is allocated for it. There is no checksum: the link below has one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::body::{BodyEvent, BodyLimits};
use super::chunks::Chunks;
use super::item_json::{self, malformed};
use crate::error::{Detail, Error, Result};
use crate::message::{Headers, Message, Subject};

const ITEM: u8 = 0;
const ITEM_WITH_HEADERS: u8 = 1;
const NOTIFICATION: u8 = 2;
const ERROR: u8 = 3;
const END: u8 = 4;

/// Bytes before a payload.
const HEAD: usize = 5;

/// Bytes that headers and a subject may take beside those that count as the message's size.
const OVERHEAD: usize = 1 + Headers::MAX_COUNT * 8 + 2 + Subject::MAX_LEN;

/// Bytes of JSON that an error may have.
const MAX_ERROR: usize = 1 << 20;

/// Appends an item as a frame.
pub fn encode_item(item: &Message, out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, HEAD);
    let kind = if item.headers.is_empty() {
        out.extend_from_slice(&item.body);
        ITEM
    } else {
        put_message(item, out);
        ITEM_WITH_HEADERS
    };
    finish(kind, start, out);
}

/// Appends `event` as a frame.
pub fn encode(event: &BodyEvent, out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, HEAD);
    let kind = match event {
        BodyEvent::Item(message) => {
            out.truncate(start);
            return encode_item(message, out);
        }
        BodyEvent::Notification(subject, message) => {
            out.put_u16(u16::try_from(subject.as_bytes().len()).unwrap_or(u16::MAX));
            out.extend_from_slice(subject.as_bytes());
            put_message(message, out);
            NOTIFICATION
        }
        BodyEvent::Error(error) => {
            item_json::write_error(error, out);
            ERROR
        }
        BodyEvent::Done => END,
    };
    finish(kind, start, out);
}

/// Writes the head of the frame that begins at `start`.
fn finish(kind: u8, start: usize, out: &mut BytesMut) {
    let length = u32::try_from(out.len() - start - HEAD).unwrap_or(u32::MAX);
    if let Some(mut head) = out.get_mut(start..start + HEAD) {
        head.put_u8(kind);
        head.put_u32(length);
    }
}

/// The caller has seen to it that there are no more headers than [`Headers::MAX_COUNT`].
fn put_message(message: &Message, out: &mut BytesMut) {
    out.put_u8(u8::try_from(message.headers.len()).unwrap_or(u8::MAX));
    for (name, value) in message.headers.iter() {
        put_long(name.as_bytes(), out);
        put_long(value, out);
    }
    out.extend_from_slice(&message.body);
}

fn put_long(bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// Reads a body in chunks.
#[derive(Debug)]
pub struct Decoder {
    limits: BodyLimits,
    buffer: Chunks,
}

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits, buffer: Chunks::default() }
    }

    /// Bytes that came and were not taken.
    pub fn at_hand(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: Bytes) {
        self.buffer.push(chunk);
    }

    /// The next item, if it has no headers and is all there.
    pub fn next_plain(&mut self) -> Option<Bytes> {
        let mut head = self.buffer.get(..HEAD)?;
        let (kind, length) = (head.get_u8(), head.get_u32() as usize);
        let is_whole = length <= self.limits.item && self.buffer.len() - HEAD >= length;
        (kind == ITEM && is_whole).then(|| self.buffer.split_between(HEAD, length, 0))
    }

    /// The next event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Result<Option<BodyEvent>> {
        let Some(mut head) = self.buffer.get(..HEAD) else { return Ok(None) };
        let (kind, length) = (head.get_u8(), head.get_u32() as usize);
        let limit = match kind {
            ITEM => self.limits.item,
            ITEM_WITH_HEADERS | NOTIFICATION => self.limits.item.saturating_add(OVERHEAD),
            ERROR => MAX_ERROR,
            END => 0,
            _ => return Err(malformed(&format!("a frame of unknown kind {kind}"))),
        };
        if length > limit {
            let (limit, got) = (limit as u64, length as u64);
            return Err(Error::too_large("a frame", limit, got).with_detail(Detail::FrameTooLarge { limit, got }));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.skip(HEAD);
        let mut payload = self.buffer.split_to(length);
        Ok(Some(match kind {
            ITEM => BodyEvent::Item(Message::new(payload)),
            ITEM_WITH_HEADERS => BodyEvent::Item(self.message(payload)?),
            NOTIFICATION => {
                let length = payload.try_get_u16().map_err(|_| short())?;
                let subject = take(&mut payload, usize::from(length))?;
                BodyEvent::Notification(Subject::from_wire(subject)?, self.message(payload)?)
            }
            ERROR => BodyEvent::Error(item_json::parse_error(&payload)?),
            _ => BodyEvent::Done,
        }))
    }

    fn message(&self, mut payload: Bytes) -> Result<Message> {
        let mut headers = Headers::new();
        for _ in 0..payload.try_get_u8().map_err(|_| short())? {
            let name = take_long(&mut payload)?;
            let name = ByteString::try_from(name).map_err(|_| malformed("a name is not UTF-8"))?;
            headers.append(name, take_long(&mut payload)?);
        }
        let message = Message { headers, body: payload };
        if message.size() > self.limits.item {
            return Err(Error::too_large("an item", self.limits.item as u64, message.size() as u64));
        }
        Ok(message)
    }
}

fn take_long(payload: &mut Bytes) -> Result<Bytes> {
    let length = payload.try_get_u32().map_err(|_| short())?;
    take(payload, length as usize)
}

fn take(payload: &mut Bytes, length: usize) -> Result<Bytes> {
    if length > payload.len() {
        return Err(short());
    }
    Ok(payload.split_to(length))
}

fn short() -> Error {
    malformed("a length that reaches beyond its frame")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, PeerError};

    #[test]
    fn the_bytes_are_those_of_the_layout() {
        let mut out = BytesMut::new();
        for event in [
            BodyEvent::Item(Message::new("ab")),
            BodyEvent::Item(Message::new("c").with_header("n", "v")),
            BodyEvent::Notification(Subject::from_static("p"), Message::new("d")),
            BodyEvent::Error(PeerError::new(7, "m")),
            BodyEvent::Done,
        ] {
            encode(&event, &mut out);
        }
        let expected = b"\0\0\0\0\x02ab\
            \x01\0\0\0\x0c\x01\0\0\0\x01n\0\0\0\x01vc\
            \x02\0\0\0\x05\0\x01p\0d\
            \x03\0\0\0\x18{\"code\":7,\"message\":\"m\"}\
            \x04\0\0\0\0";
        assert_eq!(&out[..], &expected[..]);
    }

    #[test]
    fn a_claimed_length_is_checked_before_the_bytes_come() {
        let mut decoder = Decoder::new(BodyLimits::for_items(100));
        decoder.push(Bytes::from_static(b"\0\xff\xff\xff\xff"));
        let error = decoder.next_event().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(error.detail(), Some(&Detail::FrameTooLarge { limit: 100, got: u64::from(u32::MAX) }));
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for bad in [
            &b"\x09\0\0\0\0"[..],
            b"\x01\0\0\0\0",
            b"\x01\0\0\0\x05\x01\0\0\0\x05",
            b"\x02\0\0\0\x01\0",
            b"\x03\0\0\0\x01{",
        ] {
            let mut decoder = Decoder::new(BodyLimits::for_items(100));
            decoder.push(Bytes::copy_from_slice(bad));
            assert_eq!(decoder.next_event().unwrap_err().kind(), ErrorKind::Protocol, "{bad:?}");
        }
        let mut decoder = Decoder::new(BodyLimits::for_items(100));
        decoder.push(Bytes::from_static(b"\x04\0\0\0\x01"));
        assert_eq!(decoder.next_event().unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
