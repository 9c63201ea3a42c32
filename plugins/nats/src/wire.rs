// SPDX-License-Identifier: Apache-2.0
//! A request as a NATS message: the body is the payload, the rest are headers.
//!
//! | header | value | absent |
//! |---|---|---|
//! | `x-biplane-reply-to` | where the answer goes, as JSON; or `none` | one-way if the message wants no reply, else refused |
//! | `x-biplane-subject` | the subject, percent-encoded | the endpoint's |
//! | `x-biplane-deadline-ms` | milliseconds that remain | the responder's default |
//! | `x-request-id` | the request's id | a fresh one |
//! | `traceparent` | W3C trace context | no trace |
//! | `x-biplane-header` | `name=value`, both percent-encoded; repeated, in order | no headers |
//!
//! The message's own headers travel inside `x-biplane-header`, because NATS headers are text without order across names,
//! while ours are bytes in order. Plain headers that a foreign client sets arrive too, sorted by name.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;
use biplane::plane::{ReplyTo, ResponseConnectionInfo};
use biplane::{Error, Headers, Message, Request, RequestContext, RequestId, Result, Retry, Subject, TraceContext};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

const REPLY_TO: &str = "x-biplane-reply-to";
const SUBJECT: &str = "x-biplane-subject";
const DEADLINE: &str = "x-biplane-deadline-ms";
const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const HEADER: &str = "x-biplane-header";

/// The value of [`REPLY_TO`] for a request that wants no answer.
const NOTHING: &str = "none";

/// White space would be trimmed, `=` ends a name.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'=');

/// The bytes that `headers` take on the wire, which count against `max_payload`
/// (<https://docs.nats.io/reference/reference-protocols/nats-protocol>, HPUB).
pub(crate) fn wire_len(headers: &HeaderMap) -> usize {
    let line = |name: &str, value: &HeaderValue| name.len() + ": \r\n".len() + value.as_str().len();
    let lines: usize =
        headers.iter().flat_map(|(name, values)| values.iter().map(move |value| line(name.as_ref(), value))).sum();
    "NATS/1.0\r\n\r\n".len() + lines
}

/// The headers of `request`. [`ReplyTo::Inline`] has no form here.
pub(crate) fn encode(request: &Request, reply_to: &ReplyTo, now: Instant) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    match reply_to {
        ReplyTo::To(info) => headers.insert(REPLY_TO, value(info.to_text())?),
        ReplyTo::Nothing => headers.insert(REPLY_TO, NOTHING),
        ReplyTo::Inline => return Err(Error::unsupported("the nats plane carries no inline answers")),
    }
    headers.insert(SUBJECT, value(escape(request.subject.as_str().as_bytes()))?);
    headers.insert(REQUEST_ID, value(request.context.id.to_string())?);
    if let Some(remaining) = request.context.remaining(now) {
        headers.insert(DEADLINE, value(remaining.as_millis().to_string())?);
    }
    if let Some(trace) = request.context.trace {
        headers.insert(TRACEPARENT, value(trace.to_string())?);
    }
    for (name, content) in request.message.headers.iter() {
        headers.append(HEADER, value(format!("{}={}", escape(name.as_bytes()), escape(content)))?);
    }
    Ok(headers)
}

fn escape(bytes: &[u8]) -> String {
    percent_encode(bytes, ESCAPED).to_string()
}

/// The conversion that async-nats does by itself panics on a line break.
pub(crate) fn value(text: String) -> Result<HeaderValue> {
    text.parse().map_err(|_| Error::unexpected("a header's value has a line break"))
}

/// The request that a NATS message is. Nothing here trusts the sender.
///
/// `expected` is the endpoint's subject, `wants_reply` whether the message has a reply subject. A deadline that is absent
/// is `default_timeout` from `now`.
pub(crate) fn decode(
    expected: &Subject,
    headers: Option<&HeaderMap>,
    payload: Bytes,
    wants_reply: bool,
    now: Instant,
    default_timeout: Duration,
) -> Result<(Request, ReplyTo)> {
    let mut reply_to = None;
    let mut subject = None;
    let mut timeout = default_timeout;
    let mut context = RequestContext::new();
    let mut own = Headers::new();
    let mut foreign = Vec::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        let Some(first) = values.first().map(HeaderValue::as_str) else { continue };
        match name.to_ascii_lowercase().as_str() {
            REPLY_TO if first == NOTHING => reply_to = Some(ReplyTo::Nothing),
            REPLY_TO => reply_to = Some(ReplyTo::To(Box::new(ResponseConnectionInfo::from_text(first)?))),
            SUBJECT => subject = Some(first.to_owned()),
            DEADLINE => timeout = Duration::from_millis(milliseconds(first)?),
            REQUEST_ID => context.id = RequestId::given(first.to_owned()),
            // The recommendation says that a malformed trace is no trace.
            TRACEPARENT => context.trace = TraceContext::parse(first),
            HEADER => decode_headers(values, &mut own)?,
            _ => foreign.extend(values.iter().map(|value| (name, value.as_str()))),
        }
    }
    foreign.sort_by_key(|(name, _)| *name);
    for (name, content) in foreign {
        own.append(name.to_owned(), Bytes::copy_from_slice(content.as_bytes()));
    }
    if own.len() > Headers::MAX_COUNT {
        return Err(Error::protocol(format!("{} headers are over the limit of {}", own.len(), Headers::MAX_COUNT)));
    }
    context.deadline = now.checked_add(timeout);
    let request = Request {
        subject: subject_of(subject, expected)?,
        context,
        message: Message { headers: own, body: payload },
        items: None,
    };
    Ok((request, reply_to.map_or_else(|| without_reply_to(wants_reply), Ok)?))
}

fn milliseconds(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::protocol(format!("{DEADLINE} is {text:?}, no number of milliseconds")))
}

fn decode_headers(values: &[HeaderValue], headers: &mut Headers) -> Result<()> {
    for pair in values {
        let Some((name, content)) = pair.as_str().split_once('=') else {
            return Err(Error::protocol(format!("a value of {HEADER} is no name=value")));
        };
        let name = percent_decode_str(name)
            .decode_utf8()
            .map_err(|_| Error::protocol(format!("a name in {HEADER} is not UTF-8")))?;
        headers.append(name.into_owned(), percent_decode_str(content).collect::<Vec<u8>>());
    }
    Ok(())
}

fn subject_of(sent: Option<String>, expected: &Subject) -> Result<Subject> {
    let Some(sent) = sent else { return Ok(expected.clone()) };
    // An instance's address may outlive the endpoint that it was published for.
    if percent_decode_str(&sent).eq(expected.as_str().bytes()) {
        return Ok(expected.clone());
    }
    Err(Error::no_service(format!("this endpoint serves {expected:?}, the request is for {sent:?}"))
        .with_retry(Retry::Safe))
}

fn without_reply_to(wants_reply: bool) -> Result<ReplyTo> {
    if wants_reply {
        return Err(Error::unsupported(format!(
            "the request lacks {REPLY_TO}: the nats plane carries no inline answers"
        ))
        .with_hint(format!("send a response connection info, or `{NOTHING}` for a request without an answer")));
    }
    Ok(ReplyTo::Nothing)
}

#[cfg(test)]
mod tests {
    use biplane::{ErrorKind, TransportAddress};
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn decoded(headers: &HeaderMap, expected: &Subject) -> Result<(Request, ReplyTo)> {
        decode(expected, Some(headers), Bytes::new(), true, Instant::now(), DAY)
    }

    fn one(name: &str, content: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REPLY_TO, NOTHING);
        headers.insert(name, content);
        headers
    }

    #[test]
    fn the_context_crosses() {
        let now = Instant::now();
        let subject = Subject::new("tools/call ä%").unwrap();
        let mut request = Request::new(subject.clone(), "body");
        request.context.deadline = Some(now + Duration::from_millis(1500));
        request.context.trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut info = ResponseConnectionInfo::new(TransportAddress::tcp("h:1"), &request.context);
        info.metadata.insert("token".into(), "line\r\nbreak ä".into());
        let headers = encode(&request, &ReplyTo::To(Box::new(info.clone())), now).unwrap();
        let (back, reply_to) = decode(&subject, Some(&headers), "body".into(), true, now, DAY).unwrap();
        assert_eq!(back.subject, request.subject);
        assert_eq!(back.context.id, request.context.id);
        assert_eq!(back.context.trace, request.context.trace);
        assert_eq!(back.context.deadline, request.context.deadline);
        assert_eq!(back.message, request.message);
        assert!(matches!(reply_to, ReplyTo::To(back) if back.to_text() == info.to_text()));
    }

    #[test]
    fn garbage_is_a_typed_error() {
        let subject = Subject::from_static("words");
        for (name, content, kind) in [
            (REPLY_TO, "{", ErrorKind::Protocol),
            (SUBJECT, "other", ErrorKind::NoService),
            (DEADLINE, "soon", ErrorKind::Protocol),
            (DEADLINE, "-1", ErrorKind::Protocol),
            (HEADER, "no equals sign", ErrorKind::Protocol),
            (HEADER, "%FF=x", ErrorKind::Protocol),
        ] {
            assert_eq!(decoded(&one(name, content), &subject).unwrap_err().kind(), kind, "{name}: {content}");
        }
        let mut many = one("x", "y");
        (0..Headers::MAX_COUNT).for_each(|_| many.append(HEADER, "a=b"));
        assert_eq!(decoded(&many, &subject).unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(decoded(&HeaderMap::new(), &subject).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn names_are_read_in_any_case_and_bad_traces_are_no_traces() {
        let subject = Subject::from_static("words");
        let (request, _) = decoded(&one("X-Request-Id", "abc"), &subject).unwrap();
        assert_eq!(request.context.id.to_string(), "abc");
        let (request, _) = decoded(&one(TRACEPARENT, "nonsense"), &subject).unwrap();
        assert_eq!(request.context.trace, None);
        let (request, _) = decoded(&one("Accept", "text/plain"), &subject).unwrap();
        assert_eq!(request.message.headers.get_str("accept"), Some("text/plain"));
    }

    #[test]
    fn a_bare_message_is_a_one_way_request() {
        let subject = Subject::from_static("words");
        let (request, reply_to) = decode(&subject, None, "x".into(), false, Instant::now(), DAY).unwrap();
        assert!(matches!(reply_to, ReplyTo::Nothing));
        assert!(request.context.deadline.is_some());
    }

    proptest! {
        #[test]
        fn own_headers_cross_byte_for_byte(
            pairs in prop::collection::vec((".{0,20}", prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let subject = Subject::from_static("words");
            let mut request = Request::new(subject.clone(), "");
            for (name, content) in pairs {
                request.message.headers.append(name, content);
            }
            let headers = encode(&request, &ReplyTo::Nothing, Instant::now()).unwrap();
            let (back, _) = decoded(&headers, &subject).unwrap();
            prop_assert_eq!(back.message.headers, request.message.headers);
        }

        #[test]
        fn no_text_makes_decoding_panic(content in "[^\r\n]{0,60}", at in 0_usize..6) {
            let name = [REPLY_TO, SUBJECT, DEADLINE, REQUEST_ID, TRACEPARENT, HEADER][at];
            let _ = decoded(&one(name, &content), &Subject::from_static("words"));
        }
    }
}
