// SPDX-License-Identifier: Apache-2.0
//! Bytes, headers and errors as JSON, wherever HTTP needs them: lines of ndjson, events of SSE, response bodies, headers.
//!
//! Bytes are `"text"` where they are UTF-8 whose escapes do not double them, else `"base64"`; so the encoded form is
//! bounded by the item's size whatever it holds. Headers are a list, because order and duplicates count:
//! `[{"name": "a", "text": "b"}, {"name": "c", "base64": "AA=="}]`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Detail, Error, PeerError, Result};
use crate::message::Headers;

/// Bytes as one of two members, of which exactly one is present.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Payload<T> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    text: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

fn none<T>() -> Option<T> {
    None
}

impl<'a> Payload<&'a str> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        match readable(bytes) {
            Some(text) => Self { text: Some(text), base64: None },
            None => Self { text: None, base64: Some(STANDARD.encode(bytes)) },
        }
    }
}

impl Payload<String> {
    pub(crate) fn new(text: Option<String>, base64: Option<String>) -> Self {
        Self { text, base64 }
    }

    /// The bytes; `None` if neither member is there.
    pub(crate) fn into_bytes(self) -> Result<Option<Bytes>> {
        match (self.text, self.base64) {
            (Some(_), Some(_)) => Err(malformed("both text and base64")),
            (Some(text), None) => Ok(Some(Bytes::from(text))),
            (None, Some(base64)) => decode_base64(base64.as_bytes()).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The text of `bytes`, if it is UTF-8 that JSON does not more than double.
fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let escapes: usize = bytes
        .iter()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
            // DEL is no character of an HTTP header, and JSON would leave it as it is.
            0x7f => bytes.len() + 1,
            0..=0x1f => 5,
            _ => 0,
        })
        .sum();
    (escapes <= bytes.len()).then_some(text)
}

/// Base64 with padding (RFC 4648, section 4).
pub(crate) fn decode_base64(text: &[u8]) -> Result<Bytes> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| malformed("bad base64").with_source(error))
}

/// Appends base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header<T> {
    name: T,
    #[serde(flatten)]
    value: Payload<T>,
}

/// Headers in their JSON form, to serialise.
pub(crate) fn header_list(headers: &Headers) -> Vec<Header<&str>> {
    headers.iter().map(|(name, value)| Header { name: &**name, value: Payload::of(value) }).collect()
}

/// Headers from their JSON form.
pub(crate) fn read_header_list(list: Vec<Header<String>>) -> Result<Headers> {
    if list.len() > Headers::MAX_COUNT {
        return Err(Error::too_large("a list of headers", Headers::MAX_COUNT as u64, list.len() as u64));
    }
    let mut headers = Headers::new();
    for header in list {
        let value = header.value.into_bytes()?.ok_or_else(|| malformed("a header without a value"))?;
        headers.append(header.name, value);
    }
    Ok(headers)
}

/// Headers from JSON text.
pub(crate) fn parse_headers(json: &[u8]) -> Result<Headers> {
    read_header_list(parse(json)?)
}

/// `{code, message, data}`. `data` is the peer's JSON byte for byte; where a line cannot hold it (it has line breaks, or is
/// no JSON at all) it is base64 in `data64`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorShape<M, D> {
    code: i64,
    message: M,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    data: Option<D>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data64: Option<String>,
}

/// As it is read.
pub(crate) type ErrorText = ErrorShape<String, Box<RawValue>>;

impl<'a> ErrorShape<&'a str, &'a RawValue> {
    pub(crate) fn of(error: &'a PeerError) -> Self {
        let one_line = !error.data.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        let data = if one_line { serde_json::from_slice::<&RawValue>(&error.data).ok() } else { None };
        // Leading and trailing blanks are no part of a `RawValue`.
        let data = data.filter(|raw| raw.get().len() == error.data.len());
        let data64 = (data.is_none() && !error.data.is_empty()).then(|| STANDARD.encode(&error.data));
        Self { code: error.code, message: &error.message, data, data64 }
    }
}

impl TryFrom<ErrorText> for PeerError {
    type Error = Error;

    fn try_from(shape: ErrorText) -> Result<Self> {
        let data = match (shape.data, shape.data64) {
            (_, Some(base64)) => decode_base64(base64.as_bytes())?,
            (Some(raw), None) => Bytes::from(String::from(Box::<str>::from(raw))),
            (None, None) => Bytes::new(),
        };
        Ok(Self::new(shape.code, shape.message).with_data(data))
    }
}

/// An error as JSON text.
pub fn write_error(error: &PeerError, out: &mut BytesMut) {
    write(&ErrorShape::of(error), out);
}

/// An error from JSON text.
pub fn parse_error(json: &[u8]) -> Result<PeerError> {
    parse::<ErrorText>(json)?.try_into()
}

/// Appends JSON on one line.
pub(crate) fn write(value: &impl Serialize, out: &mut BytesMut) {
    // The values are structs of strings and numbers and the writer grows: neither can fail.
    let written = serde_json::to_writer(out.writer(), value);
    debug_assert!(written.is_ok());
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| malformed("bad JSON").with_source(error))
}

pub(crate) fn malformed(what: &str) -> Error {
    Error::protocol(format!("the body of the answer is malformed: {what}")).with_detail(Detail::Malformed)
}
