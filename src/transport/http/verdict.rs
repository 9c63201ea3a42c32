// SPDX-License-Identifier: Apache-2.0
//! Responses of MCP servers that are no answers: what a status and a body mean for whoever asked.

use std::time::Instant;

use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use tokio::time::timeout_at;

use super::incoming;
use super::links::Exchange;
use crate::error::{Error, ErrorKind, PeerError, Phase, Result, Retry};
use crate::proto::jsonrpc::Packet;

/// Characters of a body that a person is shown.
const MAX_EXCERPT: usize = 200;

/// A whole response.
pub(super) struct Whole {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Reads a response of at most `limit` bytes to its end.
pub(super) async fn read_whole(exchange: Exchange, limit: usize, deadline: Instant) -> Result<Whole> {
    let Exchange { response, mut hold } = exchange;
    let (head, body) = response.into_parts();
    let body = match timeout_at(deadline.into(), incoming::read(body, limit)).await {
        Ok(body) => body.map_err(|error| error.with_phase(Phase::Respond))?,
        Err(_) => return Err(Error::deadline(0).with_phase(Phase::Respond)),
    };
    hold.complete();
    Ok(Whole { status: head.status, headers: head.headers, body })
}

impl Whole {
    /// The JSON-RPC error that the body is, if it is one.
    pub(super) fn peer_error(&self) -> Option<PeerError> {
        match Packet::parse(&self.body) {
            Ok(Packet::Response { outcome: Err(error), .. }) => Some(error),
            _ => None,
        }
    }

    /// What the response means to whoever wanted a success.
    pub(super) fn into_error(self) -> Error {
        let status = self.status;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return self.no_entry();
        }
        let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        // That a server is busy matters more than how it says so, unless it is one of ours.
        if let Some(peer) = self.peer_error().filter(|peer| !is_busy || peer.kind() != ErrorKind::Peer) {
            return Error::from(peer);
        }
        let said = self.excerpt();
        let (kind, retry) = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (ErrorKind::Overloaded, Retry::Safe),
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                (ErrorKind::TooLarge, Retry::Never)
            }
            StatusCode::BAD_GATEWAY => (ErrorKind::Connect, Retry::Never),
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => (ErrorKind::Timeout, Retry::Never),
            status if status.is_client_error() || status.is_redirection() => (ErrorKind::Refused, Retry::Never),
            _ => (ErrorKind::Protocol, Retry::Never),
        };
        let error = Error::new(kind, format!("the server answered {status}{said}")).with_retry(retry);
        let error = match self.text(RETRY_AFTER.as_str()) {
            Some(after) => error.with_context("retry-after", after),
            None => error,
        };
        match self.text(LOCATION.as_str()) {
            Some(place) if status.is_redirection() => {
                error.with_hint(format!("redirects are not followed; if it is the same server, use {place}"))
            }
            _ => error,
        }
        .with_phase(Phase::Respond)
    }

    fn no_entry(self) -> Error {
        let error = Error::refused(format!("the server answered {}{}", self.status, self.excerpt())).with_hint(
            match self.status {
                StatusCode::UNAUTHORIZED => {
                    "give this server a credential: the header authorization in the upstream's headers, or user:password@ in its URL"
                }
                _ => "this server does not let these credentials, or this origin, in: check the upstream's headers",
            },
        );
        let error = match self.text("www-authenticate") {
            Some(how) => error.with_context("www-authenticate", how),
            None => error,
        };
        error.with_phase(Phase::Acknowledge)
    }

    fn text(&self, header: &str) -> Option<String> {
        self.headers.get(header)?.to_str().ok().map(str::to_owned)
    }

    /// The beginning of a body for people, on one line.
    fn excerpt(&self) -> String {
        if let Some(peer) = self.peer_error() {
            return format!(": {}", peer.message);
        }
        let is_page = self.text("content-type").is_some_and(|kind| kind.contains("html"));
        match std::str::from_utf8(&self.body) {
            Ok(text) if !text.trim().is_empty() && !is_page => {
                let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                format!(": {}", line.chars().take(MAX_EXCERPT).collect::<String>())
            }
            _ => String::new(),
        }
    }
}
