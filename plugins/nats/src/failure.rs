// SPDX-License-Identifier: Apache-2.0
//! What async-nats reports, for the person who must act.

use std::time::Duration;

use async_nats::{ConnectError, ConnectErrorKind};
use biplane::{Detail, Error, Phase, Retry};

use crate::config::{SERVER_VARIABLE, Settings};

/// The server did not take the process in. Nothing was sent, so everything is safe to repeat.
pub(crate) fn connect(settings: &Settings, error: &ConnectError) -> Error {
    let refused = matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication);
    let error = if refused {
        Error::refused(format!("the NATS server refused the credentials ({error})"))
            .with_hint(settings.auth.variables())
    } else {
        // The cause stands in the text: whoever waited for the same attempt gets a copy, and copies have no source.
        Error::connect(format!("cannot connect to the NATS server: {error}")).with_hint(reach(settings))
    };
    at_server(error, settings)
}

/// The server did not answer within `limit`.
pub(crate) fn unreachable(settings: &Settings, limit: Duration) -> Error {
    let message = format!("the NATS server did not take the connection within {limit:?}");
    at_server(Error::connect(message).with_hint(reach(settings)), settings)
}

fn at_server(error: Error, settings: &Settings) -> Error {
    error
        .with_transport(crate::ID)
        .with_target(settings.address())
        .with_phase(Phase::Connect)
        .with_retry(Retry::Safe)
        .with_context("authentication", format!("{:?}", settings.auth))
}

fn reach(settings: &Settings) -> String {
    if settings.server_is_default {
        format!("start a nats-server there, set {SERVER_VARIABLE}, or choose another plane with DYN_REQUEST_PLANE")
    } else {
        format!(
            "check that {SERVER_VARIABLE} is right and that the server runs, or choose another plane with DYN_REQUEST_PLANE"
        )
    }
}

/// The client library's task is gone; the next use makes a new connection. Nothing was sent.
pub(crate) fn gone() -> Error {
    Error::closed("the connection to the NATS server is gone").with_retry(Retry::Safe)
}

/// The server said that nobody listens.
pub(crate) fn no_responders() -> Error {
    Error::no_service("nobody listens on this NATS subject")
        .with_detail(Detail::NoResponders)
        .with_retry(Retry::Safe)
        .with_hint("the instance is gone or uses another NATS server; `biplane services` shows who is there")
}

/// A message of `got` bytes, headers included, against the server's `max_payload`.
pub(crate) fn too_large(limit: usize, got: usize) -> Error {
    Error::too_large("a request with its headers", limit as u64, got as u64).with_retry(Retry::Safe).with_hint(
        "raise max_payload in the NATS server's configuration, or use another request plane (DYN_REQUEST_PLANE=tcp)",
    )
}
