// SPDX-License-Identifier: Apache-2.0
//! Requests that are not served: a status for proxies, a JSON-RPC error for clients.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode, Version};

use super::super::body::Body;
use crate::error::{Error, ErrorKind, PeerError, Retry};
use crate::io::admission::Denial;
use crate::io::sessions::{Reason, Refused};
use crate::proto::jsonrpc::{BadPacket, INVALID_PARAMS, INVALID_REQUEST, Id, Packet};

/// Headers that do not say what the body says.
const HEADER_MISMATCH: i64 = -32020;
/// A revision of the protocol that is not served here.
const UNSUPPORTED_VERSION: i64 = -32022;

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    error: PeerError,
    id: Option<Id>,
    header: Option<(http::HeaderName, HeaderValue)>,
    /// What is left of the body is not worth reading.
    hang_up: bool,
}

impl Fault {
    /// A fault that JSON-RPC has no word of its own for.
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let error = PeerError::new(INVALID_REQUEST, message.into());
        Self { status, error, id: None, header: None, hang_up: false }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The path takes these only.
    pub(super) fn method(allow: &'static str) -> Self {
        let fault = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allow}"));
        fault.with(ALLOW, HeaderValue::from_static(allow))
    }

    /// A header says something else than the body, or does not say what it must.
    pub(super) fn mismatch(message: String) -> Self {
        Self { error: PeerError::new(HEADER_MISMATCH, format!("Header mismatch: {message}")), ..Self::bad("") }
    }

    pub(super) fn params(message: &'static str) -> Self {
        Self { error: PeerError::new(INVALID_PARAMS, message), ..Self::bad("") }
    }

    /// A revision that is not served, with those that are.
    pub(super) fn unsupported(requested: &str, supported: &[String]) -> Self {
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        let error = PeerError::new(UNSUPPORTED_VERSION, "Unsupported protocol version").with_data(data.to_string());
        Self { error, ..Self::bad("") }
    }

    /// The request that it answers.
    pub(super) fn to(self, id: Option<&Id>) -> Self {
        Self { id: id.cloned().or(self.id), ..self }
    }

    fn with(self, name: http::HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// The link ends with this response.
    pub(super) fn hanging_up(self) -> Self {
        Self { hang_up: true, ..self }
    }

    /// The response.
    pub(super) fn into_response(self, version: Version) -> Response<Body> {
        let packet = Packet::Response { id: self.id.unwrap_or(Id::NULL), outcome: Err(self.error) };
        let mut response = json(self.status, packet.to_bytes());
        let headers = response.headers_mut();
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        if self.hang_up && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// One JSON text.
pub(super) fn json(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<Denial> for Fault {
    fn from(denial: Denial) -> Self {
        // Whoever was not let in does not get its body read.
        let fault = Self::new(denial.status(), denial.reason()).hanging_up();
        match denial.challenge() {
            Some(challenge) => fault.with(WWW_AUTHENTICATE, challenge),
            None => fault,
        }
    }
}

impl From<BadPacket> for Fault {
    fn from(bad: BadPacket) -> Self {
        Self { error: PeerError::new(bad.code, bad.message), id: bad.id, ..Self::bad("") }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let (status, later) = match refused.reason {
            Reason::UnknownSession => (StatusCode::NOT_FOUND, false),
            Reason::TooManySessions | Reason::Closed => (StatusCode::SERVICE_UNAVAILABLE, true),
            Reason::Busy => (StatusCode::TOO_MANY_REQUESTS, true),
            Reason::Misplaced => (StatusCode::BAD_REQUEST, false),
        };
        let error = match refused.reason {
            Reason::Closed => Error::closed(refused.message.clone()),
            Reason::Busy | Reason::TooManySessions => Error::overloaded(refused.message.clone()),
            Reason::UnknownSession | Reason::Misplaced => Error::protocol(refused.message.clone()),
        };
        let mut fault = Self::new(status, refused.message);
        // Our own callers know our own codes, and go elsewhere.
        if later {
            fault.error = PeerError { message: fault.error.message, ..error.with_retry(Retry::Safe).into() };
        }
        if later { fault.with(RETRY_AFTER, HeaderValue::from_static("1")) } else { fault }
    }
}

impl From<Error> for Fault {
    /// What reading a body can end with.
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Timeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string()).hanging_up()
    }
}
