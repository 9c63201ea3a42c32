// SPDX-License-Identifier: Apache-2.0
//! Requests that are not served: a status for proxies, a JSON-RPC error for clients.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode, Version};

use super::super::body::Body;
use crate::error::{Error, ErrorKind, PeerError, Retry};
use crate::io::admission::Denial;
use crate::io::sessions::{Reason, Refused};
use crate::proto::jsonrpc::{BadPacket, INVALID_PARAMS, INVALID_REQUEST, Id, Packet};

/// Headers that do not say what the body says.
const HEADER_MISMATCH: i64 = -32020;
/// A revision of the protocol that is not served here.
const UNSUPPORTED_VERSION: i64 = -32022;

/// Why a request is not served. One pointer wide: nearly every call here may end in one, and nearly none does.
#[derive(Debug)]
pub(super) struct Fault(Box<Told>);

#[derive(Debug)]
struct Told {
    status: StatusCode,
    error: PeerError,
    id: Option<Id>,
    header: Option<(HeaderName, HeaderValue)>,
    /// What is left of the body is not worth reading.
    hang_up: bool,
}

impl Fault {
    /// A fault that JSON-RPC has no word of its own for.
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_error(status, PeerError::new(INVALID_REQUEST, message.into()))
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
        let error = PeerError::new(HEADER_MISMATCH, format!("Header mismatch: {message}"));
        Self::with_error(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn params(message: &'static str) -> Self {
        Self::with_error(StatusCode::BAD_REQUEST, PeerError::new(INVALID_PARAMS, message))
    }

    /// A revision that is not served, with those that are.
    pub(super) fn unsupported(requested: &str, supported: &[String]) -> Self {
        let data = serde_json::json!({ "supported": supported, "requested": requested });
        let error = PeerError::new(UNSUPPORTED_VERSION, "Unsupported protocol version").with_data(data.to_string());
        Self::with_error(StatusCode::BAD_REQUEST, error)
    }

    fn with_error(status: StatusCode, error: PeerError) -> Self {
        Self(Box::new(Told { status, error, id: None, header: None, hang_up: false }))
    }

    /// The request that it answers.
    pub(super) fn to(mut self, id: Option<&Id>) -> Self {
        self.0.id = id.cloned().or(self.0.id);
        self
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The link ends with this response.
    pub(super) fn hanging_up(mut self) -> Self {
        self.0.hang_up = true;
        self
    }

    /// The response.
    pub(super) fn into_response(self, version: Version) -> Response<Body> {
        let Told { status, error, id, header, hang_up } = *self.0;
        let packet = Packet::Response { id: id.unwrap_or(Id::NULL), outcome: Err(error) };
        let mut response = json(status, packet.to_bytes());
        let headers = response.headers_mut();
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        if hang_up && version < Version::HTTP_2 {
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
        Self::with_error(StatusCode::BAD_REQUEST, PeerError::new(bad.code, bad.message)).to(bad.id.as_ref())
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let Refused { reason, message } = refused;
        let (status, own) = match reason {
            Reason::UnknownSession => (StatusCode::NOT_FOUND, None),
            Reason::Misplaced => (StatusCode::BAD_REQUEST, None),
            Reason::Busy => (StatusCode::TOO_MANY_REQUESTS, Some(ErrorKind::Overloaded)),
            Reason::TooManySessions => (StatusCode::SERVICE_UNAVAILABLE, Some(ErrorKind::Overloaded)),
            Reason::Closed => (StatusCode::SERVICE_UNAVAILABLE, Some(ErrorKind::Closed)),
        };
        let Some(kind) = own else { return Self::new(status, message) };
        // Our own callers know our own codes, and go elsewhere.
        let error = Error::new(kind, message).with_retry(Retry::Safe);
        Self::with_error(status, error.into()).with(RETRY_AFTER, HeaderValue::from_static("1"))
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
        // A body that broke off is nothing that its sender said: if that is one of our callers, it learns what it was.
        let fault = match error.kind() {
            ErrorKind::Closed => Self::with_error(status, PeerError::from(&error)),
            _ => Self::new(status, error.to_string()),
        };
        fault.hanging_up()
    }
}
