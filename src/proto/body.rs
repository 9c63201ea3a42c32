// SPDX-License-Identifier: Apache-2.0
//! The items of an answer as the body of an HTTP response, in one of three formats: [`sse`], [`ndjson`], [`binary`].
//!
//! Every format gives items back byte for byte with their headers, tells a clean end from a cut, and carries errors. A body
//! without [`BodyEvent::Done`] or [`BodyEvent::Error`] at its end was cut, whatever the transport below says.

use bytes::{Bytes, BytesMut};

use super::{binary, ndjson, sse};
use crate::config::StreamFormat;
use crate::error::{PeerError, Result};
use crate::message::{Message, Subject};

/// What a body says, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyEvent {
    /// The next item.
    Item(Message),
    /// What the responder tells on account of the request beside the items, such as progress.
    Notification(Subject, Message),
    /// The clean end.
    Done,
    /// The end by an error.
    Error(PeerError),
}

impl BodyEvent {
    /// Whether nothing may follow.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Done | Self::Error(_))
    }
}

/// What a decoder takes from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of an item with its headers, by [`Message::size`].
    pub item: usize,
    /// Bytes that an item may have in its encoded form: a line, or what is collected for one event.
    pub encoded: usize,
}

impl BodyLimits {
    /// Limits for items of at most `item` bytes. Text doubles at most, see [`item_json`](super::item_json); the constant
    /// is for the names of members and headers.
    pub const fn for_items(item: usize) -> Self {
        Self { item, encoded: item.saturating_mul(2).saturating_add(32 << 10) }
    }
}

/// The name of a format in `Accept` and `Content-Type`.
pub const fn media_type(format: StreamFormat) -> &'static str {
    match format {
        StreamFormat::Sse => "text/event-stream",
        StreamFormat::Ndjson => "application/x-ndjson",
        StreamFormat::Binary => "application/octet-stream",
    }
}

/// Appends `event` to `out`.
pub fn encode(format: StreamFormat, event: &BodyEvent, out: &mut BytesMut) {
    match format {
        StreamFormat::Sse => sse::encode(event, out),
        StreamFormat::Ndjson => ndjson::encode(event, out),
        StreamFormat::Binary => binary::encode(event, out),
    }
}

/// Appends an item, as [`encode`] does for one in an event.
pub fn encode_item(format: StreamFormat, item: &Message, out: &mut BytesMut) {
    match format {
        StreamFormat::Sse => sse::encode_item(item, out),
        StreamFormat::Ndjson => ndjson::encode_item(item, out),
        StreamFormat::Binary => binary::encode_item(item, out),
    }
}

/// Reads a body of any format, cut into chunks in any way.
#[derive(Debug)]
pub enum BodyDecoder {
    /// `text/event-stream`
    Sse(sse::Decoder),
    /// `application/x-ndjson`
    Ndjson(ndjson::Decoder),
    /// `application/octet-stream`
    Binary(binary::Decoder),
}

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    pub fn new(format: StreamFormat, limits: BodyLimits) -> Self {
        match format {
            StreamFormat::Sse => Self::Sse(sse::Decoder::new(limits)),
            StreamFormat::Ndjson => Self::Ndjson(ndjson::Decoder::new(limits)),
            StreamFormat::Binary => Self::Binary(binary::Decoder::new(limits)),
        }
    }

    /// Takes the next bytes. Drain [`next_event`](Self::next_event) before the next push: then no more than one
    /// unfinished item and one chunk wait here.
    pub fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Sse(decoder) => decoder.push(chunk),
            Self::Ndjson(decoder) => decoder.push(chunk),
            Self::Binary(decoder) => decoder.push(chunk),
        }
    }

    /// Bytes that came and were not taken.
    pub fn at_hand(&self) -> usize {
        match self {
            Self::Sse(decoder) => decoder.at_hand(),
            Self::Ndjson(decoder) => decoder.at_hand(),
            Self::Binary(decoder) => decoder.at_hand(),
        }
    }

    /// The next item, if its format says it in the usual form and it is all there. Of what is not taken this way nothing is
    /// known; [`next_event`](Self::next_event) says what it is.
    pub fn next_plain(&mut self) -> Option<Bytes> {
        match self {
            Self::Sse(decoder) => decoder.next_plain(),
            Self::Ndjson(_) => None,
            Self::Binary(decoder) => decoder.next_plain(),
        }
    }

    /// The next event, or `None` until more bytes come. After an error or an end it is not called again.
    ///
    /// Errors are `TooLarge` for what is over a limit and `Protocol` for what is no such body.
    pub fn next_event(&mut self) -> Result<Option<BodyEvent>> {
        match self {
            Self::Sse(decoder) => decoder.next_event(),
            Self::Ndjson(decoder) => decoder.next_event(),
            Self::Binary(decoder) => decoder.next_event(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const FORMATS: [StreamFormat; 3] = [StreamFormat::Sse, StreamFormat::Ndjson, StreamFormat::Binary];

    /// The next event, by way of what takes the usual ones.
    fn next(decoder: &mut BodyDecoder) -> Result<Option<BodyEvent>> {
        match decoder.next_plain() {
            Some(item) => Ok(Some(BodyEvent::Item(Message::new(item)))),
            None => decoder.next_event(),
        }
    }

    /// Every event of `body`, cut into chunks that end at `cuts`.
    fn decode(format: StreamFormat, limits: BodyLimits, body: &[u8], cuts: &[usize]) -> Result<Vec<BodyEvent>> {
        let mut decoder = BodyDecoder::new(format, limits);
        let mut events = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([body.len()]) {
            decoder.push(Bytes::copy_from_slice(&body[from..to]));
            from = to;
            while let Some(event) = next(&mut decoder)? {
                let end = event.is_end();
                events.push(event);
                if end {
                    return Ok(events);
                }
            }
        }
        Ok(events)
    }

    fn encoded(format: StreamFormat, events: &[BodyEvent]) -> BytesMut {
        let mut out = BytesMut::new();
        events.iter().for_each(|event| encode(format, event, &mut out));
        out
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        // Lines, escapes, a byte order mark and leading spaces are where text formats go wrong.
        proptest::collection::vec(
            prop_oneof![
                Just("\n"),
                Just("\r"),
                Just("\r\n"),
                Just(" "),
                Just(":"),
                Just("data: x"),
                Just("\""),
                Just("\\"),
                Just("\u{feff}"),
                Just("\0"),
                Just("é"),
                Just("word"),
                Just("")
            ],
            0..12,
        )
        .prop_map(|parts| parts.concat().into_bytes())
    }

    fn message() -> impl Strategy<Value = Message> {
        let bytes = || prop_oneof![text(), proptest::collection::vec(any::<u8>(), 0..40)];
        (bytes(), proptest::collection::vec(("[a-zA-Z -]{1,8}", bytes()), 0..3)).prop_map(|(body, headers)| {
            headers.into_iter().fold(Message::new(body), |message, (name, value)| message.with_header(name, value))
        })
    }

    fn error() -> impl Strategy<Value = PeerError> {
        let data = prop_oneof![Just(""), Just("{\"a\": [1, null]}"), Just("{\r\n  \"a\": 1\n}"), Just("not json")];
        (any::<i64>(), ".*", data).prop_map(|(code, message, data)| PeerError::new(code, message).with_data(data))
    }

    fn body() -> impl Strategy<Value = Vec<BodyEvent>> {
        let subject = "[a-z/é ]{1,10}".prop_map(|text| Subject::new(text).unwrap());
        let event = prop_oneof![
            4 => message().prop_map(BodyEvent::Item),
            1 => (subject, message()).prop_map(|(subject, message)| BodyEvent::Notification(subject, message)),
        ];
        let end = prop_oneof![Just(BodyEvent::Done), error().prop_map(BodyEvent::Error)];
        (proptest::collection::vec(event, 0..6), end).prop_map(|(mut events, end)| {
            events.push(end);
            events
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_chunking_gives_the_same_events(events in body(), seeds in proptest::collection::vec(any::<usize>(), 0..8)) {
            for format in FORMATS {
                let bytes = encoded(format, &events);
                let mut cuts: Vec<usize> = seeds.iter().map(|seed| seed % (bytes.len() + 1)).collect();
                cuts.sort_unstable();
                let limits = BodyLimits::for_items(4096);
                prop_assert_eq!(&decode(format, limits, &bytes, &cuts).unwrap(), &events, "{:?}", format);
                let every_byte: Vec<usize> = (1..bytes.len()).collect();
                prop_assert_eq!(&decode(format, limits, &bytes, &every_byte).unwrap(), &events, "{:?}", format);
            }
        }

        #[test]
        fn a_truncated_body_has_no_end(events in body(), cut in any::<usize>()) {
            for format in FORMATS {
                let bytes = encoded(format, &events);
                let cut = cut % bytes.len();
                let seen = decode(format, BodyLimits::for_items(4096), &bytes[..cut], &[]).unwrap();
                prop_assert!(!seen.iter().any(BodyEvent::is_end), "{:?} cut at {} of {}", format, cut, bytes.len());
                prop_assert_eq!(&seen[..], &events[..seen.len()]);
            }
        }

        #[test]
        fn garbage_is_an_error_or_nothing_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in FORMATS {
                let _ = decode(format, BodyLimits { item: 64, encoded: 100 }, &bytes, &[]);
            }
        }
    }

    #[test]
    fn an_item_at_the_limit_passes_and_one_above_it_does_not() {
        for format in FORMATS {
            for byte in [b'x', b'"', 0xff] {
                let limits = BodyLimits::for_items(1000);
                let at = encoded(format, &[BodyEvent::Item(Message::new(vec![byte; 1000])), BodyEvent::Done]);
                assert_eq!(decode(format, limits, &at, &[]).unwrap().len(), 2, "{format:?} {byte}");
                let above = encoded(format, &[BodyEvent::Item(Message::new(vec![byte; 1001]))]);
                let error = decode(format, limits, &above, &[]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{format:?} {byte}: {error}");
            }
        }
    }

    #[test]
    fn what_never_ends_is_bounded() {
        for format in [StreamFormat::Sse, StreamFormat::Ndjson] {
            let mut decoder = BodyDecoder::new(format, BodyLimits { item: 100, encoded: 200 });
            decoder.push(Bytes::from(vec![b'a'; 201]));
            assert_eq!(decoder.next_event().unwrap_err().kind(), ErrorKind::TooLarge, "{format:?}");
        }
    }
}
