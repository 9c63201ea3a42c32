// SPDX-License-Identifier: Apache-2.0
//! The headers of the http planes, and the limits that both ends know.

use http::HeaderName;

/// Where the answer goes: a [`ResponseConnectionInfo`](crate::plane::ResponseConnectionInfo) as JSON, `none` for one-way;
/// absent, the answer is inline.
pub(super) const REPLY_TO: HeaderName = HeaderName::from_static("x-biplane-reply-to");

/// Milliseconds that remain for the whole answer. The time that remains travels, so clocks need not agree.
pub(super) const DEADLINE: HeaderName = HeaderName::from_static("x-biplane-deadline-ms");

/// The request's id, echoed in the response.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// W3C Trace Context.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The message's headers as a JSON list, see [`item_json`](crate::proto::item_json): order, duplicates, upper case and
/// binary values survive, which HTTP's own headers promise for none of them.
pub(super) const HEADERS: HeaderName = HeaderName::from_static("x-biplane-headers");

/// `x-biplane-h-NAME: text` is the message's header `NAME` too, for people with curl.
pub(super) const HEADER_PREFIX: &str = "x-biplane-h-";

/// In the head of an inline answer: the path that controls it by `DELETE`.
pub(super) const STREAM: HeaderName = HeaderName::from_static("x-biplane-stream");

/// In a `202`: where the answer can be fetched, as a `ResponseConnectionInfo`.
pub(super) const LOCATED: HeaderName = HeaderName::from_static("x-biplane-located");

/// Bytes of an MCP message beside its params or result: limits are those of what it carries.
pub(super) const ENVELOPE: usize = 8 << 10;

/// Bytes of a request's head, request line or pseudo-headers included.
pub(super) const MAX_HEAD: usize = 32 << 10;
