// SPDX-License-Identifier: Apache-2.0
//! The response to a request: one JSON text if the answer is there at once and alone, else a stream of events.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::super::body::Body;
use super::era::Era;
use super::events::Events;
use super::fault::json;
use super::settings::ListenSettings;
use crate::io::sessions::{Answer, Outgoing};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The first revision whose clients know an event without data.
const PRIMING: &str = "2025-11-25";

/// Answers with what `answer` says first: its response, or what comes before that. While it says nothing the client
/// waits for the head; after some patience it gets one, so that nobody on the way gives up.
pub(super) async fn respond(mut answer: Answer, era: Era, settings: &ListenSettings) -> Response<Body> {
    let first = timeout(settings.patience, answer.next()).await;
    let opened = answer.opened().cloned();
    let mut response = match first {
        Ok(Some(Outgoing { text, response: Some(error), .. })) => json(status(era, error), text),
        Ok(first) => stream(answer, first, settings),
        Err(_) => stream(answer, None, settings),
    };
    if let Some(value) = opened.and_then(|session| HeaderValue::from_str(session.as_str()).ok()) {
        response.headers_mut().insert(SESSION_ID, value);
    }
    response
}

/// `answer` as a stream of events, of which `first` was read already.
pub(super) fn stream(mut answer: Answer, first: Option<Outgoing>, settings: &ListenSettings) -> Response<Body> {
    let knows_priming = answer.revision().is_some_and(|revision| revision >= PRIMING);
    let primed = if knows_priming { answer.prime() } else { None };
    let mut events = Events::new(settings.keep_alive).with(answer);
    if let Some(first) = first {
        events = events.first(first);
    }
    if let Some(at) = primed {
        events = events.primed(at, settings.retry);
    }
    events.into_response()
}

/// The statuses that modern revisions give to errors of the protocol itself. Any other error is an answer like any.
fn status(era: Era, error: Option<i64>) -> StatusCode {
    match (era, error) {
        (Era::Modern, Some(-32601)) => StatusCode::NOT_FOUND,
        (Era::Modern, Some(-32022..=-32020)) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}
