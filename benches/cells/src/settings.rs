// SPDX-License-Identifier: Apache-2.0
//! The variables of a runtime that is measured.

/// Requests over `request`, answers over `response`, and every listener on the loopback interface and a port of its own.
pub fn on_loopback<'a>(request: &'a str, response: &'a str) -> impl Iterator<Item = (&'static str, &'a str)> {
    [
        ("DYN_REQUEST_PLANE", request),
        ("DYN_RESPONSE_PLANE", response),
        ("DYN_TCP_REQUEST_HOST", HERE),
        ("DYN_TCP_REQUEST_PORT", ANY),
        ("DYN_TCP_RESPONSE_STREAM_HOST", HERE),
        ("DYN_TCP_RESPONSE_STREAM_PORT", ANY),
        ("DYN_HTTP_RPC_HOST", HERE),
        ("DYN_HTTP_RPC_PORT", ANY),
        ("DYN_HTTP_RESPONSE_HOST", HERE),
        ("DYN_HTTP_RESPONSE_PORT", ANY),
    ]
    .into_iter()
}

const HERE: &str = "127.0.0.1";
const ANY: &str = "0";
