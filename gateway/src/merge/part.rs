// SPDX-License-Identifier: Apache-2.0
//! One of several upstreams: its name, what is let through, and whether it is there.

use std::fmt;
use std::sync::Arc;

use biplane::proto::json;
use biplane::{Error, ErrorKind, PeerError, Retry};
use bytes::Bytes;
use tokio::sync::watch;

use crate::merge::filter::ToolFilter;
use crate::merge::naming::Naming;
use crate::view::View;

/// Whether an upstream is there.
#[derive(Clone, Debug)]
pub enum State {
    /// It is, and this is how it is used. Another view in its place means that it was started anew.
    Up(View),
    /// It is not, and this is why.
    Down(Arc<Error>),
}

impl State {
    /// It is not there.
    pub fn down(error: Error) -> Self {
        Self::Down(Arc::new(error))
    }
}

/// One of several upstreams.
#[derive(Clone)]
pub struct Part {
    /// See [`check_name`](crate::merge::check_name).
    pub(crate) name: Arc<str>,
    pub(crate) naming: Option<Naming>,
    pub(crate) filter: ToolFilter,
    pub(crate) state: watch::Receiver<State>,
}

impl Part {
    /// An upstream whose state may change while it is used.
    pub fn new(name: impl Into<Arc<str>>, state: watch::Receiver<State>) -> Self {
        Self { name: name.into(), naming: None, filter: ToolFilter::default(), state }
    }

    /// An upstream whose state stays as it is.
    pub fn fixed(name: impl Into<Arc<str>>, state: State) -> Self {
        Self::new(name, watch::channel(state).1)
    }

    /// Names its tools and prompts otherwise than the others'.
    pub fn with_naming(mut self, naming: Naming) -> Self {
        self.naming = Some(naming);
        self
    }

    /// Lets only some of its tools be seen and called.
    pub fn with_filter(mut self, filter: ToolFilter) -> Self {
        self.filter = filter;
        self
    }

    /// The view, or the error that a caller gets.
    pub(crate) fn view(&self) -> Result<View, Error> {
        match &*self.state.borrow() {
            State::Up(view) => Ok(view.clone()),
            State::Down(error) => Err(down(&self.name, error)),
        }
    }

    /// Whether the state can still change.
    pub(crate) fn is_live(&self) -> bool {
        self.state.has_changed().is_ok()
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state.borrow() {
            State::Up(_) => "up",
            State::Down(_) => "down",
        };
        write!(f, "Part({}, {state})", self.name)
    }
}

/// What is said of an upstream that is down: which one, and why, with a code of Biplane's own. Nothing was sent.
pub(crate) fn down(name: &str, error: &Error) -> Error {
    let kind = match error.kind() {
        // Its own code says something of another request.
        ErrorKind::Peer => ErrorKind::Connect,
        kind => kind,
    };
    let text = format!("the upstream {name:?} is down: {error}");
    let said = PeerError::from(Error::new(kind, text).with_retry(Retry::Safe));
    let data = [br#"{"upstream":"#, &json::quote(name)[..], br#","reason":"#, &json::quote(&error.to_string()), b"}"];
    Error::from(said.with_data(Bytes::from(data.concat())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_down_is_named_with_its_reason() {
        for error in [Error::connect("nobody listens"), Error::from(PeerError::new(-32603, "nobody listens"))] {
            let part = Part::fixed("b", State::down(error));
            let error = part.view().unwrap_err();
            let peer = error.peer().unwrap();
            assert!(!(-32768..=-32000).contains(&peer.code), "{}", peer.code);
            assert!(peer.is_unstarted() && error.kind() == ErrorKind::Connect);
            assert!(peer.message.contains("\"b\"") && peer.message.contains("nobody listens"), "{peer}");
            assert_eq!(json::get(&peer.data, &["upstream"]).unwrap(), "\"b\"");
            assert!(!part.is_live());
        }
    }
}
