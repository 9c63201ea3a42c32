// SPDX-License-Identifier: Apache-2.0
//! What a client says of the media types that it sends and takes.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::fault::Fault;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// What the SDKs send, which need not be read.
const USUAL_ACCEPT: &str = "application/json, text/event-stream";

/// A message is JSON as it stands, and its answer may come in two forms, both of which its sender must take.
pub(super) fn check_post(headers: &HeaderMap) -> Result<(), Fault> {
    check_sent(headers)?;
    if headers.get(ACCEPT).is_some_and(|value| value == USUAL_ACCEPT) {
        return Ok(());
    }
    check_accept(headers, &[JSON, EVENTS])
}

/// A message whose answer comes elsewhere.
pub(super) fn check_sent(headers: &HeaderMap) -> Result<(), Fault> {
    let unsupported = |what: &'static str| Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !essence(sent).eq_ignore_ascii_case(JSON) {
        return unsupported("a message is sent with Content-Type: application/json");
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            unsupported("a message is sent without Content-Encoding")
        }
        _ => Ok(()),
    }
}

/// A stream is one of events.
pub(super) fn check_get(headers: &HeaderMap) -> Result<(), Fault> {
    check_accept(headers, &[EVENTS])
}

fn check_accept(headers: &HeaderMap, needed: &[&str]) -> Result<(), Fault> {
    // Who says nothing takes everything (RFC 9110, section 12.5.1).
    if !headers.contains_key(ACCEPT) {
        return Ok(());
    }
    let ranges = || headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let taken = |needed: &&str| ranges().any(|range| !is_refusal(range) && covers(essence(range), needed));
    if needed.iter().all(taken) {
        return Ok(());
    }
    let needed = needed.join(", ");
    Err(Fault::new(StatusCode::NOT_ACCEPTABLE, format!("the answer comes as it does: send Accept: {needed}")))
}

fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

fn is_refusal(range: &str) -> bool {
    let quality = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut quality = quality.filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    quality.any(|(_, value)| value.trim().parse() == Ok(0.0_f32))
}

fn covers(range: &str, media_type: &str) -> bool {
    let kind = range.strip_suffix("/*");
    range == "*/*"
        || range.eq_ignore_ascii_case(media_type)
        || kind.is_some_and(|kind| media_type.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(kind)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn both_forms_of_an_answer_must_be_taken() {
        for (accept, post, get) in [
            ("application/json, text/event-stream", true, true),
            ("text/event-stream;q=0.5,APPLICATION/JSON", true, true),
            ("*/*", true, true),
            ("application/*, text/*", true, true),
            ("application/json", false, false),
            ("text/event-stream", false, true),
            ("text/event-stream, application/json;q=0", false, true),
            ("text/html", false, false),
            ("", false, false),
        ] {
            let headers = HeaderMap::from_iter([
                (ACCEPT, HeaderValue::from_static(accept)),
                (CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
            ]);
            assert_eq!((check_post(&headers).is_ok(), check_get(&headers).is_ok()), (post, get), "{accept}");
        }
    }

    #[test]
    fn a_message_is_json_without_a_coding() {
        let sent = |pairs: &[(http::HeaderName, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            check_sent(&HeaderMap::from_iter(pairs)).is_ok()
        };
        assert!(sent(&[(CONTENT_TYPE, "Application/JSON")]));
        assert!(sent(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "identity")]));
        for bad in [&[][..], &[(CONTENT_TYPE, "text/plain")], &[(CONTENT_TYPE, "application/jsonp")]] {
            assert!(!sent(bad));
        }
        assert!(!sent(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")]));
    }
}
