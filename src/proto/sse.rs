// SPDX-License-Identifier: Apache-2.0
//! `text/event-stream`: server-sent events by the WHATWG HTML standard, section 9.2, and the items of an answer in them.
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

use bytes::{Buf, Bytes, BytesMut};

use super::body::{BodyEvent, BodyLimits, append};
use super::item_json::{self, decode_base64, encode_base64, malformed};
use super::ndjson;
use crate::error::{Detail, Error, Result};
use crate::message::{Headers, Message};

/// Appends `event`.
pub fn encode(event: &BodyEvent, out: &mut BytesMut) {
    match event {
        BodyEvent::Item(message) => {
            if !message.headers.is_empty() {
                out.extend_from_slice(b"event: headers\ndata: ");
                item_json::write(&item_json::header_list(&message.headers), out);
                out.extend_from_slice(b"\n\n");
            }
            encode_item(&message.body, out);
        }
        BodyEvent::Notification(subject, message) => {
            out.extend_from_slice(b"event: notification\ndata: ");
            item_json::write(&ndjson::Written::new(Some(subject), message), out);
            out.extend_from_slice(b"\n\n");
        }
        BodyEvent::Done => out.extend_from_slice(b"event: done\ndata: {}\n\n"),
        BodyEvent::Error(error) => {
            out.extend_from_slice(b"event: error\ndata: ");
            item_json::write_error(error, out);
            out.extend_from_slice(b"\n\n");
        }
    }
}

fn encode_item(item: &[u8], out: &mut BytesMut) {
    if item.is_empty() {
        out.extend_from_slice(b"event: empty\ndata: {}\n\n");
    } else if std::str::from_utf8(item).is_ok() && !item.contains(&b'\r') {
        out.reserve(item.len() + 16);
        for line in item.split(|byte| *byte == b'\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n");
        }
        out.extend_from_slice(b"\n");
    } else {
        out.extend_from_slice(b"event: item64\ndata: ");
        encode_base64(item, out);
        out.extend_from_slice(b"\n\n");
    }
}

/// Reads the items of an answer in chunks.
#[derive(Debug)]
pub struct Decoder {
    limits: BodyLimits,
    parser: Parser,
    /// Of the item that follows.
    headers: Headers,
}

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits, parser: Parser::new(limits.encoded), headers: Headers::new() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: Bytes) {
        self.parser.push(chunk);
    }

    /// The next event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Result<Option<BodyEvent>> {
        while let Some(event) = self.parser.next_event()? {
            let body = match &event.kind[..] {
                b"" | b"message" => {
                    // The standard would replace what is no UTF-8; an item must not change on its way.
                    std::str::from_utf8(&event.data).map_err(|_| malformed("an item that is not UTF-8"))?;
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

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The field `event`; empty means `message`.
    pub kind: Bytes,
    /// The `data` lines, joined by line feeds.
    pub data: Bytes,
}

/// The standard's parser: bytes in any chunks to events. Lines end with LF, CR or CRLF; one byte order mark at the beginning
/// is skipped; an event without its blank line at the end of the stream is none.
///
/// `id` and `retry` are skipped: they serve reconnection, which answers do not have.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no line end.
    searched: usize,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    kind: Bytes,
    data: BytesMut,
}

impl Parser {
    /// A parser that takes lines, and the data of an event, of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
            searched: 0,
            after_cr: false,
            started: false,
            kind: Bytes::new(),
            data: BytesMut::new(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: Bytes) {
        append(&mut self.buffer, chunk);
    }

    /// The next event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>> {
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                let kind = std::mem::take(&mut self.kind);
                if self.data.is_empty() {
                    continue;
                }
                let mut data = self.data.split().freeze();
                data.truncate(data.len() - 1);
                return Ok(Some(SseEvent { kind, data }));
            }
            self.field(&line)?;
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<BytesMut>> {
        if !self.started {
            // Wait for as many bytes as tell whether there is a byte order mark.
            const MARK: &[u8] = b"\xef\xbb\xbf";
            if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
                return Ok(None);
            }
            if self.buffer.starts_with(MARK) {
                self.buffer.advance(MARK.len());
            }
            self.started = true;
        }
        if self.after_cr && !self.buffer.is_empty() {
            if self.buffer.starts_with(b"\n") {
                self.buffer.advance(1);
            }
            self.after_cr = false;
        }
        let end = self.buffer.iter().skip(self.searched).position(|byte| matches!(byte, b'\n' | b'\r'));
        let length = end.map_or(self.buffer.len(), |end| self.searched + end);
        if length > self.limit {
            return Err(Error::too_large("a line", self.limit as u64, length as u64)
                .with_detail(Detail::FrameTooLarge { limit: self.limit as u64, got: length as u64 }));
        }
        if end.is_none() {
            self.searched = length;
            return Ok(None);
        }
        self.searched = 0;
        let mut line = self.buffer.split_to(length + 1);
        self.after_cr = line.ends_with(b"\r");
        line.truncate(length);
        Ok(Some(line))
    }

    fn field(&mut self, line: &[u8]) -> Result<()> {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let length = self.data.len() + value.len() + 1;
                if length > self.limit.saturating_add(1) {
                    return Err(Error::too_large("the data of an event", self.limit as u64, length as u64 - 1));
                }
                self.data.extend_from_slice(value);
                self.data.extend_from_slice(b"\n");
            }
            b"event" => self.kind = Bytes::copy_from_slice(value),
            // A line that begins with a colon is a comment.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PeerError;
    use crate::message::Subject;

    fn events(text: &str) -> Vec<(String, String)> {
        let mut parser = Parser::new(1000);
        parser.push(Bytes::copy_from_slice(text.as_bytes()));
        let mut events = Vec::new();
        while let Some(event) = parser.next_event().unwrap() {
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            events.push((text(&event.kind), text(&event.data)));
        }
        events
    }

    #[test]
    fn the_examples_of_the_standard() {
        let pair = |kind: &str, data: &str| (kind.to_owned(), data.to_owned());
        assert_eq!(
            events(
                "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n"
            ),
            [pair("", "This is the first message."), pair("", "This is the second message, it\nhas two lines.")]
        );
        assert_eq!(events("event: add\ndata: 73857293\n\n"), [pair("add", "73857293")]);
        assert_eq!(
            events(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"),
            [pair("", "first event"), pair("", "second event"),]
        );
        assert_eq!(events("data\n\ndata\ndata\n\ndata:"), [pair("", ""), pair("", "\n")]);
        assert_eq!(events("data:test\n\ndata: test\n\n"), [pair("", "test"), pair("", "test")]);
        // An event without data is not dispatched, and its name is forgotten.
        assert_eq!(events("event: a\n\ndata: b\n\n"), [pair("", "b")]);
        // Line ends of all three kinds, a byte order mark, fields that nobody knows.
        assert_eq!(
            events("\u{feff}data: a\r\r\ndata: b\r\n\r\nretry: 1\rother: x\rdata: c\n\n"),
            [pair("", "a"), pair("", "b"), pair("", "c"),]
        );
    }

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
