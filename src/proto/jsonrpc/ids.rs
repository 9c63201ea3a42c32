// SPDX-License-Identifier: Apache-2.0
//! Names that mean something on one link only, and stand within messages of the Model Context Protocol: whoever passes a
//! message from one link to another puts its own in their place.

use bytes::Bytes;
use memchr::memchr2;

use super::{Id, json};

/// The method that asks for a stream of notifications, which carry its id.
pub const LISTEN: &str = "subscriptions/listen";
/// The notification that gives up a request.
pub const CANCELLED: &str = "notifications/cancelled";
/// The notification that tells how far a request is.
pub const PROGRESS: &str = "notifications/progress";
/// The notification that logs, of a server that logs over its link.
pub const LOG: &str = "notifications/message";
/// The request that opens a session; it cannot be given up.
pub const INITIALIZE: &str = "initialize";

const SUBSCRIPTION: [&str; 2] = ["_meta", "io.modelcontextprotocol/subscriptionId"];
const REQUESTED_TOKEN: [&str; 2] = ["_meta", "progressToken"];

/// The token with which a request asks to be told of its progress.
pub fn requested_token(params: &Bytes) -> Option<Bytes> {
    // Asked of every request that goes out. Without an underscore in it, and without an escape, none has a `_meta`.
    memchr2(b'_', b'\\', params)?;
    json::get(params, &REQUESTED_TOKEN)
}

/// The same request with another token.
pub fn with_requested_token(params: &Bytes, token: &Id) -> Bytes {
    json::set(params, &REQUESTED_TOKEN, &token.raw())
}

/// The token of a [`PROGRESS`].
pub fn told_token(params: &Bytes) -> Option<Bytes> {
    json::get(params, &["progressToken"])
}

/// The same [`PROGRESS`] with another token.
pub fn with_told_token(params: &Bytes, token: &[u8]) -> Bytes {
    json::set(params, &["progressToken"], token)
}

/// The id of the [`LISTEN`] on account of which a notification is sent.
pub fn subscription(params: &Bytes) -> Option<Bytes> {
    json::get(params, &SUBSCRIPTION)
}

/// The same notification on account of another [`LISTEN`].
pub fn with_subscription(params: &Bytes, id: &Id) -> Bytes {
    json::set(params, &SUBSCRIPTION, &id.raw())
}

/// The request that a [`CANCELLED`] gives up.
pub fn cancelled(params: &Bytes) -> Option<Bytes> {
    json::get(params, &["requestId"])
}

/// The `params` of a [`CANCELLED`].
pub fn cancel(id: &Id, reason: &str) -> Bytes {
    let reason = json::quote(reason);
    [br#"{"requestId":"#, &id.raw()[..], br#","reason":"#, &reason, b"}"].concat().into()
}
