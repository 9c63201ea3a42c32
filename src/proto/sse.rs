// SPDX-License-Identifier: Apache-2.0
//! `text/event-stream`: the items of an answer as server-sent [`events`](super::events).
//!
//! An item that is UTF-8 without CR is sent as it is, a `data:` line for each of its lines:
//!
//! ```text
//! data: to be                          the item "to be"
//!
//! event: empty                         the empty item
//! data: {}
//!
//! event: item64                        any other item, as base64
//! data: AP8=
//!
//! event: headers                       the headers of the item that follows, where it has any
//! data: [{"name":"part","text":"2"}]
//!
//! event: notification                  as in ndjson
//! data: {"notification":"progress","text":"50 %"}
//!
//! event: done                          the end; or  event: error  with  data: {"code":…,"message":"…","data":…}
//! data: {}
//! ```
//!
//! Events of other names are skipped, as the standard has it.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2};

use super::body::{BodyEvent, BodyLimits};
use super::events::EventParser;
use super::item_json::{self, decode_base64, encode_base64, malformed};
use super::ndjson;
use crate::error::{Error, Result};
use crate::message::{Headers, Message};

/// The end, as it is written.
const DONE: &[u8] = b"event: done\ndata: {}\n\n";

/// Appends `event`.
pub fn encode(event: &BodyEvent, out: &mut BytesMut) {
    match event {
        BodyEvent::Item(message) => encode_item(message, out),
        BodyEvent::Notification(subject, message) => {
            out.extend_from_slice(b"event: notification\ndata: ");
            item_json::write(&ndjson::Written::new(Some(subject), message), out);
            out.extend_from_slice(b"\n\n");
        }
        BodyEvent::Done => out.extend_from_slice(DONE),
        BodyEvent::Error(error) => {
            out.extend_from_slice(b"event: error\ndata: ");
            item_json::write_error(error, out);
            out.extend_from_slice(b"\n\n");
        }
    }
}

/// Appends an item.
pub fn encode_item(message: &Message, out: &mut BytesMut) {
    if !message.headers.is_empty() {
        out.extend_from_slice(b"event: headers\ndata: ");
        item_json::write(&item_json::header_list(&message.headers), out);
        out.extend_from_slice(b"\n\n");
    }
    let item = &message.body[..];
    if item.is_empty() {
        out.extend_from_slice(b"event: empty\ndata: {}\n\n");
    } else if memchr2(b'\n', b'\r', item).is_none() && is_text(item) {
        // Nearly every one.
        out.reserve(item.len() + 8);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(item);
        out.extend_from_slice(b"\n\n");
    } else if memchr(b'\r', item).is_none() && is_text(item) {
        out.reserve(item.len() + 16);
        let ends = memchr_iter(b'\n', item).chain([item.len()]);
        let mut from = 0;
        for to in ends {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(item.get(from..to).unwrap_or_default());
            out.extend_from_slice(b"\n");
            from = to + 1;
        }
        out.extend_from_slice(b"\n");
    } else {
        out.extend_from_slice(b"event: item64\ndata: ");
        encode_base64(item, out);
        out.extend_from_slice(b"\n\n");
    }
}

/// Whether it is UTF-8. What has ASCII only, as much has, is known to be with a look at many bytes at once.
fn is_text(item: &[u8]) -> bool {
    item.is_ascii() || std::str::from_utf8(item).is_ok()
}

/// Reads the items of an answer in chunks.
#[derive(Debug)]
pub struct Decoder {
    limits: BodyLimits,
    parser: EventParser,
    /// Of the item that follows.
    headers: Headers,
}

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits, parser: EventParser::new(limits.encoded), headers: Headers::new() }
    }

    /// Bytes that came and were not taken.
    pub fn at_hand(&self) -> usize {
        self.parser.at_hand()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: Bytes) {
        self.parser.push(chunk);
    }

    /// The next item, if it is one line without headers and all there.
    pub fn next_plain(&mut self) -> Option<Bytes> {
        if !self.headers.is_empty() {
            return None;
        }
        let limit = self.limits.item;
        self.parser.plain_event(|item| item.len() <= limit && is_text(item))
    }

    /// The next event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Result<Option<BodyEvent>> {
        if let Some(item) = self.next_plain() {
            return Ok(Some(BodyEvent::Item(Message::new(item))));
        }
        if self.parser.skip_event(DONE) {
            return Ok(Some(BodyEvent::Done));
        }
        while let Some(event) = self.parser.next_event()? {
            let body = match &event.kind[..] {
                b"" | b"message" => {
                    // The standard would replace what is no UTF-8; an item must not change on its way.
                    if !is_text(&event.data) {
                        return Err(malformed("an item that is not UTF-8"));
                    }
                    event.data
                }
                b"empty" => Bytes::new(),
                b"item64" => decode_base64(&event.data)?,
                b"headers" => {
                    self.headers = item_json::parse_headers(&event.data)?;
                    continue;
                }
                b"notification" => return ndjson::parse_line(&event.data, self.limits).map(Some),
                b"done" => return Ok(Some(BodyEvent::Done)),
                b"error" => return item_json::parse_error(&event.data).map(|error| Some(BodyEvent::Error(error))),
                _ => continue,
            };
            let message = Message { headers: std::mem::take(&mut self.headers), body };
            if message.size() > self.limits.item {
                return Err(Error::too_large("an item", self.limits.item as u64, message.size() as u64));
            }
            return Ok(Some(BodyEvent::Item(message)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PeerError;
    use crate::message::Subject;

    #[test]
    fn items_are_written_as_the_design_says() {
        let mut out = BytesMut::new();
        for event in [
            BodyEvent::Item(Message::new("to be")),
            BodyEvent::Item(Message::new(" a\n\nb\n")),
            BodyEvent::Item(Message::new("")),
            BodyEvent::Item(Message::new("\r")),
            BodyEvent::Item(Message::new(&b"\0\xff"[..]).with_header("part", "2")),
            BodyEvent::Notification(Subject::from_static("progress"), Message::new("50 %")),
            BodyEvent::Error(PeerError::new(-32602, "bad").with_data("[1]")),
            BodyEvent::Done,
        ] {
            encode(&event, &mut out);
        }
        let expected = "data: to be\n\n\
            data:  a\ndata: \ndata: b\ndata: \n\n\
            event: empty\ndata: {}\n\n\
            event: item64\ndata: DQ==\n\n\
            event: headers\ndata: [{\"name\":\"part\",\"text\":\"2\"}]\n\nevent: item64\ndata: AP8=\n\n\
            event: notification\ndata: {\"notification\":\"progress\",\"text\":\"50 %\"}\n\n\
            event: error\ndata: {\"code\":-32602,\"message\":\"bad\",\"data\":[1]}\n\n\
            event: done\ndata: {}\n\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn an_event_of_endless_data_lines_is_bounded() {
        let mut decoder = Decoder::new(BodyLimits { item: 100, encoded: 200 });
        decoder.push(Bytes::from("data: x\n".repeat(101)));
        assert!(decoder.next_event().is_err());
        let mut decoder = Decoder::new(BodyLimits { item: 100, encoded: 200 });
        decoder.push(Bytes::from_static(b"data: \xff\n\n"));
        assert!(decoder.next_event().is_err());
    }
}
