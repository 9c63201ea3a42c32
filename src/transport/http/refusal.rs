// SPDX-License-Identifier: Apache-2.0
//! Responses that are no answers: a status for people and proxies, `{code, message, data}` for programs.

use bytes::BytesMut;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::incoming::{self, Incoming};
use crate::config::StreamFormat;
use crate::error::{Error, ErrorKind, PeerError, Result, Retry};
use crate::proto::body::media_type;
use crate::proto::item_json;

/// A request that is not served, and what its sender is told.
pub(super) struct Refusal {
    status: StatusCode,
    error: PeerError,
    allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with a status of its own.
    pub(super) fn new(status: StatusCode, error: impl Into<PeerError>) -> Self {
        Self { status, error: error.into(), allow: None }
    }

    /// `405`, with the methods that are allowed.
    pub(super) fn method(allow: &'static str) -> Self {
        let error = Error::unsupported(format!("this path takes {allow} only"));
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    /// `406`: the caller accepts none of the formats.
    pub(super) fn not_acceptable() -> Self {
        let [sse, ndjson, binary] = [StreamFormat::Sse, StreamFormat::Ndjson, StreamFormat::Binary].map(media_type);
        let error = Error::unsupported("none of the accepted formats is served")
            .with_hint(format!("accept {sse}, {ndjson} or {binary}"));
        Self::new(StatusCode::NOT_ACCEPTABLE, error)
    }

    /// The response.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut json = BytesMut::new();
        item_json::write_error(&self.error, &mut json);
        json.extend_from_slice(b"\n");
        let mut response = Response::new(Body::full(json));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NoService => StatusCode::NOT_FOUND,
            ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Protocol | ErrorKind::Config => StatusCode::BAD_REQUEST,
            ErrorKind::Refused => StatusCode::FORBIDDEN,
            ErrorKind::Unsupported | ErrorKind::NoTransport => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Connect => StatusCode::BAD_GATEWAY,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 << 10;

/// The error that a response with this status and body stands for, and whether the body was read to its end. Waits for
/// the body: bound it from outside.
pub(super) async fn read_refusal(status: StatusCode, headers: &HeaderMap, body: Incoming) -> (Error, bool) {
    // A refusal that is too long or cut still has its status.
    let text = incoming::read(body, MAX_REFUSAL).await;
    let whole = text.is_ok();
    let parsed: Result<PeerError> = text.and_then(|text| item_json::parse_error(&text));
    (parsed.map_or_else(|_| from_status(status, headers), Error::from), whole)
}

/// What a status says by itself, as from a proxy that knows nothing of us.
fn from_status(status: StatusCode, headers: &HeaderMap) -> Error {
    let (kind, retry) = match status {
        StatusCode::NOT_FOUND => (ErrorKind::NoService, Retry::Safe),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => (ErrorKind::Overloaded, Retry::Safe),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            (ErrorKind::TooLarge, Retry::Never)
        }
        StatusCode::BAD_REQUEST => (ErrorKind::Protocol, Retry::Never),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (ErrorKind::Refused, Retry::Never),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_ACCEPTABLE | StatusCode::NOT_IMPLEMENTED => {
            (ErrorKind::Unsupported, Retry::Never)
        }
        StatusCode::BAD_GATEWAY => (ErrorKind::Connect, Retry::Never),
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => (ErrorKind::Timeout, Retry::Never),
        _ => (ErrorKind::Protocol, Retry::Never),
    };
    let mut error = Error::new(kind, format!("the server answered {status}")).with_retry(retry);
    if let Some(after) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) {
        error = error.with_context("retry-after", after);
    }
    error
}
