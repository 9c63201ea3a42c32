// SPDX-License-Identifier: Apache-2.0
//! Messages into a buffer that others share, without one of their own on the way.

use bytes::{BufMut, Bytes, BytesMut};

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
        Some(id) => {
            out.put_slice(br#"{"jsonrpc":"2.0","id":"#);
            self::id(id, out);
            out.put_slice(br#","method":"#);
        }
        None => out.put_slice(br#"{"jsonrpc":"2.0","method":"#),
    }
    json::write_quoted(method.as_str(), out);
    if !message.body.is_empty() {
        out.put_slice(br#","params":"#);
        out.put_slice(&message.body);
    }
    close(message, out);
}

pub(crate) fn response(id: &Id, outcome: Result<&Message, &PeerError>, out: &mut BytesMut) {
    out.reserve(96 + outcome.map_or_else(|error| error.message.len() + error.data.len(), |message| message.body.len()));
    out.put_slice(br#"{"jsonrpc":"2.0","id":"#);
    self::id(id, out);
    match outcome {
        Ok(message) => {
            out.put_slice(br#","result":"#);
            out.put_slice(if message.body.is_empty() { b"{}" } else { &message.body });
            close(message, out);
        }
        Err(error) => {
            out.put_slice(br#","error":{"code":"#);
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

pub(super) fn id(id: &Id, out: &mut BytesMut) {
    match &id.0 {
        Written::Number(number) => self::number(*number, out),
        Written::Text(raw) => out.put_slice(raw as &Bytes),
    }
}

fn number(mut number: u64, out: &mut BytesMut) {
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
    out.put_slice(digits.get(digits.len() - length..).unwrap_or_default());
}
