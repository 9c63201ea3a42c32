// SPDX-License-Identifier: Apache-2.0
//! Which rules a message is under: those of sessions, or those of requests that describe themselves.
//!
//! A message is modern if its `_meta` names a revision, or if the header does and the revision is a modern one. A message
//! that names none is legacy; without a header it is taken for one of 2025-03-26, which had no such header.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::fault::Fault;
use super::settings::Revisions;
use crate::proto::json;
use crate::proto::jsonrpc::Packet;

/// The revision, as a header.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

const META_VERSION: [&str; 2] = ["_meta", "io.modelcontextprotocol/protocolVersion"];
const META_CAPABILITIES: [&str; 2] = ["_meta", "io.modelcontextprotocol/clientCapabilities"];

/// The rules that a message is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Modern,
}

/// The revision that the header names.
pub(super) fn header(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(PROTOCOL_VERSION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text.trim())).map_err(|_| Fault::bad("MCP-Protocol-Version is no text"))
        }
        (Some(_), Some(_)) => Err(Fault::mismatch("MCP-Protocol-Version stands there twice".to_owned())),
    }
}

/// The era of a request without a body.
pub(super) fn of_header(headers: &HeaderMap, revisions: &Revisions) -> Result<Era, Fault> {
    match header(headers)? {
        None => Ok(Era::Legacy),
        Some(named) if revisions.legacy.iter().any(|known| known == named) => Ok(Era::Legacy),
        Some(named) if revisions.modern.iter().any(|known| known == named) => Ok(Era::Modern),
        Some(named) => Err(Fault::unsupported(named, &revisions.modern)),
    }
}

/// The era of a message, if what it says of itself holds together.
pub(super) fn of_packet(packet: &Packet, headers: &HeaderMap, revisions: &Revisions) -> Result<Era, Fault> {
    let header = header(headers)?;
    let is_request = matches!(packet, Packet::Request { .. });
    let meta = match packet {
        Packet::Request { message, .. } | Packet::Notification { message, .. } => meta_version(&message.body)?,
        Packet::Response { .. } => None,
    };
    let Some(meta) = meta else {
        let era = of_header(headers, revisions)?;
        if era == Era::Modern && is_request {
            return Err(Fault::params("_meta lacks io.modelcontextprotocol/protocolVersion"));
        }
        return Ok(era);
    };
    match header {
        Some(header) if header == meta => {}
        Some(header) => {
            let what = format!("MCP-Protocol-Version is {header:?}, and the body says {meta:?}");
            return Err(Fault::mismatch(what));
        }
        None => return Err(Fault::mismatch("the header MCP-Protocol-Version is missing".to_owned())),
    }
    if !revisions.modern.contains(&meta) {
        return Err(Fault::unsupported(&meta, &revisions.modern));
    }
    Ok(Era::Modern)
}

/// What every modern request has to say of its client.
pub(super) fn check_meta(params: &Bytes) -> Result<(), Fault> {
    let capabilities = json::get(params, &META_CAPABILITIES);
    if capabilities.is_some_and(|raw| raw.starts_with(b"{")) {
        return Ok(());
    }
    Err(Fault::params("_meta lacks io.modelcontextprotocol/clientCapabilities"))
}

fn meta_version(params: &Bytes) -> Result<Option<String>, Fault> {
    match json::get(params, &META_VERSION) {
        None => Ok(None),
        Some(raw) => match json::text(&raw) {
            Some(text) => Ok(Some(text.into_owned())),
            None => Err(Fault::params("io.modelcontextprotocol/protocolVersion is no string")),
        },
    }
}
