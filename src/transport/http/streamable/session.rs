// SPDX-License-Identifier: Apache-2.0
//! The session of a legacy connection: opened by the `initialize` that passes through, lost when the server says so.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::connection::ConnectionInfo;
use crate::error::{Error, Result, Retry};
use crate::message::SessionId;
use crate::proto::mcp::header;

pub(super) struct Session {
    /// Before `initialize` was answered.
    before: ConnectionInfo,
    opened: OnceLock<Opened>,
    /// The server knows it no more, or was told to forget it.
    over: AtomicBool,
}

struct Opened {
    info: ConnectionInfo,
    headers: HeaderMap,
}

impl Session {
    pub(super) fn new(info: ConnectionInfo) -> Self {
        Self { before: info, opened: OnceLock::new(), over: AtomicBool::new(false) }
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        self.opened.get().map_or(&self.before, |opened| &opened.info)
    }

    /// `initialize` was answered: with this id, if the server keeps sessions, and this revision.
    pub(super) fn open(&self, id: Option<&HeaderValue>, version: &str) -> Result<()> {
        let mut headers = HeaderMap::new();
        if let Ok(version) = HeaderValue::from_str(version) {
            headers.insert(HeaderName::from_static(header::PROTOCOL_VERSION), version);
        }
        let mut info = self.before.clone();
        if let Some(id) = id {
            let text = id.to_str().ok().filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()));
            let text = text.ok_or_else(|| Error::protocol("the server's session id is no visible ASCII"))?;
            info.session = Some(SessionId::new(text));
            let mut id = id.clone();
            id.set_sensitive(true);
            headers.insert(HeaderName::from_static(header::SESSION_ID), id);
        }
        let opened = Opened { info, headers };
        self.opened.set(opened).map_err(|_| Error::protocol("two sessions were opened on one connection"))
    }

    /// What a message of the session carries; nothing before it is opened.
    pub(super) fn headers(&self) -> HeaderMap {
        self.opened.get().map(|opened| opened.headers.clone()).unwrap_or_default()
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Whether the server gave it an id.
    pub(super) fn has_id(&self) -> bool {
        self.opened.get().is_some_and(|opened| opened.info.session.is_some())
    }

    /// It is of no use any more. True for the first who says so.
    pub(super) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }

    /// An error once it is over.
    pub(super) fn check(&self) -> Result<()> {
        if self.over.load(Ordering::Acquire) { Err(lost()) } else { Ok(()) }
    }
}

/// The server has forgotten the session. It did not look at the request.
pub(super) fn lost() -> Error {
    Error::closed("the server does not know the session any more (404)")
        .with_retry(Retry::Safe)
        .with_hint("connect again, and initialize anew")
}
