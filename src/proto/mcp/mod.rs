// SPDX-License-Identifier: Apache-2.0
//! What the Model Context Protocol puts where: revisions, and what its HTTP transport mirrors into headers.

use std::borrow::Cow;

use bytes::Bytes;

use super::json;

pub mod header;
pub mod mirror;

/// The newest revision whose requests describe themselves.
pub const MODERN: &str = "2026-07-28";
/// The newest revision with sessions.
pub const LEGACY: &str = "2025-11-25";

/// The key in `_meta` whose presence makes a request a modern one.
pub const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
/// The key in `_meta` with the client's name and version.
pub const CLIENT_KEY: &str = "io.modelcontextprotocol/clientInfo";
/// The key in `_meta` with what the client can do.
pub const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The method by which a modern server tells of itself.
pub const DISCOVER: &str = "server/discover";

/// The headers do not match the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// The client lacks a capability that the request needs.
pub const MISSING_CAPABILITY: i64 = -32021;
/// The revision is not spoken; `data.supported` lists those that are.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// The revision that a request says it is of; `None` for a legacy one.
pub fn version(params: &Bytes) -> Option<String> {
    let raw = json::get(params, &["_meta", VERSION_KEY])?;
    json::text(&raw).map(Cow::into_owned)
}

/// Whether an error can only be a modern server's.
pub const fn is_modern_error(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION)
}

/// The member of `params` that the header `Mcp-Name` mirrors, for the methods that have it.
pub fn name_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    }
}
