// SPDX-License-Identifier: Apache-2.0
//! `application/x-ndjson`: one JSON object a line.
//!
//! ```text
//! {"text":"to be"}
//! {"base64":"/wA=","headers":[{"name":"part","text":"2"}]}
//! {"notification":"progress","text":"50 %"}
//! {"error":{"code":-32603,"message":"…","data":…}}      or      {"done":true}
//! ```
//!
//! Members that are not known are skipped; a line without a known one is an error, since it may have been an item. Blank
//! lines and a CR before the line feed are tolerated.

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body::{BodyEvent, BodyLimits};
use super::chunks::Chunks;
use super::item_json::{self, ErrorShape, ErrorText, Header, Payload, malformed};
use crate::error::{Error, Result};
use crate::message::{Message, Subject};

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum End<'a> {
    Error(ErrorShape<&'a str, &'a RawValue>),
    Done(bool),
}

/// An item or a notification, to write.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<&'a str>,
    #[serde(flatten)]
    payload: Payload<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header<&'a str>>,
}

impl<'a> Written<'a> {
    pub(super) fn new(notification: Option<&'a Subject>, message: &'a Message) -> Self {
        Self {
            notification: notification.map(Subject::as_str),
            payload: Payload::of(&message.body),
            headers: item_json::header_list(&message.headers),
        }
    }
}

/// Appends `event` as a line.
pub fn encode(event: &BodyEvent, out: &mut BytesMut) {
    match event {
        BodyEvent::Item(message) => return encode_item(message, out),
        BodyEvent::Notification(subject, message) => item_json::write(&Written::new(Some(subject), message), out),
        BodyEvent::Done => item_json::write(&End::Done(true), out),
        BodyEvent::Error(error) => item_json::write(&End::Error(ErrorShape::of(error)), out),
    }
    out.extend_from_slice(b"\n");
}

/// Appends an item as a line.
pub fn encode_item(item: &Message, out: &mut BytesMut) {
    item_json::write(&Written::new(None, item), out);
    out.extend_from_slice(b"\n");
}

/// Any line, as it is read.
#[derive(Deserialize)]
struct Line {
    notification: Option<String>,
    text: Option<String>,
    base64: Option<String>,
    #[serde(default)]
    headers: Vec<Header<String>>,
    error: Option<ErrorText>,
    #[serde(default)]
    done: bool,
}

/// Reads one line.
pub(super) fn parse_line(line: &[u8], limits: BodyLimits) -> Result<BodyEvent> {
    let line: Line = item_json::parse(line)?;
    if let Some(error) = line.error {
        return Ok(BodyEvent::Error(error.try_into()?));
    }
    if line.done {
        return Ok(BodyEvent::Done);
    }
    let body = Payload::new(line.text, line.base64)
        .into_bytes()?
        .ok_or_else(|| malformed("a line that is no item, no error and no end"))?;
    let message = Message { headers: item_json::read_header_list(line.headers)?, body };
    if message.size() > limits.item {
        return Err(Error::too_large("an item", limits.item as u64, message.size() as u64));
    }
    Ok(match line.notification {
        Some(subject) => BodyEvent::Notification(Subject::from_wire(Bytes::from(subject))?, message),
        None => BodyEvent::Item(message),
    })
}

/// Reads a body in chunks.
#[derive(Debug)]
pub struct Decoder {
    limits: BodyLimits,
    buffer: Chunks,
    /// Bytes of `buffer` that are known to hold no line feed, so that a long line is searched once only.
    searched: usize,
}

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits, buffer: Chunks::default(), searched: 0 }
    }

    /// Bytes that came and were not taken.
    pub fn at_hand(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: Bytes) {
        self.buffer.push(chunk);
    }

    /// The next event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Result<Option<BodyEvent>> {
        loop {
            let end = memchr(b'\n', self.buffer.get(self.searched..).unwrap_or_default());
            let length = end.map_or(self.buffer.len(), |end| self.searched + end);
            if length > self.limits.encoded {
                return Err(Error::too_large("a line", self.limits.encoded as u64, length as u64));
            }
            if end.is_none() {
                self.searched = length;
                return Ok(None);
            }
            let line = self.buffer.split_to(length + 1);
            self.searched = 0;
            let line = line.trim_ascii();
            if !line.is_empty() {
                return parse_line(line, self.limits).map(Some);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PeerError;

    #[test]
    fn the_lines_are_those_of_the_design() {
        let mut out = BytesMut::new();
        for event in [
            BodyEvent::Item(Message::new("to \"be\"")),
            BodyEvent::Item(Message::new("")),
            BodyEvent::Item(Message::new(&b"\xff\0"[..]).with_header("Part", "2")),
            BodyEvent::Error(PeerError::new(-32602, "bad").with_data("{\"a\":1.0}")),
            BodyEvent::Done,
        ] {
            encode(&event, &mut out);
        }
        let lines = r#"{"text":"to \"be\""}
{"text":""}
{"base64":"/wA=","headers":[{"name":"Part","text":"2"}]}
{"error":{"code":-32602,"message":"bad","data":{"a":1.0}}}
{"done":true}
"#;
        assert_eq!(std::str::from_utf8(&out).unwrap(), lines);
    }

    #[test]
    fn bad_lines_are_refused_and_unknown_members_are_skipped() {
        let limits = BodyLimits::for_items(100);
        for bad in
            ["{}", "[]", "{\"tex\":\"a\"}", "{\"text\":\"a\",\"base64\":\"\"}", "{\"base64\":\"*\"}", "{", "\u{1}"]
        {
            assert!(parse_line(bad.as_bytes(), limits).is_err(), "{bad}");
        }
        let item = parse_line(b"{\"text\":\"a\",\"later\":[1]}", limits).unwrap();
        assert_eq!(item, BodyEvent::Item(Message::new("a")));
    }
}
