// SPDX-License-Identifier: Apache-2.0
//! Messages into a buffer that others share, without one of their own on the way.

use bytes::BytesMut;

use super::{FIRST, Id, MEMBERS, Written};
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
    let has_params = !message.body.is_empty();
    let mut start = Start::default();
    match id.and_then(|id| start.call(id, method, has_params)) {
        Some(()) => start.append_to(out),
        None => begin_call(id, method, has_params, out),
    }
    out.extend_from_slice(&message.body);
    close(message, out);
}

#[inline(never)]
fn begin_call(id: Option<&Id>, method: &Subject, has_params: bool, out: &mut BytesMut) {
    match id {
        Some(id) => begin(id, br#","method":""#, out),
        None => out.extend_from_slice(br#"{"jsonrpc":"2.0","method":""#),
    }
    json::write_escaped(method.as_str(), out);
    out.extend_from_slice(if has_params { br#"","params":"# } else { b"\"" });
}

/// The members that come first, up to the value of the one behind the id.
#[inline(always)]
fn begin<const N: usize>(id: &Id, next: &[u8; N], out: &mut BytesMut) {
    const { assert!(FIRST.len() + 8 + N <= LENGTH) };
    let mut start = Start::default();
    if start.id(id).is_some() {
        start.put(next);
        return start.append_to(out);
    }
    out.extend_from_slice(FIRST);
    match &id.0 {
        Written::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Written::Text(raw) => out.extend_from_slice(raw),
    }
    out.extend_from_slice(next);
}

/// A multiple of what is copied at once, and enough for all that is put into a [`Start`]: 22, 8, 11, 16 and 11 bytes.
const LENGTH: usize = 80;

/// What a message begins with, put together beside the buffer: what is appended to that in small pieces costs more for
/// each of them than its bytes do.
struct Start {
    text: [u8; LENGTH],
    length: usize,
}

impl Default for Start {
    fn default() -> Self {
        Self { text: [0; LENGTH], length: 0 }
    }
}

impl Start {
    /// Up to the id, if that is a number of at most eight digits.
    #[inline(always)]
    fn id(&mut self, id: &Id) -> Option<()> {
        let Written::Number(number @ ..100_000_000) = id.0 else { return None };
        self.put(FIRST);
        let (digits, length) = eight_digits(number as u32);
        self.put(&digits);
        self.length -= digits.len() - length;
        Some(())
    }

    /// All that is before the params, if the method is as long as most are, and plain.
    #[inline(always)]
    fn call(&mut self, id: &Id, method: &Subject, has_params: bool) -> Option<()> {
        let name @ 8..=16 = method.as_str().len() else { return None };
        let (first, last) = (method.as_bytes().first_chunk::<8>()?, method.as_bytes().last_chunk::<8>()?);
        if json::first_special(first).is_some() || json::first_special(last).is_some() {
            return None;
        }
        self.id(id)?;
        self.put(br#","method":""#);
        // In two words that overlap.
        self.put(first);
        self.length -= 2 * 8 - name;
        self.put(last);
        match has_params {
            true => self.put(br#"","params":"#),
            false => self.put(b"\""),
        }
        Some(())
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, part: &[u8; N]) {
        if let Some(place) = self.text.get_mut(self.length..self.length + N) {
            place.copy_from_slice(part);
            self.length += N;
        }
    }

    /// Copies more than there is and takes it back: to copy a number of bytes that is known beforehand takes no call.
    #[inline(always)]
    fn append_to(&self, out: &mut BytesMut) {
        let before = out.len();
        out.extend_from_slice(&self.text);
        out.truncate(before + self.length);
    }
}

pub(crate) fn response(id: &Id, outcome: Result<&Message, &PeerError>, out: &mut BytesMut) {
    out.reserve(96 + outcome.map_or_else(|error| error.message.len() + error.data.len(), |message| message.body.len()));
    match outcome {
        Ok(message) => {
            begin(id, br#","result":"#, out);
            out.extend_from_slice(if message.body.is_empty() { b"{}" } else { &message.body });
            close(message, out);
        }
        Err(error) => {
            begin(id, br#","error":{"code":"#, out);
            out.extend_from_slice(error.code.to_string().as_bytes());
            out.extend_from_slice(br#","message":"#);
            json::write_quoted(&error.message, out);
            if !error.data.is_empty() {
                out.extend_from_slice(br#","data":"#);
                out.extend_from_slice(&error.data);
            }
            out.extend_from_slice(b"}}");
        }
    }
}

#[inline(always)]
fn close(message: &Message, out: &mut BytesMut) {
    if !message.headers.is_empty() {
        put_members(message, out);
    }
    out.extend_from_slice(b"}");
}

#[cold]
fn put_members(message: &Message, out: &mut BytesMut) {
    if let Some(members) = message.headers.get(MEMBERS) {
        out.extend_from_slice(b",");
        out.extend_from_slice(members);
    }
}

/// The digits of a number that has at most eight, and how many they are; behind them is nothing of use.
#[inline(always)]
fn eight_digits(number: u32) -> ([u8; 8], usize) {
    // All of them at once, each in a byte: halves of four digits, of those halves of two, and of those the digits. To
    // multiply and shift is to divide, exactly for numbers as small as these.
    let high = number / 10_000;
    let four = u64::from(high) | u64::from(number - high * 10_000) << 32;
    let high = ((four * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let two = high | (four - high * 100) << 16;
    let high = ((two * 103) >> 10) & 0x000F_000F_000F_000F;
    let one = high | (two - high * 10) << 8;
    // The first is in the lowest byte. At least the last one is written.
    let zeros = (one | 1 << 56).trailing_zeros() & !7;
    (((one | 0x3030_3030_3030_3030) >> zeros).to_le_bytes(), 8 - zeros as usize / 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digits(number: u32) -> String {
        let (digits, length) = eight_digits(number);
        String::from_utf8(digits.get(..length).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn digits_at_their_edges() {
        for power in 0..8 {
            for number in [10u32.pow(power) - 1, 10u32.pow(power), 10u32.pow(power + 1) - 1] {
                assert_eq!(digits(number), number.to_string());
            }
        }
        (0..20_000).for_each(|number| assert_eq!(digits(number), number.to_string()));
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_standard_library(number in 0u32..100_000_000) {
            prop_assert_eq!(digits(number), number.to_string());
        }

        /// Methods and ids of every length, plain and not.
        #[test]
        fn requests_say_what_they_are_made_of(
            method in "[ -~é]{1,24}", number: u64, shift in 0..64, params in prop::option::of(Just("{\"a\":[1]}")),
        ) {
            let message = Message::new(params.unwrap_or_default());
            let mut out = BytesMut::new();
            request(&Id::number(number >> shift), &Subject::new(method.clone()).unwrap(), &message, &mut out);
            let mut expected = serde_json::json!({"jsonrpc": "2.0", "id": number >> shift, "method": method});
            if params.is_some() {
                expected["params"] = serde_json::json!({"a": [1]});
            }
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), expected);
        }

        /// However long a number is.
        #[test]
        fn ids_are_written_as_numbers_are(number: u64, shift in 0..64) {
            let mut out = BytesMut::new();
            begin(&Id::number(number >> shift), b",", &mut out);
            let expected = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},", number >> shift);
            prop_assert_eq!(out, expected.as_bytes());
        }
    }
}
