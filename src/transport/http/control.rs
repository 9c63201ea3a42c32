// SPDX-License-Identifier: Apache-2.0
//! `DELETE {response root}/{token}?how=stop|kill`: the caller's word to a handler at work. Both servers take it.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, Uri};

use super::body::Body;
use super::head::once;
use super::links::Links;
use super::live::{Controlled, LiveStreams, Token};
use super::place::{Origin, Place};
use super::refusal::Refusal;
use crate::error::Error;
use crate::message::ControlMessage;

/// The token in `path` under `root`, if it stands there.
pub(super) fn token_of(path: &str, root: &str) -> Option<Result<Token, Refusal>> {
    let text = path.strip_prefix(root)?.strip_prefix('/')?;
    Some(text.parse().map_err(|()| unknown_token()))
}

/// Passes the order on.
pub(super) fn control(
    streams: &LiveStreams<impl Controlled>,
    token: Token,
    uri: &Uri,
) -> Result<Response<Body>, Refusal> {
    let how = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("how="));
    let message = match how {
        Some("stop") => ControlMessage::Stop,
        None | Some("kill") => ControlMessage::Kill,
        Some(other) => {
            let error = Error::protocol(format!("how={other:?} is neither stop nor kill"));
            return Err(Refusal::from(error));
        }
    };
    if !streams.control(token, message) {
        return Err(unknown_token());
    }
    let mut response = Response::new(Body::full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// How a caller gives the order. Few do, so the path is kept as it came.
pub(super) struct Control {
    pub(super) links: Arc<Links>,
    origin: Arc<Origin>,
    path: Box<str>,
}

impl Control {
    /// The answer is at `path`, at the origin of `place`.
    pub(super) fn new(links: &Arc<Links>, place: &Place, path: &str) -> Self {
        Self { links: links.clone(), origin: place.origin().clone(), path: path.into() }
    }

    /// Where to send the order; `None` if the answer's path is none.
    pub(super) fn place(&self, message: ControlMessage) -> Option<Place> {
        let how = match message {
            ControlMessage::Stop => "stop",
            ControlMessage::Kill => "kill",
        };
        Place::on(self.origin.clone(), &format!("{}?how={how}", self.path)).ok()
    }
}

/// The value of the header that names the path.
pub(super) fn stream_path(root: &str, token: Token) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{root}/{token}")).ok().map(once)
}

/// For a token that leads nowhere (any more).
pub(super) fn unknown_token() -> Refusal {
    let error = Error::refused("no live answer has this token").with_hint(
        "such URLs come from a responder, in x-biplane-stream or in an acknowledgement; they work once, \
         for one reader, until the answer is over or was not fetched in time",
    );
    Refusal::new(StatusCode::NOT_FOUND, error)
}
