// SPDX-License-Identifier: Apache-2.0
//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>): one message to and from its text.
//!
//! The envelope is read, what it carries is not: `params`, `result` and `data` stay raw text, and members that the
//! specification does not know go along as the header [`MEMBERS`].

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;
use crate::error::PeerError;
use crate::message::{Message, Subject};

pub mod ids;

/// The text is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The JSON is no message.
pub const INVALID_REQUEST: i64 = -32600;
/// Nobody knows the method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The method does not take these.
pub const INVALID_PARAMS: i64 = -32602;

/// The header with the members of an envelope that the specification does not know, as they were written.
pub const MEMBERS: &str = "jsonrpc-members";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Wants an answer.
    Request {
        /// By which the answer names it.
        id: Id,
        /// What is asked.
        method: Subject,
        /// The raw `params` as body, empty if there are none.
        message: Message,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: Subject,
        /// As above.
        message: Message,
    },
    /// Is one.
    Response {
        /// The request's.
        id: Id,
        /// The raw `result` as body, or the error.
        outcome: Result<Message, PeerError>,
    },
}

/// The id of a request: a JSON string or number as it was written, so that it goes back as it came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id(Bytes);

impl Id {
    /// The id of a response to something that could not be read.
    pub const NULL: Self = Self(Bytes::from_static(b"null"));

    /// A number.
    pub fn number(number: u64) -> Self {
        Self(number.to_string().into())
    }

    /// A raw JSON string or number; `None` for anything else.
    pub fn from_raw(raw: Bytes) -> Option<Self> {
        matches!(raw.first(), Some(b'"' | b'-' | b'0'..=b'9')).then_some(Self(raw))
    }

    /// As it is written.
    pub fn raw(&self) -> &Bytes {
        &self.0
    }

    /// The number, if it is one of [`Id::number`].
    pub fn as_number(&self) -> Option<u64> {
        std::str::from_utf8(&self.0).ok()?.parse().ok()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Why a text is no message, and whom to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPacket {
    /// [`PARSE_ERROR`] or [`INVALID_REQUEST`].
    pub code: i64,
    /// For a person.
    pub message: String,
    /// The request's id, if that much could be read.
    pub id: Option<Id>,
}

impl BadPacket {
    /// The response that tells its sender.
    pub fn response(&self) -> Packet {
        let outcome = Err(PeerError::new(self.code, self.message.clone()));
        Packet::Response { id: self.id.clone().unwrap_or(Id::NULL), outcome }
    }
}

#[derive(Default)]
struct Envelope {
    version: Option<Bytes>,
    id: Option<Bytes>,
    method: Option<Bytes>,
    params: Option<Bytes>,
    result: Option<Bytes>,
    error: Option<Bytes>,
    unknown: BytesMut,
}

impl Packet {
    /// Reads one message. A batch, which only the revision of 2025-03-26 knows, is refused: see [`batch`].
    pub fn parse(text: &Bytes) -> Result<Self, BadPacket> {
        let refuse = |code, message: String| BadPacket { code, message, id: None };
        json::check(text).map_err(|fault| refuse(PARSE_ERROR, format!("the message is no JSON: {fault}")))?;
        match text.trim_ascii_start().first() {
            Some(b'{') => {}
            Some(b'[') => {
                return Err(refuse(INVALID_REQUEST, "a batch is not taken here: send one message".to_owned()));
            }
            _ => return Err(refuse(INVALID_REQUEST, "a message is a JSON object".to_owned())),
        }
        let envelope = Envelope::read(text).map_err(|message| refuse(INVALID_REQUEST, message))?;
        let id = envelope.id.clone().and_then(Id::from_raw);
        envelope.into_packet().map_err(|message| BadPacket { code: INVALID_REQUEST, message, id })
    }

    /// Appends the text, in one line unless a body has line breaks of its own.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Request { id, method, message } => write_call(Some(id), method, message, out),
            Self::Notification { method, message } => write_call(None, method, message, out),
            Self::Response { id, outcome } => write_response(id, outcome.as_ref(), out),
        }
    }

    /// [`write`](Self::write) into a buffer of its own.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write(&mut out);
        out.freeze()
    }
}

/// The messages of a batch; `None` if `text` is no array.
pub fn batch(text: &Bytes) -> Option<Vec<Bytes>> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_slice(text).ok()?;
    Some(items.into_iter().map(|item| text.slice_ref(item.get().as_bytes())).collect())
}

impl Envelope {
    fn read(text: &Bytes) -> Result<Self, String> {
        let mut envelope = Self::default();
        let mut members = json::members(text);
        while let Some(place) = members.next_place() {
            let value = text.slice(place.value.clone());
            let key = json::text(text.get(place.key.clone()).unwrap_or_default()).unwrap_or_default();
            let field = match &*key {
                "jsonrpc" => &mut envelope.version,
                "id" => &mut envelope.id,
                "method" => &mut envelope.method,
                "params" => &mut envelope.params,
                "result" => &mut envelope.result,
                "error" => &mut envelope.error,
                _ => {
                    if !envelope.unknown.is_empty() {
                        envelope.unknown.extend_from_slice(b",");
                    }
                    envelope.unknown.extend_from_slice(text.get(place.key.start..place.value.end).unwrap_or_default());
                    continue;
                }
            };
            // Two parties that take different ones would be talking of different messages.
            if field.replace(value).is_some() {
                return Err(format!("the message has {key:?} twice"));
            }
        }
        Ok(envelope)
    }

    fn into_packet(self) -> Result<Packet, String> {
        if self.version.as_deref() != Some(br#""2.0""#) {
            return Err(r#"a message has "jsonrpc":"2.0""#.to_owned());
        }
        let unknown = self.unknown.freeze();
        let with = |body: Bytes| match unknown.is_empty() {
            true => Message::new(body),
            false => Message::new(body).with_header(MEMBERS, unknown.clone()),
        };
        let id = match self.id {
            None => None,
            Some(raw) if raw == "null" => Some(Id::NULL),
            Some(raw) => Some(Id::from_raw(raw).ok_or("an id is a string or a number")?),
        };
        match (self.method, self.result, self.error) {
            (Some(method), None, None) => {
                let method = json::text(&method).ok_or("a method is a string")?.into_owned();
                let method = Subject::new(method).map_err(|_| "a method is 1 to 1024 bytes of plain text")?;
                let message = match self.params {
                    Some(params) if !matches!(params.first(), Some(b'{' | b'[')) => {
                        return Err("params are an object".to_owned());
                    }
                    params => with(params.unwrap_or_default()),
                };
                match id {
                    None => Ok(Packet::Notification { method, message }),
                    Some(id) if id == Id::NULL => Err("the id of a request is not null".to_owned()),
                    Some(id) => Ok(Packet::Request { id, method, message }),
                }
            }
            (None, Some(result), None) => {
                let id = id.filter(|id| *id != Id::NULL).ok_or("a result has the id of its request")?;
                Ok(Packet::Response { id, outcome: Ok(with(result)) })
            }
            (None, None, Some(error)) => {
                let error = read_error(&error)?;
                Ok(Packet::Response { id: id.unwrap_or(Id::NULL), outcome: Err(error) })
            }
            _ => Err("a message has one of method, result and error".to_owned()),
        }
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

fn read_error(raw: &Bytes) -> Result<PeerError, String> {
    let object: ErrorObject<'_> =
        serde_json::from_slice(raw).map_err(|_| "an error has an integer code and a message".to_owned())?;
    let error = PeerError::new(object.code, object.message);
    Ok(match object.data {
        Some(data) => error.with_data(raw.slice_ref(data.get().as_bytes())),
        None => error,
    })
}

fn write_call(id: Option<&Id>, method: &Subject, message: &Message, out: &mut BytesMut) {
    out.reserve(message.body.len() + method.as_str().len() + 96);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    if let Some(id) = id {
        out.extend_from_slice(br#""id":"#);
        out.extend_from_slice(id.raw());
        out.extend_from_slice(b",");
    }
    out.extend_from_slice(br#""method":"#);
    out.extend_from_slice(&json::quote(method.as_str()));
    if !message.body.is_empty() {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(&message.body);
    }
    close(message, out);
}

fn write_response(id: &Id, outcome: Result<&Message, &PeerError>, out: &mut BytesMut) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.raw());
    match outcome {
        Ok(message) => {
            out.reserve(message.body.len() + 32);
            out.extend_from_slice(br#","result":"#);
            out.extend_from_slice(if message.body.is_empty() { b"{}" } else { &message.body });
            close(message, out);
        }
        Err(error) => {
            out.extend_from_slice(br#","error":{"code":"#);
            out.extend_from_slice(error.code.to_string().as_bytes());
            out.extend_from_slice(br#","message":"#);
            out.extend_from_slice(&json::quote(&error.message));
            if !error.data.is_empty() {
                out.extend_from_slice(br#","data":"#);
                out.extend_from_slice(&error.data);
            }
            out.extend_from_slice(b"}}");
        }
    }
}

fn close(message: &Message, out: &mut BytesMut) {
    if let Some(members) = message.headers.get(MEMBERS) {
        out.extend_from_slice(b",");
        out.extend_from_slice(members);
    }
    out.extend_from_slice(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Packet, BadPacket> {
        Packet::parse(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_it_does_not_know_goes_back_as_it_came() {
        for text in [
            r#"{"jsonrpc":"2.0","id":"a\"1","method":"tools/call","params":{"x": 1.50,"_meta":{"u":[ ]}},"ext":{"a":1},"more":2}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":-7,"result":{"y": [1, 2]},"trace":"t"}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no \"x\"","data":{"z": 1.0}}}"#,
        ] {
            assert_eq!(parse(text).unwrap().to_bytes(), text);
        }
    }

    #[test]
    fn bad_ones_are_told_with_their_id() {
        let code = |text| parse(text).map_err(|bad| (bad.code, bad.id.map(|id| format!("{id:?}"))));
        assert_eq!(code("{"), Err((PARSE_ERROR, None)));
        assert_eq!(code("[]"), Err((INVALID_REQUEST, None)));
        assert_eq!(code(r#"{"jsonrpc":"1.0","id":3,"method":"x"}"#), Err((INVALID_REQUEST, Some("3".to_owned()))));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#), Err((INVALID_REQUEST, None)));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":3,"id":4,"method":"x"}"#), Err((INVALID_REQUEST, None)));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":3}"#), Err((INVALID_REQUEST, Some("3".to_owned()))));
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":3,"method":"x","params":1}"#),
            Err((INVALID_REQUEST, Some("3".to_owned())))
        );
    }

    #[test]
    fn a_batch_is_split_without_a_copy() {
        let text = Bytes::from_static(br#" [{"a":1}, {"b":2}]"#);
        assert_eq!(batch(&text).unwrap(), [&br#"{"a":1}"#[..], br#"{"b":2}"#]);
        assert!(batch(&Bytes::from_static(b"{}")).is_none());
    }
}
