// SPDX-License-Identifier: Apache-2.0
//! The golden vectors of `docs/wire.md`: every one is decoded to its words and encoded to its bytes, and a real pair of muxes
//! says the commonest of them.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use biplane::plane::{ReplyTo, ResponseConnectionInfo};
use biplane::proto::frame::{self, FIN, HEADERS, Header, INBOUND, Kind, LINK, MORE, StreamId};
use biplane::proto::mux::{Incoming, Limits, Mux, Role};
use biplane::proto::open::{self, Open};
use biplane::proto::prologue::{self, Prologue};
use biplane::stream::Unended;
use biplane::{Error, Headers, Message, PeerError, RequestContext, RequestId, Subject, TraceContext};
use bytes::{BufMut, Bytes, BytesMut};

const DOCUMENT: &str = include_str!("../docs/wire.md");

/// Every vector, in the document's order: one that is added there and not here, or the other way round, is a failure.
const NAMES: &[&str] = &[
    "prologue",
    "open-unary",
    "open-everything",
    "open-one-way",
    "open-in-parts",
    "open-call-home",
    "data",
    "data-empty-and-last",
    "data-headers",
    "data-part",
    "data-inbound",
    "control-stop",
    "control-kill",
    "end-clean",
    "end-error",
    "reset",
    "reset-reason",
    "window-stream",
    "window-link",
    "ping",
    "ping-last-call",
    "pong",
    "go-away",
];

/// A vector: its name, its bytes, and what they mean in lines of `key: value`.
struct Vector {
    name: &'static str,
    bytes: Vec<u8>,
    meaning: Vec<(&'static str, &'static str)>,
}

fn vectors() -> Vec<Vector> {
    let blocks = DOCUMENT.split("\n```wire\n").skip(1);
    blocks.map(|block| vector(block.split("\n```").next().unwrap())).collect()
}

fn vector(block: &'static str) -> Vector {
    let lines = block.lines().map(|line| {
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no `key: value`"));
        (key, value.trim())
    });
    let mut lines: Vec<_> = lines.collect();
    assert_eq!((lines[0].0, lines[1].0), ("name", "hex"), "{block}");
    let meaning = lines.split_off(2);
    Vector { name: lines[0].1, bytes: from_hex(lines[1].1), meaning }
}

#[test]
fn every_vector_is_read() {
    let names: Vec<_> = vectors().iter().map(|vector| vector.name).collect();
    assert_eq!(names, NAMES);
    assert_eq!(DOCUMENT.matches("```wire").count(), NAMES.len(), "a block is not read");
}

#[test]
fn bytes_decode_to_the_words() {
    for vector in vectors() {
        let mut words = String::new();
        for (key, value) in &vector.meaning {
            writeln!(words, "{key}: {value}").unwrap();
        }
        let said = if vector.name == "prologue" { read_prologue(&vector.bytes) } else { read_frame(&vector.bytes) };
        assert_eq!(said.replace(": \n", ":\n"), words.replace(": \n", ":\n"), "{}", vector.name);
    }
}

#[test]
fn words_encode_to_the_bytes() {
    for vector in vectors() {
        let words = Words(&vector.meaning);
        let bytes = if vector.name == "prologue" { write_prologue(&words) } else { write_frame(&words) };
        assert_eq!(to_hex(&bytes), to_hex(&vector.bytes), "{}", vector.name);
    }
}

#[test]
fn every_part_of_a_vector_is_incomplete_and_no_frame() {
    for vector in vectors().iter().filter(|vector| vector.name != "prologue") {
        for len in 0..vector.bytes.len() {
            let mut input = BytesMut::from(&vector.bytes[..len]);
            assert!(frame::decode(&mut input, frame::MAX_PAYLOAD).unwrap().is_none(), "{}, {len} bytes", vector.name);
            assert_eq!(input.len(), len, "nothing is taken of an incomplete frame");
        }
    }
}

/// Not only the codec: an exchange of real ends is made of these bytes.
#[test]
fn two_muxes_speak_the_vectors() {
    let mut ends = Ends::new();
    let context = RequestContext { id: "0102030405060708-00000000000000ff".parse_id(), deadline: None, trace: None };
    let open = Open::Request { subject: Subject::from_static("echo"), context, reply_to: ReplyTo::Inline };
    let asked = ends.dialer.open_request(&open, Message::new("hello"), false, Instant::now).unwrap();
    ends.dialer_says("open-unary");
    let Some(Incoming::Request(request)) = ends.acceptor.next_incoming() else { panic!("no request came") };
    ends.acceptor.push(request.key, Message::new("one item")).unwrap();
    ends.acceptor_says("data");
    ends.acceptor.release_writer(request.key, Unended::Close);
    ends.acceptor_says("end-clean");
    ends.dialer.release_reader(asked);

    let asked = ends.dialer.open_request(&open, Message::new("hello"), false, Instant::now).unwrap();
    ends.dialer_says("open-unary");
    ends.dialer.control(asked, biplane::ControlMessage::Stop);
    ends.dialer_says("control-stop");
    ends.dialer.release_reader(asked);
    ends.dialer_says("reset");
    ends.acceptor_says("reset");

    let token = <[u8; 16]>::try_from((0..16).collect::<Vec<u8>>()).unwrap();
    let _ = ends.acceptor.open_call_home(token).unwrap();
    ends.acceptor_says("open-call-home");

    ends.dialer.ping(Instant::now());
    ends.dialer_says("ping");
    ends.acceptor_is_read();
    ends.dialer.go_away(&PeerError::from(Error::closed("the peer is closing this link")));
    ends.dialer_says("go-away ping-last-call");
    ends.acceptor_says("pong");
}

struct Ends {
    dialer: Mux,
    acceptor: Mux,
}

impl Ends {
    fn new() -> Self {
        let (ours, now) = (Prologue::default(), Instant::now());
        let limits = Limits {
            max_message: 1 << 20,
            heartbeat_interval: Duration::from_secs(30),
            silence_limit: Duration::from_secs(60),
        };
        let end = |role| Mux::new(role, ours, ours, limits, now);
        Self { dialer: end(Role::Dialer), acceptor: end(Role::Acceptor) }
    }

    fn dialer_says(&mut self, names: &str) {
        says(&mut self.dialer, &mut self.acceptor, Some(names));
    }

    fn acceptor_says(&mut self, names: &str) {
        says(&mut self.acceptor, &mut self.dialer, Some(names));
    }

    fn acceptor_is_read(&mut self) {
        says(&mut self.acceptor, &mut self.dialer, None);
    }
}

/// Carries what `from` has to say to `to`; it must be these vectors.
fn says(from: &mut Mux, to: &mut Mux, names: Option<&str>) {
    let mut writing = VecDeque::new();
    from.take_output(&mut writing);
    let bytes: Vec<u8> = writing.iter().flat_map(|segment| segment.to_vec()).collect();
    from.wrote(bytes.len());
    if let Some(names) = names {
        let all = vectors();
        let expected = names.split(' ').map(|name| all.iter().find(|vector| vector.name == name).unwrap());
        let expected: Vec<u8> = expected.flat_map(|vector| vector.bytes.clone()).collect();
        assert_eq!(to_hex(&bytes), to_hex(&expected), "{names}");
    }
    to.feed(&mut BytesMut::from(&bytes[..]), Instant::now()).unwrap();
}

trait ParseId {
    fn parse_id(&self) -> RequestId;
}

impl ParseId for str {
    fn parse_id(&self) -> RequestId {
        RequestId::given(self.to_owned())
    }
}

// ---- bytes to words

fn read_prologue(bytes: &[u8]) -> String {
    let array = <[u8; prologue::LEN]>::try_from(bytes).expect("a prologue is 24 bytes");
    let read = Prologue::decode(&array).unwrap();
    format!(
        "version: {}\nflags: {}\nstream-window: {}\nlink-window: {}\nmax-frame: {}\nmax-streams: {}\n",
        u16::from_le_bytes([bytes[4], bytes[5]]),
        u16::from_le_bytes([bytes[6], bytes[7]]),
        read.stream_window,
        read.link_window,
        read.max_frame,
        read.max_streams
    )
}

fn read_frame(bytes: &[u8]) -> String {
    let mut input = BytesMut::from(bytes);
    let (header, mut payload) = frame::decode(&mut input, frame::MAX_PAYLOAD).unwrap().expect("a whole frame");
    assert!(input.is_empty(), "bytes behind the frame");
    let mut out = format!(
        "kind: {}\nflags: {}\nstream: {}\n",
        kind_name(header.kind),
        flag_names(header.flags),
        stream_name(header.stream)
    );
    let mut line = |key: &str, value: &str| writeln!(out, "{key}: {value}").unwrap();
    match header.kind {
        Kind::Open => {
            read_open(&mut payload, &mut line);
            read_message(header.flags, payload, &mut line);
        }
        Kind::Data => {
            if header.flags & INBOUND != 0 {
                line("notification", open::decode_subject(&mut payload).unwrap().as_str());
            }
            read_message(header.flags, payload, &mut line);
        }
        Kind::Control => line(
            "control",
            match payload[..] {
                [1] => "stop",
                [2] => "kill",
                _ => "?",
            },
        ),
        Kind::End | Kind::Reset if payload.is_empty() => {}
        Kind::End | Kind::Reset | Kind::GoAway => {
            let error = open::decode_error(payload).unwrap();
            line("code", &error.code.to_string());
            line("message", &error.message);
            line("data", text(&error.data));
        }
        Kind::Window => line("credit", &u32::from_le_bytes(payload[..].try_into().unwrap()).to_string()),
        Kind::Ping | Kind::Pong => line("payload", &to_hex(&payload).replace(' ', "")),
    }
    out
}

fn read_open(payload: &mut Bytes, line: &mut impl FnMut(&str, &str)) {
    let now = Instant::now();
    match Open::decode(now, payload).unwrap() {
        Open::CallHome { token } => {
            line("what", "call-home");
            line("token", &to_hex(&token).replace(' ', ""));
        }
        Open::Request { subject, context, reply_to } => {
            line("what", if reply_to == ReplyTo::Nothing { "notification" } else { "request" });
            line("id", &context.id.to_string());
            if let Some(left) = context.remaining(now) {
                line("deadline-ms", &left.as_millis().to_string());
            }
            if let Some(trace) = context.trace {
                line("trace", &trace.to_string());
            }
            line("subject", subject.as_str());
            if let ReplyTo::To(info) = reply_to {
                line("reply-to", &info.to_text());
            }
        }
    }
}

fn read_message(flags: u8, mut payload: Bytes, line: &mut impl FnMut(&str, &str)) {
    if flags & HEADERS != 0 {
        for (name, value) in open::decode_headers(&mut payload).unwrap().iter() {
            line("header", format!("{name} = {}", text(value)).trim_end());
        }
    }
    line("body", text(&payload));
}

// ---- words to bytes

struct Words<'a>(&'a [(&'static str, &'static str)]);

impl Words<'_> {
    fn get(&self, key: &str) -> Option<&'static str> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn must(&self, key: &str) -> &'static str {
        self.get(key).unwrap_or_else(|| panic!("{key} is missing in {:?}", self.0))
    }

    fn number(&self, key: &str) -> u32 {
        self.must(key).parse().unwrap()
    }
}

fn write_prologue(words: &Words<'_>) -> Vec<u8> {
    assert_eq!((words.must("version"), words.must("flags")), (prologue::VERSION.to_string().as_str(), "0"));
    let prologue = Prologue {
        stream_window: words.number("stream-window"),
        link_window: words.number("link-window"),
        max_frame: words.number("max-frame"),
        max_streams: words.number("max-streams"),
    };
    assert_eq!(prologue, Prologue::default(), "the document shows what we send");
    prologue.encode().to_vec()
}

fn write_frame(words: &Words<'_>) -> Vec<u8> {
    let kind = kinds().into_iter().find(|kind| kind_name(*kind) == words.must("kind")).unwrap();
    let mut payload = BytesMut::new();
    match kind {
        Kind::Open => {
            let now = Instant::now();
            write_open(words, now).encode(|| now, &mut payload);
            write_message(words, &mut payload);
        }
        Kind::Data => {
            if let Some(subject) = words.get("notification") {
                open::encode_subject(&Subject::from_static(subject), &mut payload);
            }
            write_message(words, &mut payload);
        }
        Kind::Control => payload.put_u8(if words.must("control") == "stop" { 1 } else { 2 }),
        Kind::End | Kind::Reset | Kind::GoAway => {
            if let Some(code) = words.get("code") {
                let error = PeerError::new(code.parse().unwrap(), words.must("message"));
                open::encode_error(&error.with_data(words.must("data")), &mut payload);
            }
        }
        Kind::Window => payload.put_u32_le(words.number("credit")),
        Kind::Ping | Kind::Pong => payload.extend_from_slice(&from_hex(words.must("payload"))),
    }
    let mut bytes = Vec::new();
    let flags = FLAGS.iter().filter(|(_, name)| words.must("flags").split(' ').any(|word| word == *name));
    let flags = flags.map(|(flag, _)| flag).sum();
    Header { kind, flags, stream: stream(words.must("stream")), len: payload.len() }.encode(&mut bytes);
    bytes.extend_from_slice(&payload);
    bytes
}

fn write_open(words: &Words<'_>, now: Instant) -> Open {
    if let Some(token) = words.get("token") {
        return Open::CallHome { token: from_hex(token).try_into().unwrap() };
    }
    let left = words.get("deadline-ms").map(|text| Duration::from_millis(text.parse().unwrap()));
    let context = RequestContext {
        id: words.must("id").parse_id(),
        deadline: left.map(|left| now + left),
        trace: words.get("trace").map(|text| TraceContext::parse(text).unwrap()),
    };
    let reply_to = match (words.must("what"), words.get("reply-to")) {
        ("notification", _) => ReplyTo::Nothing,
        (_, Some(text)) => ReplyTo::To(Box::new(ResponseConnectionInfo::from_text(text).unwrap())),
        _ => ReplyTo::Inline,
    };
    Open::Request { subject: Subject::from_static(words.must("subject")), context, reply_to }
}

fn write_message(words: &Words<'_>, out: &mut BytesMut) {
    let mut headers = Headers::new();
    for (_, value) in words.0.iter().filter(|(key, _)| *key == "header") {
        let (name, value) = value.split_once('=').unwrap();
        headers.append(name.trim_end(), Bytes::from_static(value.trim_start().as_bytes()));
    }
    if !headers.is_empty() {
        open::encode_headers(&headers, out);
    }
    out.extend_from_slice(words.must("body").as_bytes());
}

// ---- names

const FLAGS: &[(u8, &str)] = &[(MORE, "MORE"), (FIN, "FIN"), (HEADERS, "HEADERS"), (INBOUND, "INBOUND")];

fn flag_names(flags: u8) -> String {
    let names: Vec<_> = FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

fn kinds() -> [Kind; 9] {
    use Kind::{Control, Data, End, GoAway, Open, Ping, Pong, Reset, Window};
    [Open, Data, Control, End, Reset, Window, Ping, Pong, GoAway]
}

fn kind_name(kind: Kind) -> String {
    format!("{kind:?}").to_uppercase()
}

fn stream_name(id: StreamId) -> String {
    if id == LINK {
        return "link".to_owned();
    }
    format!("{} of the {}", id.slot(), if id.by_acceptor() { "acceptor" } else { "dialer" })
}

fn stream(name: &str) -> StreamId {
    match name.split_once(" of the ") {
        Some((slot, end)) => StreamId::new(slot.parse().unwrap(), end == "acceptor"),
        None => LINK,
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        write!(out, "{byte:02x} ").unwrap();
    }
    out.trim_end().to_owned()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
