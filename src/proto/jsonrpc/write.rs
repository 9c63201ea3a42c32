// SPDX-License-Identifier: Apache-2.0
//! Messages into a buffer that others share, without one of their own on the way.

use bytes::{BufMut, BytesMut};

use super::{Id, MEMBERS, Written};
use crate::error::PeerError;
use crate::message::{Message, Subject};
use crate::proto::json;

pub(crate) fn request(id: &Id, method: &Subject, message: &Message, out: &mut BytesMut) {
    call(Some(id), method, message, out);
}

pub(crate) fn notification(method: &Subject, message: &Message, out: &mut BytesMut) {
    call(None, method, message, out);
}

fn call(id: Option<&Id>, method: &Subject, message: &Message, out: &mut BytesMut) {
    out.reserve(message.body.len() + method.as_str().len() + 96);
    match id {
        Some(id) => begin(id, br#","method":""#, out),
        None => out.put_slice(br#"{"jsonrpc":"2.0","method":""#),
    }
    json::write_escaped(method.as_str(), out);
    match message.body.is_empty() {
        true => out.put_slice(b"\""),
        false => {
            out.put_slice(br#"","params":"#);
            out.put_slice(&message.body);
        }
    }
    close(message, out);
}

/// The members that come first, up to the value of the one behind the id.
#[inline]
fn begin<const N: usize>(id: &Id, next: &[u8; N], out: &mut BytesMut) {
    const FIRST: &[u8; 22] = br#"{"jsonrpc":"2.0","id":"#;
    const { assert!(FIRST.len() + 20 + N <= 64) };
    match &id.0 {
        // In one piece: what is appended in small ones costs more for each than its bytes.
        Written::Number(number) => {
            let (digits, length) = digits(*number);
            let mut text = [0; 64];
            let mut at = 0;
            for part in [&FIRST[..], digits.get(digits.len() - length..).unwrap_or_default(), next] {
                if let Some(place) = text.get_mut(at..at + part.len()) {
                    place.copy_from_slice(part);
                    at += part.len();
                }
            }
            out.put_slice(text.get(..at).unwrap_or_default());
        }
        Written::Text(raw) => {
            out.put_slice(FIRST);
            out.put_slice(raw);
            out.put_slice(next);
        }
    }
}

pub(crate) fn response(id: &Id, outcome: Result<&Message, &PeerError>, out: &mut BytesMut) {
    out.reserve(96 + outcome.map_or_else(|error| error.message.len() + error.data.len(), |message| message.body.len()));
    match outcome {
        Ok(message) => {
            begin(id, br#","result":"#, out);
            out.put_slice(if message.body.is_empty() { b"{}" } else { &message.body });
            close(message, out);
        }
        Err(error) => {
            begin(id, br#","error":{"code":"#, out);
            out.put_slice(error.code.to_string().as_bytes());
            out.put_slice(br#","message":"#);
            json::write_quoted(&error.message, out);
            if !error.data.is_empty() {
                out.put_slice(br#","data":"#);
                out.put_slice(&error.data);
            }
            out.put_slice(b"}}");
        }
    }
}

fn close(message: &Message, out: &mut BytesMut) {
    if let Some(members) = message.headers.get(MEMBERS) {
        out.put_slice(b",");
        out.put_slice(members);
    }
    out.put_slice(b"}");
}

/// The digits at the end of the array, and how many they are.
#[inline]
fn digits(mut number: u64) -> ([u8; 20], usize) {
    let mut digits = [0; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    (digits, length)
}
