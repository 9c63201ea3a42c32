// SPDX-License-Identifier: Apache-2.0
//! The payloads that are more than a body: what opens a stream, header blocks, errors. `docs/wire.md` has the layouts.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use bytestring::ByteString;

use crate::error::{Detail, Error, PeerError, Result};
use crate::message::{Headers, RequestContext, RequestId, Subject, TraceContext};
use crate::plane::{ReplyTo, ResponseConnectionInfo};

/// Bytes of a one-time token: 128 random bits.
pub const TOKEN_LEN: usize = 16;

/// What a stream is opened for. The first message follows in the same payload, except for [`Open::CallHome`].
#[derive(Clone, Debug)]
pub enum Open {
    /// A request; the answer goes where `reply_to` says.
    Request {
        /// Where to.
        subject: Subject,
        /// Id, deadline, trace.
        context: RequestContext,
        /// Where the answer goes. [`ReplyTo::Nothing`] is a notification: its end only says that it was taken.
        reply_to: ReplyTo,
    },
    /// An answer that was asked for elsewhere: the opener sends the items.
    CallHome {
        /// What the caller gave out for this one answer.
        token: [u8; TOKEN_LEN],
    },
}

const REQUEST: u8 = 0;
const NOTIFY: u8 = 1;
const CALL_HOME: u8 = 2;

const HAS_DEADLINE: u8 = 1;
const HAS_TRACE: u8 = 2;
const HAS_REPLY_TO: u8 = 4;
const ID_IS_TEXT: u8 = 8;

/// What a request says of itself, wherever that is kept.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) context: &'a RequestContext,
    pub(crate) reply_to: &'a ReplyTo,
}

/// Bytes of what most requests begin with: kind, bits, id, deadline, and the length of the subject.
pub(super) const USUAL: usize = 24;

impl Asking<'_> {
    /// Writes the fields; the deadline becomes the milliseconds that remain at `now`.
    pub(super) fn encode(self, now: impl FnOnce() -> Instant, out: &mut impl BufMut) {
        let Self { subject, context, reply_to } = self;
        let kind = if matches!(reply_to, ReplyTo::Nothing) { NOTIFY } else { REQUEST };
        let parts = context.id.as_parts();
        let mut bits = if parts.is_none() { ID_IS_TEXT } else { 0 };
        bits |= if context.deadline.is_some() { HAS_DEADLINE } else { 0 };
        bits |= if context.trace.is_some() { HAS_TRACE } else { 0 };
        bits |= if matches!(reply_to, ReplyTo::To(_)) { HAS_REPLY_TO } else { 0 };
        match parts {
            Some((high, low)) => {
                out.put_slice(&[kind, bits]);
                out.put_u64_le(high);
                out.put_u64_le(low);
            }
            None => {
                // At most 128 bytes, by construction.
                let text = context.id.to_string();
                out.put_slice(&[kind, bits, text.len() as u8]);
                out.put_slice(text.as_bytes());
            }
        }
        if let Some(deadline) = context.deadline {
            out.put_u32_le(millis(deadline, now()));
        }
        if let Some(trace) = context.trace {
            out.put_u128_le(trace.trace_id());
            out.put_u64_le(trace.parent_id());
            out.put_u8(trace.flags());
        }
        out.put_u16_le(subject.as_str().len() as u16);
        out.put_slice(subject.as_str().as_bytes());
        if let ReplyTo::To(info) = reply_to {
            let text = info.to_text();
            out.put_u16_le(text.len() as u16);
            out.put_slice(text.as_bytes());
        }
    }

    /// What [`Self::encode`] writes before the subject, which is the last then, at the front of so many bytes, and how many
    /// it is. `None` for requests that say more than most do.
    #[inline]
    pub(super) fn usual(self, now: Instant) -> Option<([u8; USUAL], usize)> {
        let Self { subject, context, reply_to } = self;
        let kind = match reply_to {
            ReplyTo::Inline => REQUEST,
            ReplyTo::Nothing => NOTIFY,
            ReplyTo::To(_) => return None,
        };
        let (high, low) = context.id.as_parts().filter(|_| context.trace.is_none())?;
        let subject_len = (subject.as_str().len() as u16).to_le_bytes();
        let mut head = [0; USUAL];
        head[0] = kind;
        head[2..10].copy_from_slice(&high.to_le_bytes());
        head[10..18].copy_from_slice(&low.to_le_bytes());
        let Some(deadline) = context.deadline else {
            head[18..20].copy_from_slice(&subject_len);
            return Some((head, 20));
        };
        head[1] = HAS_DEADLINE;
        head[18..22].copy_from_slice(&millis(deadline, now).to_le_bytes());
        head[22..].copy_from_slice(&subject_len);
        Some((head, USUAL))
    }

    /// Checks what [`Self::encode`] takes for granted.
    #[inline]
    pub(super) fn validate(self) -> Result<()> {
        let len = self.subject.as_str().len();
        if len > Subject::MAX_LEN || len == 0 {
            return Err(no_subject());
        }
        match self.reply_to {
            ReplyTo::To(info) => validate_reply_to(info),
            _ => Ok(()),
        }
    }
}

#[cold]
fn no_subject() -> Error {
    Error::config(format!("a subject is 1 to {} bytes", Subject::MAX_LEN))
}

#[inline(never)]
fn validate_reply_to(info: &ResponseConnectionInfo) -> Result<()> {
    let got = info.to_text().len();
    if got > ResponseConnectionInfo::MAX_TEXT {
        return Err(Error::too_large("a reply-to", ResponseConnectionInfo::MAX_TEXT as u64, got as u64));
    }
    Ok(())
}

/// What is left at `now`, as it travels.
#[inline]
fn millis(deadline: Instant, now: Instant) -> u32 {
    let left = deadline.saturating_duration_since(now);
    let millis = left.as_secs().saturating_mul(1000).saturating_add(left.subsec_millis().into());
    u32::try_from(millis).unwrap_or(u32::MAX)
}

impl Open {
    /// Writes the fields; the deadline becomes the milliseconds that remain at `now`.
    pub fn encode(&self, now: impl FnOnce() -> Instant, out: &mut impl BufMut) {
        match self {
            Self::CallHome { token } => encode_call_home(token, out),
            Self::Request { subject, context, reply_to } => Asking { subject, context, reply_to }.encode(now, out),
        }
    }

    /// Reads the fields from the front of a payload and leaves the message in it.
    pub fn decode(now: Instant, input: &mut Bytes) -> Result<Self> {
        if input.first() == Some(&CALL_HOME) {
            let token = *input.get(1..).and_then(<[u8]>::first_chunk).ok_or_else(malformed)?;
            input.advance(1 + TOKEN_LEN);
            return Ok(Self::CallHome { token });
        }
        let head = RequestHead::read(now, input)?;
        let RequestHead { context, reply_to, subject_at, subject_len, len } = head;
        let subject = Subject::from_wire(input.slice(subject_at..subject_at + subject_len))?;
        input.advance(len);
        Ok(Self::Request { subject, context, reply_to })
    }
}

/// What stands before a request's message in the payload that opens its stream.
pub(super) struct RequestHead {
    pub(super) context: RequestContext,
    pub(super) reply_to: ReplyTo,
    /// Where the subject stands. It is not looked at.
    pub(super) subject_at: usize,
    pub(super) subject_len: usize,
    /// Bytes of all this.
    pub(super) len: usize,
}

impl RequestHead {
    /// Whether `payload` begins with one.
    #[inline]
    pub(super) fn is_in(payload: &[u8]) -> bool {
        matches!(payload.first(), Some(&(REQUEST | NOTIFY)))
    }

    /// Reads it off the front of `payload`.
    #[inline]
    pub(super) fn read(now: Instant, payload: &[u8]) -> Result<Self> {
        let mut fields = Fields { rest: payload };
        let [kind, bits] = fields.array()?;
        if kind > NOTIFY {
            return Err(malformed());
        }
        let id = if bits & ID_IS_TEXT == 0 {
            RequestId::from_parts(u64::from_le_bytes(fields.array()?), u64::from_le_bytes(fields.array()?))
        } else {
            let len = fields.u8()?;
            RequestId::given(fields.text(len.into())?.to_owned())
        };
        let deadline = match bits & HAS_DEADLINE {
            0 => None,
            _ => now.checked_add(Duration::from_millis(u32::from_le_bytes(fields.array()?).into())),
        };
        let trace = match bits & HAS_TRACE {
            0 => None,
            _ => TraceContext::new(
                u128::from_le_bytes(fields.array()?),
                u64::from_le_bytes(fields.array()?),
                fields.u8()?,
            ),
        };
        let subject_len = usize::from(u16::from_le_bytes(fields.array()?));
        let subject_at = payload.len() - fields.rest.len();
        fields.take(subject_len)?;
        let reply_to = match (kind, bits & HAS_REPLY_TO) {
            (NOTIFY, _) => ReplyTo::Nothing,
            (_, 0) => ReplyTo::Inline,
            _ => {
                let len = u16::from_le_bytes(fields.array()?);
                ReplyTo::To(Box::new(ResponseConnectionInfo::from_text(fields.text(len.into())?)?))
            }
        };
        let len = payload.len() - fields.rest.len();
        Ok(Self { context: RequestContext { id, deadline, trace }, reply_to, subject_at, subject_len, len })
    }
}

/// Reads fields off the front of a payload, by reference: the payload's count of holders is touched once per part that is
/// kept, not once per field.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(field)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk().ok_or_else(malformed)?;
        self.rest = rest;
        Ok(*field)
    }

    #[inline]
    fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn text(&mut self, len: usize) -> Result<&'a str> {
        std::str::from_utf8(self.take(len)?).map_err(|_| malformed())
    }
}

/// Writes an [`Open::CallHome`], which needs no clock.
pub fn encode_call_home(token: &[u8; TOKEN_LEN], out: &mut impl BufMut) {
    out.put_u8(CALL_HOME);
    out.put_slice(token);
}

/// Writes a header block: a count, then name and value of each, with their lengths.
pub fn encode_headers(headers: &Headers, out: &mut impl BufMut) {
    out.put_u16_le(headers.len() as u16);
    for (name, value) in headers.iter() {
        out.put_u16_le(name.len() as u16);
        out.put_slice(name.as_bytes());
        out.put_u32_le(value.len() as u32);
        out.put_slice(value);
    }
}

/// Checks what [`encode_headers`] takes for granted. The block must fit into one frame: 32 KiB.
pub fn validate_headers(headers: &Headers) -> Result<()> {
    const LIMIT: usize = 32 << 10;
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    if headers.len() > Headers::MAX_COUNT {
        return Err(Error::too_large("a count of headers", Headers::MAX_COUNT as u64, headers.len() as u64));
    }
    if size > LIMIT {
        return Err(Error::too_large("a header block", LIMIT as u64, size as u64));
    }
    Ok(())
}

/// Reads a header block from the front of a payload.
pub fn decode_headers(input: &mut Bytes) -> Result<Headers> {
    let count = take(input, 2)?.get_u16_le();
    if usize::from(count) > Headers::MAX_COUNT {
        return Err(Error::too_large("a count of headers", Headers::MAX_COUNT as u64, count.into()));
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let len = take(input, 2)?.get_u16_le();
        let name = ByteString::try_from(take(input, len.into())?).map_err(|_| malformed())?;
        let len = take(input, 4)?.get_u32_le();
        headers.append(name, take(input, len as usize)?);
    }
    Ok(headers)
}

/// Writes a notification's subject.
pub fn encode_subject(subject: &Subject, out: &mut impl BufMut) {
    out.put_u16_le(subject.as_str().len() as u16);
    out.put_slice(subject.as_str().as_bytes());
}

/// Reads a notification's subject from the front of a payload.
pub fn decode_subject(input: &mut Bytes) -> Result<Subject> {
    let len = take(input, 2)?.get_u16_le();
    Subject::from_wire(take(input, len.into())?)
}

/// The most bytes of an error that travel; more is cut off.
const MAX_ERROR: usize = 16 << 10;

/// Writes an error: code, message with its length, data.
pub fn encode_error(error: &PeerError, out: &mut impl BufMut) {
    let message = &error.message.as_bytes()[..error.message.floor_char_boundary(MAX_ERROR)];
    out.put_i64_le(error.code);
    out.put_u32_le(message.len() as u32);
    out.put_slice(message);
    // Half a JSON text is worse than none.
    if error.data.len() <= MAX_ERROR {
        out.put_slice(&error.data);
    }
}

/// Reads an error.
pub fn decode_error(mut input: Bytes) -> Result<PeerError> {
    let code = take(&mut input, 8)?.get_i64_le();
    let len = take(&mut input, 4)?.get_u32_le();
    let message = take(&mut input, len as usize)?;
    Ok(PeerError::new(code, String::from_utf8_lossy(&message)).with_data(input))
}

fn take(input: &mut Bytes, len: usize) -> Result<Bytes> {
    if input.len() < len { Err(malformed()) } else { Ok(input.split_to(len)) }
}

#[cold]
fn malformed() -> Error {
    Error::protocol("a payload that ends too early or has an unknown form").with_detail(Detail::Malformed)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::target::TransportAddress;

    #[test]
    fn a_request_round_trips() {
        let now = Instant::now();
        let mut context = RequestContext::new();
        context.deadline = Some(now + Duration::from_millis(1500));
        context.trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let info = ResponseConnectionInfo::new(TransportAddress::tcp("h:1"), &context);
        for reply_to in [ReplyTo::Inline, ReplyTo::Nothing, ReplyTo::To(Box::new(info))] {
            for id in [RequestId::unique(), RequestId::given("theirs")] {
                let context = RequestContext { id, ..context.clone() };
                let open = Open::Request { subject: Subject::from_static("a/b"), context, reply_to: reply_to.clone() };
                let mut wire = BytesMut::new();
                open.encode(|| now, &mut wire);
                wire.extend_from_slice(b"body");
                let mut wire = wire.freeze();
                let back = Open::decode(now, &mut wire).unwrap();
                assert_eq!(format!("{back:?}"), format!("{open:?}"));
                assert_eq!(&wire[..], b"body");
            }
        }
    }

    #[test]
    fn what_most_requests_begin_with_is_what_encode_writes() {
        let now = Instant::now();
        let subject = Subject::from_static("a/b");
        for (deadline, reply_to) in
            [(None, ReplyTo::Inline), (Some(1500), ReplyTo::Nothing), (Some(1 << 50), ReplyTo::Inline)]
        {
            let mut context = RequestContext::new();
            context.deadline = deadline.map(|millis| now + Duration::from_millis(millis));
            let asking = Asking { subject: &subject, context: &context, reply_to: &reply_to };
            let mut wire = Vec::new();
            asking.encode(|| now, &mut wire);
            let (head, len) = asking.usual(now).unwrap();
            assert_eq!([&head[..len], b"a/b"].concat(), wire);
            context.trace = TraceContext::new(1, 2, 3);
            assert!(Asking { subject: &subject, context: &context, reply_to: &reply_to }.usual(now).is_none());
        }
    }

    #[test]
    fn errors_and_headers_round_trip() {
        let error = PeerError::new(-32602, "bad ü").with_data(&b"{\"x\": [1]}"[..]);
        let mut wire = BytesMut::new();
        encode_error(&error, &mut wire);
        assert_eq!(decode_error(wire.freeze()).unwrap(), error);
        let mut headers = Headers::new();
        headers.append("a", &b"\xff"[..]);
        headers.append("A", &b""[..]);
        let mut wire = BytesMut::new();
        encode_headers(&headers, &mut wire);
        assert_eq!(decode_headers(&mut wire.freeze()).unwrap(), headers);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            let _ = Open::decode(Instant::now(), &mut bytes.clone());
            let _ = decode_headers(&mut bytes.clone());
            let _ = decode_subject(&mut bytes.clone());
            let _ = decode_error(bytes);
        }
    }
}
