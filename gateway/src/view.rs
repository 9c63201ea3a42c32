// SPDX-License-Identifier: Apache-2.0
//! What an upstream looks like to whoever uses it: a connection in one era, and the facts that its server told.

use std::sync::Arc;

use biplane::Connection;
use bytes::Bytes;

/// The two families of revisions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: a session is opened by `initialize`; servers may ask.
    Legacy,
    /// From 2026-07-28: every request describes itself; servers answer `input_required`.
    Modern,
}

/// What a server says of itself: the answer to `initialize` or to `server/discover`, as raw JSON.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The era that the view is used in.
    pub era: Era,
    /// The revision that was agreed on, such as `2025-11-25`.
    pub version: String,
    /// The object `serverInfo`.
    pub server_info: Bytes,
    /// The object `capabilities`.
    pub capabilities: Bytes,
    /// The string `instructions` as raw JSON, if there is one.
    pub instructions: Option<Bytes>,
}

/// Who uses an upstream: what a legacy client said in `initialize`, or a modern one in a request's `_meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// The revision that it speaks.
    pub version: String,
    /// The object `clientInfo`, raw; empty if it said none.
    pub info: Bytes,
    /// The object `capabilities`, raw.
    pub capabilities: Bytes,
    /// Who it authenticated as; empty for anonymous.
    pub principal: String,
}

/// A server as its user sees it.
///
/// In the legacy era the connection is a session that is initialised already: it takes every method but `initialize`, and
/// its `receive()` gives what the server sends unasked. In the modern era it takes self-describing requests of any client.
/// Dropping the last handle gives the session back.
#[derive(Clone, Debug)]
pub struct View {
    /// Where requests go.
    pub connection: Arc<dyn Connection>,
    /// What the server said of itself.
    pub facts: Arc<Facts>,
}
