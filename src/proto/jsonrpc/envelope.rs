// SPDX-License-Identifier: Apache-2.0
//! The members of a message that the specification knows, found on one strict way through its text.
//!
//! Strict, since what a message carries goes on to other peers as it is: here it is known for the last time that it is JSON.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BadPacket, INVALID_REQUEST, Id, MEMBERS, PARSE_ERROR, Packet};
use crate::error::PeerError;
use crate::message::{Message, Subject};
use crate::proto::json::{self, Member};

/// Where each value stands.
#[derive(Default)]
struct Envelope {
    version: Option<Range<usize>>,
    id: Option<Range<usize>>,
    method: Option<Range<usize>>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
    error: Option<Range<usize>>,
    unknown: BytesMut,
    /// The key that is there a second time.
    twice: Option<Range<usize>>,
}

pub(super) fn parse(text: &Bytes) -> Result<Packet, BadPacket> {
    let refuse = |code, message: String| BadPacket { code, message, id: None };
    let mut envelope = Envelope::default();
    json::check_members(text, |member| envelope.put(text, member))
        .map_err(|fault| refuse(PARSE_ERROR, format!("the message is no JSON: {fault}")))?;
    match text.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(b'[') => {
            return Err(refuse(INVALID_REQUEST, "a batch is not taken here: send one message".to_owned()));
        }
        _ => return Err(refuse(INVALID_REQUEST, "a message is a JSON object".to_owned())),
    }
    if let Some(key) = &envelope.twice {
        // Two parties that take different ones would be talking of different messages.
        let key = text.get(key.clone()).and_then(json::text).unwrap_or_default();
        return Err(refuse(INVALID_REQUEST, format!("the message has {key:?} twice")));
    }
    let id = envelope.id.clone();
    envelope.into_packet(text).map_err(|message| BadPacket {
        code: INVALID_REQUEST,
        message: message.to_owned(),
        id: id.and_then(|id| Id::from_raw(text.slice(id))),
    })
}

impl Envelope {
    fn put(&mut self, text: &Bytes, member: Member) {
        let raw = text.get(member.key.clone()).unwrap_or_default();
        let field = match raw {
            br#""jsonrpc""# => Some(&mut self.version),
            br#""id""# => Some(&mut self.id),
            br#""method""# => Some(&mut self.method),
            br#""params""# => Some(&mut self.params),
            br#""result""# => Some(&mut self.result),
            br#""error""# => Some(&mut self.error),
            _ if raw.contains(&b'\\') => self.field(&json::text(raw).unwrap_or_default()),
            _ => None,
        };
        match field {
            Some(field) => {
                if field.replace(member.value).is_some() {
                    self.twice = Some(member.key);
                }
            }
            None => {
                if !self.unknown.is_empty() {
                    self.unknown.extend_from_slice(b",");
                }
                self.unknown.extend_from_slice(text.get(member.key.start..member.value.end).unwrap_or_default());
            }
        }
    }

    /// The field of a key that was written with escapes.
    fn field(&mut self, key: &str) -> Option<&mut Option<Range<usize>>> {
        Some(match key {
            "jsonrpc" => &mut self.version,
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "result" => &mut self.result,
            "error" => &mut self.error,
            _ => return None,
        })
    }

    fn into_packet(self, text: &Bytes) -> Result<Packet, &'static str> {
        let raw = |place: &Range<usize>| text.get(place.clone()).unwrap_or_default();
        if self.version.as_ref().map(raw) != Some(br#""2.0""#) {
            return Err(r#"a message has "jsonrpc":"2.0""#);
        }
        let with = |body: Bytes| match self.unknown.is_empty() {
            true => Message::new(body),
            false => Message::new(body).with_header(MEMBERS, Bytes::copy_from_slice(&self.unknown)),
        };
        let id = match &self.id {
            None => None,
            Some(place) if raw(place) == b"null" => Some(Id::NULL),
            Some(place) => Some(read_id(text, place).ok_or("an id is a string or a number")?),
        };
        match (self.method, self.result, self.error) {
            (Some(method), None, None) => {
                let method = read_method(text, method)?;
                let message = match self.params {
                    Some(params) if !matches!(raw(&params).first(), Some(b'{' | b'[')) => {
                        return Err("params are an object");
                    }
                    params => with(params.map(|params| text.slice(params)).unwrap_or_default()),
                };
                match id {
                    None => Ok(Packet::Notification { method, message }),
                    Some(id) if id == Id::NULL => Err("the id of a request is not null"),
                    Some(id) => Ok(Packet::Request { id, method, message }),
                }
            }
            (None, Some(result), None) => {
                let id = id.filter(|id| *id != Id::NULL).ok_or("a result has the id of its request")?;
                Ok(Packet::Response { id, outcome: Ok(with(text.slice(result))) })
            }
            (None, None, Some(error)) => {
                let error = read_error(&text.slice(error))?;
                Ok(Packet::Response { id: id.unwrap_or(Id::NULL), outcome: Err(error) })
            }
            _ => Err("a message has one of method, result and error"),
        }
    }
}

fn read_id(text: &Bytes, place: &Range<usize>) -> Option<Id> {
    match super::read_number(text.get(place.clone())?) {
        Some(number) => Some(Id::number(number)),
        None => Id::from_raw(text.slice(place.clone())),
    }
}

fn read_method(text: &Bytes, place: Range<usize>) -> Result<Subject, &'static str> {
    const LIMITS: &str = "a method is 1 to 1024 bytes of plain text";
    let raw = text.get(place.clone()).unwrap_or_default();
    match raw {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
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
