// SPDX-License-Identifier: Apache-2.0
//! The parser of `text/event-stream`: server-sent events by the WHATWG HTML standard, section 9.2.
//!
//! Bytes in any chunks go in, [`ServerEvent`]s come out. Lines end with LF, CR or CRLF; one byte order mark at the
//! beginning is skipped; comments and fields that nobody knows are skipped; an event without its blank line at the end of
//! the stream is none. A line, and the data of one event, are bounded.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

use super::chunks::Chunks;
use crate::error::{Detail, Error, Result};

/// The longest reconnection time that a stream can ask for, in milliseconds: a day.
const MAX_RETRY: u64 = 24 * 3600 * 1000;

/// One dispatched event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// The field `event`; empty means `message`.
    pub kind: Bytes,
    /// The `data` lines, joined by line feeds.
    pub data: Bytes,
}

/// Reads a stream of events.
#[derive(Debug)]
pub struct EventParser {
    limit: usize,
    buffer: Chunks,
    /// Bytes of `buffer` that are known to hold no line end.
    searched: usize,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    kind: Bytes,
    data: Data,
    /// Few streams have any, and there may be very many of those.
    marks: Option<Box<Marks>>,
}

/// Where to go on after a break, and when.
#[derive(Debug, Default)]
struct Marks {
    /// The field `id` as it was last read; it counts once the blank line has come.
    id: Option<Bytes>,
    last_id: Option<Bytes>,
    retry: Option<u64>,
}

/// Most events have one line of data, which then need not be copied.
#[derive(Debug, Default)]
enum Data {
    #[default]
    Nothing,
    Line(Bytes),
    Lines(BytesMut),
}

impl EventParser {
    /// A parser that takes lines, and the data of an event, of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Chunks::default(),
            searched: 0,
            after_cr: false,
            started: false,
            kind: Bytes::new(),
            data: Data::Nothing,
            marks: None,
        }
    }

    /// Bytes that came and were not taken.
    pub(super) fn at_hand(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: Bytes) {
        self.buffer.push(chunk);
    }

    /// The next event, or `None` until more bytes come. After an error the stream is of no further use.
    pub fn next_event(&mut self) -> Result<Option<ServerEvent>> {
        if let Some(data) = self.plain_event(|_| true) {
            return Ok(Some(ServerEvent { kind: Bytes::new(), data }));
        }
        while let Some(line) = self.next_line()? {
            if !line.is_empty() {
                self.field(line)?;
                continue;
            }
            let kind = std::mem::take(&mut self.kind);
            self.mark();
            let data = match std::mem::take(&mut self.data) {
                Data::Nothing => continue,
                Data::Line(line) => line,
                Data::Lines(lines) => lines.freeze(),
            };
            return Ok(Some(ServerEvent { kind, data }));
        }
        Ok(None)
    }

    /// The id of the last event, the way it is sent back as `Last-Event-ID`; `None` before the first one and after one
    /// that took it back. An event without data sets it too.
    pub fn last_id(&self) -> Option<&Bytes> {
        self.marks.as_ref()?.last_id.as_ref()
    }

    /// What the stream last said about the time to wait before coming back, in milliseconds; at most a day.
    pub fn retry(&self) -> Option<u64> {
        self.marks.as_ref()?.retry
    }

    /// Takes `text`, which must be one event without an id, if it comes next and is all there.
    #[cfg(feature = "http")]
    pub(super) fn skip_event(&mut self, text: &[u8]) -> bool {
        let comes_next = self.is_between_events() && self.buffer.starts_with(text);
        if comes_next {
            self.buffer.skip(text.len());
            self.mark();
        }
        comes_next
    }

    /// The event is whole: its id counts.
    fn mark(&mut self) {
        if let Some(marks) = &mut self.marks {
            marks.last_id.clone_from(&marks.id);
        }
    }

    /// Whether nothing is known of the next event yet.
    fn is_between_events(&mut self) -> bool {
        // A byte order mark has to be looked for, unless what comes first cannot be one.
        self.started |= self.buffer.first().is_some_and(u8::is_ascii);
        let nothing_read = matches!(self.data, Data::Nothing) && self.kind.is_empty() && self.searched == 0;
        self.started && nothing_read && !self.after_cr
    }

    /// Takes an event of one `data` line and nothing else, if it is all there and `is_fine`: what nearly every event is.
    pub(super) fn plain_event(&mut self, is_fine: impl FnOnce(&[u8]) -> bool) -> Option<Bytes> {
        const FIELD: &[u8] = b"data: ";
        const END: &[u8] = b"\n\n";
        if !self.is_between_events() {
            return None;
        }
        let rest = self.buffer.strip_prefix(FIELD)?;
        let length = memchr2(b'\n', b'\r', rest).filter(|length| FIELD.len() + length <= self.limit)?;
        let (data, end) = rest.split_at_checked(length)?;
        if !end.starts_with(END) || !is_fine(data) {
            return None;
        }
        let data = self.buffer.split_between(FIELD.len(), length, END.len());
        self.mark();
        Some(data)
    }

    fn next_line(&mut self) -> Result<Option<Bytes>> {
        if !self.started {
            // Wait for as many bytes as tell whether there is a byte order mark.
            const MARK: &[u8] = b"\xef\xbb\xbf";
            if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
                return Ok(None);
            }
            if self.buffer.starts_with(MARK) {
                self.buffer.skip(MARK.len());
            }
            self.started = true;
        }
        if self.after_cr && !self.buffer.is_empty() {
            if self.buffer.starts_with(b"\n") {
                self.buffer.skip(1);
            }
            self.after_cr = false;
        }
        let end = memchr2(b'\n', b'\r', self.buffer.get(self.searched..).unwrap_or_default());
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

    fn field(&mut self, line: Bytes) -> Result<()> {
        let colon = memchr(b':', &line).unwrap_or(line.len());
        let skip = match line.get(colon..) {
            Some([b':', b' ', ..]) => 2,
            Some([b':', ..]) => 1,
            _ => 0,
        };
        let value = line.slice(colon + skip..);
        match line.get(..colon) {
            Some(b"data") => self.append(value)?,
            Some(b"event") => self.kind = value,
            // An id with a NUL is ignored, by the standard; an empty one takes the last one back.
            // Copied: it outlives its event, and a slice would keep what came with it.
            Some(b"id") if !value.contains(&0) => {
                self.marks.get_or_insert_default().id = (!value.is_empty()).then(|| Bytes::copy_from_slice(&value));
            }
            Some(b"retry") if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(&value).ok().and_then(|digits| digits.parse().ok());
                self.marks.get_or_insert_default().retry = Some(digits.unwrap_or(MAX_RETRY).min(MAX_RETRY));
            }
            // A line that begins with a colon is a comment.
            _ => {}
        }
        Ok(())
    }

    fn append(&mut self, value: Bytes) -> Result<()> {
        let before = match &self.data {
            Data::Nothing => 0,
            Data::Line(line) => line.len() + 1,
            Data::Lines(lines) => lines.len() + 1,
        };
        let length = before + value.len();
        if length > self.limit {
            return Err(Error::too_large("the data of an event", self.limit as u64, length as u64));
        }
        self.data = match std::mem::take(&mut self.data) {
            Data::Nothing => Data::Line(value),
            Data::Line(line) => {
                let mut lines = BytesMut::with_capacity(length);
                lines.extend_from_slice(&line);
                joined(lines, &value)
            }
            Data::Lines(lines) => joined(lines, &value),
        };
        Ok(())
    }
}

fn joined(mut lines: BytesMut, value: &[u8]) -> Data {
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(value);
    Data::Lines(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(kind: &str, data: &str) -> ServerEvent {
        ServerEvent { kind: Bytes::copy_from_slice(kind.as_bytes()), data: Bytes::copy_from_slice(data.as_bytes()) }
    }

    fn events(text: &str) -> Vec<ServerEvent> {
        drain(EventParser::new(1000), [text.as_bytes()]).0
    }

    fn drain<'a>(
        mut parser: EventParser,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<ServerEvent>, EventParser) {
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(Bytes::copy_from_slice(chunk));
            while let Some(event) = parser.next_event().unwrap() {
                events.push(event);
            }
        }
        (events, parser)
    }

    #[test]
    fn the_examples_of_the_standard() {
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
    fn ids_and_times_are_remembered_for_coming_back() {
        let mut parser = EventParser::new(1000);
        let mut after = |text: &'static str| {
            parser.push(Bytes::from_static(text.as_bytes()));
            while parser.next_event().unwrap().is_some() {}
            (parser.last_id().map(|id| String::from_utf8(id.to_vec()).unwrap()), parser.retry())
        };
        assert_eq!(after("id: 1\n"), (None, None), "an event that is not over has no id yet");
        assert_eq!(after("\n"), (Some("1".into()), None), "an event without data has one");
        assert_eq!(after("data: x\n\n"), (Some("1".into()), None), "it stays");
        assert_eq!(after("id: a\0b\nretry: 12x\nretry:\n\n"), (Some("1".into()), None), "what is malformed is ignored");
        assert_eq!(after("id: 2\nretry: 250\ndata\n\n"), (Some("2".into()), Some(250)));
        assert_eq!(after("id\nretry: 99999999999999999999999\n\n"), (None, Some(MAX_RETRY)));
    }

    #[test]
    fn lines_and_data_are_bounded() {
        let mut parser = EventParser::new(10);
        parser.push(Bytes::from_static(b"data:12345\n\n"));
        assert_eq!(parser.next_event().unwrap(), Some(pair("", "12345")));
        parser.push(Bytes::from_static(b"data:123456"));
        assert_eq!(parser.next_event().unwrap_err().kind(), crate::ErrorKind::TooLarge);
        let mut parser = EventParser::new(10);
        parser.push(Bytes::from("data:12\n".repeat(5)));
        assert_eq!(parser.next_event().unwrap_err().kind(), crate::ErrorKind::TooLarge);
        let mut parser = EventParser::new(10);
        parser.push(Bytes::from("data\n".repeat(12)));
        assert!(parser.next_event().is_err(), "empty lines count too");
    }

    fn line() -> impl Strategy<Value = String> {
        let field = prop_oneof!["data: ?", "data", "event: ", "id: ", "id", "retry: [0-9]{0,3}", ":", "", "x: "];
        (field, "[a-c: é]{0,6}", prop_oneof![Just("\n"), Just("\r"), Just("\r\n")])
            .prop_map(|(field, value, end)| format!("{field}{value}{end}"))
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_events(
            mark in any::<bool>(),
            lines in prop::collection::vec(line(), 0..30),
            cuts in prop::collection::vec(1_usize..9, 1..200),
        ) {
            let text = format!("{}{}", if mark { "\u{feff}" } else { "" }, lines.concat());
            let (whole, end) = drain(EventParser::new(1000), [text.as_bytes()]);
            let mut rest = text.as_bytes();
            let chunks = cuts.iter().cycle().map_while(|cut| {
                let (chunk, left) = rest.split_at((*cut).min(rest.len()));
                rest = left;
                (!chunk.is_empty()).then_some(chunk)
            });
            let (split, split_end) = drain(EventParser::new(1000), chunks);
            prop_assert_eq!(whole, split);
            prop_assert_eq!(end.last_id(), split_end.last_id());
            prop_assert_eq!(end.retry(), split_end.retry());
        }
    }
}
