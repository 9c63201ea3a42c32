// SPDX-License-Identifier: Apache-2.0
//! A [`Request`] as the head of an HTTP request, and back.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::names::{DEADLINE, HEADER_PREFIX, HEADERS, MAX_HEAD, REPLY_TO, REQUEST_ID, TRACEPARENT};
use crate::config::StreamFormat;
use crate::error::{Error, Result};
use crate::message::{Headers, Message, Request, RequestContext, RequestId, Subject, TraceContext};
use crate::plane::{ReplyTo, ResponseConnectionInfo};
use crate::proto::body::media_type;
use crate::proto::item_json;

/// All but the unreserved characters of RFC 3986: a subject is one segment of the path, whatever it holds.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The subject as a segment of a path.
pub(super) fn encode_subject(subject: &Subject) -> String {
    match subject.as_str() {
        // Segments that URL parsers resolve away.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        text => utf8_percent_encode(text, SEGMENT).to_string(),
    }
}

/// The subject that the rest of a path names. Slashes may be written as they are.
pub(super) fn decode_subject(rest: &str) -> Result<Subject> {
    let text = percent_decode_str(rest).decode_utf8().map_err(|_| Error::protocol("the path is not UTF-8"))?;
    Subject::new(text.into_owned()).map_err(|error| Error::protocol(error.to_string()))
}

/// The headers of a request; `format` is asked for where the answer is to be inline.
pub(super) fn write(request: &Request, reply_to: &ReplyTo, format: StreamFormat, now: Instant) -> Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(8);
    match reply_to {
        ReplyTo::Inline => drop(headers.insert(ACCEPT, HeaderValue::from_static(media_type(format)))),
        ReplyTo::Nothing => drop(headers.insert(REPLY_TO, HeaderValue::from_static("none"))),
        ReplyTo::To(info) => insert(&mut headers, REPLY_TO, info.to_text())?,
    }
    match request.context.id.as_parts() {
        Some(parts) => insert(&mut headers, REQUEST_ID, id_text(parts))?,
        None => insert(&mut headers, REQUEST_ID, request.context.id.to_string())?,
    }
    if let Some(remaining) = request.context.remaining(now) {
        // A deadline of zero would be said to have passed already: round up.
        let millis = remaining.as_nanos().div_ceil(1_000_000);
        let value = HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX));
        // What is left of a whole number of seconds is likely to be said again, anything else is not.
        headers.insert(DEADLINE, if millis % 1000 == 0 { value } else { once(value) });
    }
    if let Some(trace) = &request.context.trace {
        insert(&mut headers, TRACEPARENT, trace.to_string())?;
    }
    if !request.message.headers.is_empty() {
        if request.message.headers.len() > Headers::MAX_COUNT {
            let count = request.message.headers.len() as u64;
            return Err(Error::too_large("a list of headers", Headers::MAX_COUNT as u64, count));
        }
        let mut json = BytesMut::new();
        item_json::write(&item_json::header_list(&request.message.headers), &mut json);
        insert(&mut headers, HEADERS, &json[..])?;
    }
    // The measure of HTTP/2 (RFC 9113, section 6.5.2), with room for the request line.
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if size > MAX_HEAD - 4096 {
        return Err(Error::too_large("the head of the request", MAX_HEAD as u64 - 4096, size as u64)
            .with_hint("put what is large into the body"));
    }
    Ok(headers)
}

/// Digits of half an id.
const HALF: usize = 16;

/// What `RequestId` displays, without the machinery of formatting: every request has one.
fn id_text((high, low): (u64, u64)) -> [u8; 2 * HALF + 1] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 2 * HALF + 1];
    let (first, rest) = text.split_at_mut(HALF);
    let second = rest.get_mut(1..).unwrap_or_default();
    for (mut bits, half) in [(high, first), (low, second)] {
        for digit in half.iter_mut().rev() {
            *digit = DIGITS[(bits & 15) as usize];
            bits >>= 4;
        }
    }
    text
}

/// The id that a peer gave. One of ours is kept as the numbers that it is.
fn read_id(text: &str) -> RequestId {
    let number = |half: &[u8]| {
        half.iter().try_fold(0_u64, |number, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some(number << 4 | u64::from(value))
        })
    };
    let parts = match text.as_bytes().split_at_checked(HALF) {
        Some((high, [b'-', low @ ..])) if low.len() == HALF => number(high).zip(number(low)),
        _ => None,
    };
    match parts {
        Some((high, low)) => RequestId::from_parts(high, low),
        None => RequestId::given(text.to_owned()),
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: impl AsRef<[u8]>) -> Result<()> {
    let value = HeaderValue::from_bytes(text.as_ref())
        .map_err(|error| Error::config(format!("no value for the header {name}")).with_source(error))?;
    headers.insert(name, once(value));
    Ok(())
}

/// A value that does not come twice on a link. HTTP/2 would remember it in both ends' tables, and compare the next one with
/// all that are there; so would whoever passes it on.
pub(super) fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Where the answer to a request with these headers goes.
pub(super) fn read_reply_to(headers: &HeaderMap) -> Result<ReplyTo> {
    match headers.get(REPLY_TO).map(HeaderValue::as_bytes) {
        None => Ok(ReplyTo::Inline),
        Some(b"none") => Ok(ReplyTo::Nothing),
        Some(text) => ResponseConnectionInfo::from_text(utf8(&REPLY_TO, text)?).map(|info| ReplyTo::To(Box::new(info))),
    }
}

/// The request that these headers and `body` make. `longest` stands for an absent deadline and bounds a given one.
pub(super) fn read(
    headers: &HeaderMap,
    subject: Subject,
    body: Bytes,
    now: Instant,
    longest: Duration,
) -> Result<Request> {
    let said = Said::of(headers);
    let remaining = match said.deadline {
        None => longest,
        Some(value) => {
            let millis = value.to_str().ok().and_then(|text| text.parse().ok());
            millis.map(Duration::from_millis).ok_or_else(|| {
                Error::protocol(format!("{DEADLINE} is no number of milliseconds")).with_hint("send digits only")
            })?
        }
    };
    let context = RequestContext {
        id: said.id.and_then(|value| value.to_str().ok()).map_or_else(RequestId::unique, read_id),
        deadline: now.checked_add(remaining.min(longest)),
        // By the recommendation's section 3.2, a malformed one is as good as none.
        trace: said.trace.and_then(|value| value.to_str().ok()).and_then(TraceContext::parse),
    };
    let message = Message { headers: said.message_headers(headers)?, body };
    Ok(Request::new(subject, message).with_context(context))
}

/// The headers that mean something to us, found in one pass. Of several with one name the first counts.
#[derive(Default)]
struct Said<'a> {
    deadline: Option<&'a HeaderValue>,
    id: Option<&'a HeaderValue>,
    trace: Option<&'a HeaderValue>,
    list: Option<&'a HeaderValue>,
    has_prefixed: bool,
}

impl<'a> Said<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                name if name == REQUEST_ID.as_str() => &mut said.id,
                name if name == DEADLINE.as_str() => &mut said.deadline,
                name if name == TRACEPARENT.as_str() => &mut said.trace,
                name if name == HEADERS.as_str() => &mut said.list,
                name => {
                    said.has_prefixed |= name.starts_with(HEADER_PREFIX);
                    continue;
                }
            };
            place.get_or_insert(value);
        }
        said
    }

    fn message_headers(&self, headers: &HeaderMap) -> Result<Headers> {
        let mut own = match self.list {
            Some(json) => item_json::parse_headers(json.as_bytes())
                .map_err(|error| Error::protocol(format!("{HEADERS} is malformed")).with_source(error))?,
            None => Headers::new(),
        };
        if self.has_prefixed {
            for (name, value) in headers {
                if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
                    own.append(name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
                }
            }
        }
        Ok(own)
    }
}

pub(super) fn utf8<'a>(name: &HeaderName, value: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(value).map_err(|_| Error::protocol(format!("{name} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::target::TransportAddress;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_request_survives_the_head() {
        let now = Instant::now();
        let context = RequestContext {
            id: RequestId::given("abc"),
            deadline: Some(now + Duration::from_millis(1500)),
            trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        };
        let message = Message::new("body")
            .with_header("Tenant", "a b ")
            .with_header("bin", &b"\xff\x7f\n"[..])
            .with_header("Tenant", "ü");
        let request = Request::new(Subject::from_static("tools/call"), message).with_context(context);
        let info = ResponseConnectionInfo::new(TransportAddress::tcp("h:1"), &request.context);
        let reply_to = ReplyTo::To(Box::new(info));
        let headers = write(&request, &reply_to, StreamFormat::Sse, now).unwrap();
        let subject = decode_subject(&encode_subject(&request.subject)).unwrap();
        let read = read(&headers, subject, Bytes::from_static(b"body"), now, HOUR).unwrap();
        assert_eq!(read.subject, request.subject);
        assert_eq!(read.message, request.message);
        assert_eq!(read.context.id, request.context.id);
        assert_eq!(read.context.deadline, request.context.deadline);
        assert_eq!(read.context.trace, request.context.trace);
        assert_eq!(read_reply_to(&headers).unwrap(), reply_to);
    }

    #[test]
    fn ids_are_written_and_read_as_ever() {
        for id in [RequestId::unique(), RequestId::from_parts(0, u64::MAX), RequestId::from_parts(0xab << 56, 1)] {
            let text = id_text(id.as_parts().unwrap());
            let text = std::str::from_utf8(&text).unwrap();
            assert_eq!(text, id.to_string());
            assert_eq!(read_id(text), id);
        }
        for text in ["0123456789abcdef_0123456789abcdef", "0123456789ABCDEF-0123456789abcdef", "0-0", "", "a b"] {
            assert_eq!(read_id(text).as_parts().is_some(), RequestId::given(text).as_parts().is_some(), "{text}");
        }
    }

    #[test]
    fn any_subject_is_one_segment_of_a_path() {
        for text in ["words", "tools/call", "a b%2F?#", "ä", "..", ".", "a..b"] {
            let subject = Subject::new(text).unwrap();
            let encoded = encode_subject(&subject);
            assert!(!encoded.contains('/') && encoded != ".." && encoded != ".", "{encoded}");
            assert_eq!(decode_subject(&encoded).unwrap(), subject);
        }
        assert_eq!(decode_subject("tools/call").unwrap().as_str(), "tools/call");
        assert!(decode_subject("%ff").is_err() && decode_subject("").is_err() && decode_subject("%00").is_err());
    }

    #[test]
    fn what_people_send_with_curl_is_read_too() {
        let mut headers = HeaderMap::new();
        headers.insert("x-biplane-h-tenant", HeaderValue::from_static("a"));
        let subject = Subject::from_static("x");
        let request = read(&headers, subject, Bytes::new(), Instant::now(), HOUR).unwrap();
        assert_eq!(request.message.headers.get_str("tenant"), Some("a"));
        assert!(request.context.deadline.is_some());
    }

    #[test]
    fn malformed_headers_are_refused() {
        for (name, value) in [(DEADLINE, "-1"), (DEADLINE, "soon"), (HEADERS, "{}"), (HEADERS, "[{\"name\":\"a\"}]")] {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            let error = read(&headers, Subject::from_static("x"), Bytes::new(), Instant::now(), HOUR).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{value}");
        }
        let headers = HeaderMap::from_iter([(REPLY_TO, HeaderValue::from_static("{\"address\": 1}"))]);
        assert_eq!(read_reply_to(&headers).unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn a_head_over_the_limit_is_refused_before_it_is_sent() {
        let message = Message::new("").with_header("big", vec![b'x'; MAX_HEAD]);
        let request = Request::new(Subject::from_static("x"), message);
        let error = write(&request, &ReplyTo::Inline, StreamFormat::Sse, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
