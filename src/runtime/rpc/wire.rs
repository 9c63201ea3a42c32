// SPDX-License-Identifier: Apache-2.0
//! How a message of a connection is put into a request of a service, by both ends.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, PeerError, Retry};
use crate::io::PRINCIPAL;
use crate::message::{Headers, Message, SessionId};

/// What a request is for; absent, it carries a message.
pub(super) const VERB: &str = "x-biplane-verb";

/// The session that a request belongs to; absent, to none. On an item of the answer to `initialize`, the one that was opened.
pub(super) const SESSION: &str = "x-biplane-session";

/// Headers that cross the planes beside our own: who asks, and those that begin with this, which HTTP mirrors of a tool's
/// parameters.
const PARAMETERS: &str = "mcp-param-";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// The body is a JSON-RPC message. A request is answered by what is sent on its account and then its response, anything
    /// else by a clean end once it was taken.
    Message,
    /// The items of the answer are what the server sends unasked.
    Listen,
    /// Ends the session.
    Close,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Listen => "listen",
            Self::Close => "close",
        }
    }

    /// What `headers` ask for.
    pub(super) fn of(headers: &Headers) -> Result<Self, Error> {
        match headers.get(VERB).map(|verb| &verb[..]) {
            None | Some(b"message") => Ok(Self::Message),
            Some(b"listen") => Ok(Self::Listen),
            Some(b"close") => Ok(Self::Close),
            Some(other) => Err(Error::unsupported(format!(
                "{VERB} is none of message, listen and close: {:?}",
                String::from_utf8_lossy(other)
            ))
            .with_retry(Retry::Safe)),
        }
    }
}

/// The request for `verb`; of the headers of the connection's message, those that may cross.
pub(super) fn envelope(verb: Verb, session: Option<&SessionId>, from: &Headers, body: Bytes) -> Message {
    let mut headers = Headers::new();
    headers.append(VERB, verb.as_str());
    if let Some(session) = session {
        headers.append(SESSION, Bytes::copy_from_slice(session.as_str().as_bytes()));
    }
    pass(from, &mut headers);
    Message { headers, body }
}

/// Copies what may cross.
pub(super) fn pass(from: &Headers, to: &mut Headers) {
    for (name, value) in from.iter() {
        let is_parameter = name.get(..PARAMETERS.len()).is_some_and(|start| start.eq_ignore_ascii_case(PARAMETERS));
        if is_parameter || name.eq_ignore_ascii_case(PRINCIPAL) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// A session's name on the planes says which instance holds it, so that any caller who knows the name finds it.
pub(super) fn name_session(instance: u64, session: &str) -> SessionId {
    SessionId::new(format!("{instance}.{session}"))
}

/// The two parts of a session's name.
pub(super) fn split_session(name: &str) -> Option<(u64, &str)> {
    let (instance, session) = name.split_once('.')?;
    let is_visible = !session.is_empty() && session.bytes().all(|byte| byte.is_ascii_graphic());
    Some((instance.parse().ok()?, session)).filter(|_| is_visible && name.len() <= 512)
}

/// The data of the error that says that a session is not known.
const UNKNOWN: &[u8] = br#"{"session":"unknown"}"#;

/// What a worker answers where it does not know the session: nothing ran.
pub(super) fn unknown_session() -> PeerError {
    let error = Error::refused("this instance does not know the session: it ended, or belonged to an earlier process")
        .with_retry(Retry::Safe)
        .with_hint("open a new one with initialize");
    PeerError::from(error).with_data(UNKNOWN)
}

/// Whether the worker said so.
pub(super) fn is_unknown_session(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused && error.peer().is_some_and(|peer| peer.data == UNKNOWN)
}
