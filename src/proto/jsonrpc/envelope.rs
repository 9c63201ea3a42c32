// SPDX-License-Identifier: Apache-2.0
//! The members of a message that the specification knows, found on one strict way through its text.
//!
//! Strict, since what a message carries goes on to other peers as it is: here it is known for the last time that it is JSON.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BadPacket, INVALID_REQUEST, Id, MEMBERS, PARSE_ERROR, Packet};
use crate::error::PeerError;
use crate::message::{Message, Subject};
use crate::proto::json::{self, Member};

/// The members that the specification knows.
#[derive(Clone, Copy)]
enum Name {
    Version,
    Id,
    Method,
    Params,
    Result,
    Error,
}

impl Name {
    /// Reads a key as nearly everybody writes it, from the text that it begins: the name, and the length up to and with the
    /// colon.
    #[inline(always)]
    fn begins(text: &[u8]) -> Option<(Self, usize)> {
        // Each key by itself, so that it is compared as a number.
        macro_rules! key {
            ($name:ident, $key:literal) => {
                text.starts_with($key).then_some((Self::$name, $key.len()))
            };
        }
        match text.get(1)? {
            b'j' => key!(Version, br#""jsonrpc":"#),
            b'i' => key!(Id, br#""id":"#),
            b'm' => key!(Method, br#""method":"#),
            b'p' => key!(Params, br#""params":"#),
            b'r' => key!(Result, br#""result":"#),
            b'e' => key!(Error, br#""error":"#),
            _ => None,
        }
    }

    /// Reads a key however it is written.
    #[cold]
    fn read(raw: &[u8]) -> Option<Self> {
        Some(match &*json::text(raw)? {
            "jsonrpc" => Self::Version,
            "id" => Self::Id,
            "method" => Self::Method,
            "params" => Self::Params,
            "result" => Self::Result,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

/// Where a value stands. No value is empty, so that an empty place is that of a member that is missing.
type Place = Range<usize>;

/// Where each value stands.
#[derive(Default)]
struct Envelope {
    version: Place,
    id: Place,
    method: Place,
    params: Place,
    result: Place,
    error: Place,
    unknown: Vec<u8>,
    /// The key that is there a second time.
    twice: Option<Place>,
}

pub(super) fn parse(text: &Bytes) -> Result<Packet, BadPacket> {
    let mut envelope = Envelope::default();
    if let Err(fault) = json::check_members(text, Name::begins, |name, member| envelope.put(text, name, member)) {
        return Err(refused(PARSE_ERROR, format!("the message is no JSON: {fault}")));
    }
    if envelope.version.is_empty() || envelope.twice.is_some() {
        envelope.check(text)?;
    }
    let id = envelope.id.clone();
    envelope.into_packet(text).map_err(|message| BadPacket {
        id: if id.is_empty() { None } else { Id::from_raw(text.slice(id)) },
        ..refused(INVALID_REQUEST, message.to_owned())
    })
}

fn refused(code: i64, message: String) -> BadPacket {
    BadPacket { code, message, id: None }
}

impl Envelope {
    #[inline(always)]
    fn put(&mut self, text: &[u8], name: Option<Name>, member: Member) {
        match name {
            Some(name) => self.place(name, member),
            None => self.put_other(text, member),
        }
    }

    #[inline(always)]
    fn place(&mut self, name: Name, member: Member) {
        let place = match name {
            Name::Version => &mut self.version,
            Name::Id => &mut self.id,
            Name::Method => &mut self.method,
            Name::Params => &mut self.params,
            Name::Result => &mut self.result,
            Name::Error => &mut self.error,
        };
        if place.end > 0 {
            self.twice = Some(member.key);
        }
        *place = member.value;
    }

    #[inline(never)]
    fn put_other(&mut self, text: &[u8], member: Member) {
        if let Some(name) = Name::read(text.get(member.key.clone()).unwrap_or_default()) {
            return self.place(name, member);
        }
        if !self.unknown.is_empty() {
            self.unknown.push(b',');
        }
        self.unknown.extend_from_slice(text.get(member.key.start..member.value.end).unwrap_or_default());
    }

    /// What is wrong about the object as a whole, if it is one.
    #[cold]
    fn check(&self, text: &[u8]) -> Result<(), BadPacket> {
        match text.trim_ascii_start().first() {
            Some(b'{') => {}
            Some(b'[') => {
                return Err(refused(INVALID_REQUEST, "a batch is not taken here: send one message".to_owned()));
            }
            _ => return Err(refused(INVALID_REQUEST, "a message is a JSON object".to_owned())),
        }
        match &self.twice {
            // Two parties that take different ones would be talking of different messages.
            Some(key) => {
                let key = text.get(key.clone()).and_then(json::text).unwrap_or_default();
                Err(refused(INVALID_REQUEST, format!("the message has {key:?} twice")))
            }
            None => Ok(()),
        }
    }

    fn into_packet(self, text: &Bytes) -> Result<Packet, &'static str> {
        let raw = |place: &Place| text.get(place.clone()).unwrap_or_default();
        if raw(&self.version) != br#""2.0""# {
            return Err(r#"a message has "jsonrpc":"2.0""#);
        }
        let with = |body: Bytes| match self.unknown.is_empty() {
            true => Message::new(body),
            false => Message::new(body).with_header(MEMBERS, self.unknown),
        };
        let id = match raw(&self.id) {
            [] => None,
            b"null" => Some(Id::NULL),
            _ => Some(read_id(text, &self.id).ok_or("an id is a string or a number")?),
        };
        match (self.method.is_empty(), self.result.is_empty(), self.error.is_empty()) {
            (false, true, true) => {
                let method = read_method(text, self.method)?;
                let body = match raw(&self.params) {
                    [] => Bytes::new(),
                    [b'{' | b'[', ..] => text.slice(self.params),
                    _ => return Err("params are an object"),
                };
                match id {
                    None => Ok(Packet::Notification { method, message: with(body) }),
                    Some(id) if id == Id::NULL => Err("the id of a request is not null"),
                    Some(id) => Ok(Packet::Request { id, method, message: with(body) }),
                }
            }
            (true, false, true) => {
                let id = id.filter(|id| *id != Id::NULL).ok_or("a result has the id of its request")?;
                Ok(Packet::Response { id, outcome: Ok(with(text.slice(self.result))) })
            }
            (true, true, false) => {
                let error = read_error(&text.slice(self.error))?;
                Ok(Packet::Response { id: id.unwrap_or(Id::NULL), outcome: Err(error) })
            }
            _ => Err("a message has one of method, result and error"),
        }
    }
}

fn read_id(text: &Bytes, place: &Place) -> Option<Id> {
    match super::read_number(text.get(place.clone())?) {
        Some(number) => Some(Id::number(number)),
        None => Id::from_raw(text.slice(place.clone())),
    }
}

fn read_method(text: &Bytes, place: Place) -> Result<Subject, &'static str> {
    const LIMITS: &str = "a method is 1 to 1024 bytes of plain text";
    let raw = text.get(place.clone()).unwrap_or_default();
    match raw {
        [b'"', inner @ .., b'"'] if json::is_plain_text(inner) => {
            Subject::from_wire(text.slice(place.start + 1..place.end - 1)).map_err(|_| LIMITS)
        }
        _ => Subject::new(json::text(raw).ok_or("a method is a string")?.into_owned()).map_err(|_| LIMITS),
    }
}

#[derive(Deserialize)]
struct ErrorObject<'a> {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

fn read_error(raw: &Bytes) -> Result<PeerError, &'static str> {
    let object: ErrorObject<'_> =
        serde_json::from_slice(raw).map_err(|_| "an error has an integer code and a message")?;
    let error = PeerError::new(object.code, object.message);
    Ok(match object.data {
        Some(data) => error.with_data(raw.slice_ref(data.get().as_bytes())),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    /// Keys as they may be written: plainly, with an escape, nearly, and others.
    fn key() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            4 => prop::sample::select(&["jsonrpc", "id", "method", "params", "result", "error"][..]),
            1 => prop::sample::select(&[r"\u0069d", r"met\u0068od", r"\u006asonrpc", r"\u0070arams"][..]),
            1 => prop::sample::select(&["i", "Id", "id ", "ids", "methods", "par", "e", "", "x\u{e9}", r"\n"][..]),
        ]
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            "-?[1-9][0-9]{0,20}",
            Just(r#""2.0""#.to_owned()),
            "[a-z\u{e9} /]{0,40}".prop_map(|text| format!("\"{text}\"")),
            Just(r#""a\"b\\""#.to_owned()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(("[a-z]{0,12}", inner), 0..3).prop_map(|members| {
                    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                    format!("{{{}}}", members.join(", "))
                }),
            ]
        })
    }

    /// A member with its value and the blanks between.
    fn member() -> impl Strategy<Value = String> {
        let sensible = prop::sample::select(
            &[
                r#""jsonrpc":"2.0""#,
                r#""id":7"#,
                r#""id":"seven""#,
                r#""method":"tools/call""#,
                r#""params":{"a":1}"#,
                r#""result":{}"#,
                r#""error":{"code":1,"message":"m"}"#,
            ][..],
        );
        prop_oneof![
            3 => sensible.prop_map(str::to_owned),
            1 => (key(), "[ \n]{0,2}", "[ \t]{0,2}", value())
                .prop_map(|(key, before, behind, value)| format!("\"{key}\"{before}:{behind}{value}")),
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(member(), 0..7)
            .prop_map(|members| format!("{{\"jsonrpc\":\"2.0\",{}}}", members.join(", ")).replace(",}", "}"))
    }

    /// All members by the slow way: keys unescaped, values as they are written.
    fn members(text: &[u8]) -> Vec<(String, Value)> {
        let unescaped = |key: &[u8]| json::text(&[b"\"", key, b"\""].concat()).unwrap().into_owned();
        json::members(text).map(|(key, value)| (unescaped(key), serde_json::from_slice(value).unwrap())).collect()
    }

    fn is_json(text: &[u8]) -> bool {
        serde_json::from_slice::<IgnoredAny>(text).is_ok() && std::str::from_utf8(text).is_ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// What is taken has each known member once, however its key is spelled, and says what a library of the field reads.
        #[test]
        fn what_is_taken_is_what_others_read(text in text()) {
            let text = Bytes::from(text);
            let taken = Packet::parse(&text);
            prop_assert_eq!(matches!(&taken, Err(bad) if bad.code == PARSE_ERROR), !is_json(&text));
            let Ok(packet) = taken else { return Ok(()) };
            let members = members(&text);
            let only = |name: &str| {
                let mut found = members.iter().filter(|(key, _)| key == name);
                (found.next().map(|(_, value)| value.clone()), found.next().is_some())
            };
            for name in ["jsonrpc", "id", "method", "params", "result", "error"] {
                prop_assert!(!only(name).1, "{} is there twice", name);
            }
            let read = |raw: &[u8]| serde_json::from_slice::<Value>(raw).unwrap();
            let (id, method, body) = match &packet {
                Packet::Request { id, method, message } => (Some(id), Some(method), Some((&message.body, "params"))),
                Packet::Notification { method, message } => (None, Some(method), Some((&message.body, "params"))),
                Packet::Response { id, outcome } => (Some(id), None, outcome.as_ref().ok().map(|message| (&message.body, "result"))),
            };
            // What could not be read has no id, or null.
            prop_assert_eq!(id.map(|id| read(&id.raw())).filter(|id| !id.is_null()), only("id").0.filter(|id| !id.is_null()));
            prop_assert_eq!(method.map(|method| Value::from(method.as_str())), only("method").0);
            if let Some((body, name)) = body {
                prop_assert_eq!((!body.is_empty()).then(|| read(body)), only(name).0);
            }
            // And what is written of it reads the same again.
            prop_assert_eq!(Packet::parse(&packet.to_bytes()).unwrap(), packet);
        }

        /// Anything else is refused as what it is, and nothing of it is believed.
        #[test]
        fn what_is_broken_is_refused_as_others_do(text in text(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = text.into_bytes();
            *at.get_mut(&mut text) = byte;
            let taken = Packet::parse(&Bytes::from(text.clone()));
            prop_assert_eq!(matches!(&taken, Err(bad) if bad.code == PARSE_ERROR), !is_json(&text), "{:?}", text);
        }

        #[test]
        fn arbitrary_bytes_are_refused_as_others_do(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let taken = Packet::parse(&Bytes::from(text.clone()));
            prop_assert_eq!(matches!(&taken, Err(bad) if bad.code == PARSE_ERROR), !is_json(&text));
        }
    }
}
