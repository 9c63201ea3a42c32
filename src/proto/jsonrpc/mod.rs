// SPDX-License-Identifier: Apache-2.0
//! JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>): one message to and from its text.
//!
//! The envelope is read, what it carries is not: `params`, `result` and `data` stay raw text, and members that the
//! specification does not know go along as the header [`MEMBERS`].

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::json;
use crate::error::PeerError;
use crate::message::{Message, Subject};

mod envelope;
pub mod ids;
mod usual;
pub(crate) mod write;

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

/// What a message with an id begins with, as nearly everybody writes it.
const FIRST: &[u8; 22] = br#"{"jsonrpc":"2.0","id":"#;

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
pub struct Id(Written);

/// A number that reads back as it is written has no text: most ids are such, and cost neither memory nor a reference.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Written {
    Number(u64),
    Text(Bytes),
}

impl Id {
    /// The id of a response to something that could not be read.
    pub const NULL: Self = Self(Written::Text(Bytes::from_static(b"null")));

    /// A number.
    pub const fn number(number: u64) -> Self {
        Self(Written::Number(number))
    }

    /// A raw JSON string or number; `None` for anything else.
    pub fn from_raw(raw: Bytes) -> Option<Self> {
        match read_number(&raw) {
            Some(number) => Some(Self::number(number)),
            None => matches!(raw.first(), Some(b'"' | b'-' | b'0'..=b'9')).then_some(Self(Written::Text(raw))),
        }
    }

    /// As it is written.
    pub fn raw(&self) -> Bytes {
        match &self.0 {
            Written::Number(number) => number.to_string().into(),
            Written::Text(raw) => raw.clone(),
        }
    }

    /// The number, if it is one of [`Id::number`].
    pub fn as_number(&self) -> Option<u64> {
        match self.0 {
            Written::Number(number) => Some(number),
            Written::Text(_) => None,
        }
    }
}

/// A number of [`Id::number`], written as we write it.
fn read_number(raw: &[u8]) -> Option<u64> {
    if raw.is_empty() || raw.len() > 20 || (raw.len() > 1 && raw.first() == Some(&b'0')) {
        return None;
    }
    raw.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        // 19 digits always fit.
        let number = if raw.len() < 20 { number * 10 } else { number.checked_mul(10)? };
        if digit < 10 { number.checked_add(u64::from(digit)) } else { None }
    })
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw()))
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

impl Packet {
    /// Reads one message, without a copy. A batch, which only the revision of 2025-03-26 knows, is refused: see [`batch`].
    pub fn parse(text: &Bytes) -> Result<Self, BadPacket> {
        match usual::parse(text) {
            Some(packet) => Ok(packet),
            None => envelope::parse(text),
        }
    }

    /// Appends the text, in one line unless a body has line breaks of its own.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Request { id, method, message } => write::request(id, method, message, out),
            Self::Notification { method, message } => write::notification(method, message, out),
            Self::Response { id, outcome } => write::response(id, outcome.as_ref(), out),
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
    fn ids_go_back_as_they_came() {
        for raw in
            ["0", "7", "18446744073709551615", "18446744073709551616", "-1", "1.0", "1e3", "-0", "\"1\"", "\"\\u0031\""]
        {
            let id = Id::from_raw(Bytes::from_static(raw.as_bytes())).unwrap();
            let text = Packet::Response { id: id.clone(), outcome: Ok(Message::default()) }.to_bytes();
            assert_eq!((json::get(&text, &["id"]).unwrap(), &id.raw()[..]), (Bytes::from(raw), raw.as_bytes()));
            assert_eq!(id.as_number().is_some(), raw.parse::<u64>().is_ok());
        }
    }

    #[test]
    fn a_batch_is_split_without_a_copy() {
        let text = Bytes::from_static(br#" [{"a":1}, {"b":2}]"#);
        assert_eq!(batch(&text).unwrap(), [&br#"{"a":1}"#[..], br#"{"b":2}"#]);
        assert!(batch(&Bytes::from_static(b"{}")).is_none());
    }
}
