// SPDX-License-Identifier: Apache-2.0
//! A modern server for a legacy client: the session that the client believes in exists here only.
//!
//! Every request is made to describe itself. What the server asks in `input_required` results becomes requests to the
//! client on the call's own stream; their answers go out with a retry. Subscriptions and changes of lists come on one
//! `subscriptions/listen` stream of the session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::proto::json;
use biplane::{
    Connection, ConnectionInfo, Error, Inbound, Message, PeerError, Request, ResponseStream, Result, Subject,
};
use bytes::Bytes;
use parking_lot::Mutex;

use super::capabilities::{Askable, carried_over};
use super::edit::Object;
use super::generate::{answer, answered};
use super::level::Level;
use super::limits::Limits;
use super::names::{LEGACY_VERSIONS, code, key, method, newest};
use crate::view::{Client, Era, Facts, View};

mod call;
mod news;
mod rounds;

use news::News;

/// The session of `client` with the modern server behind `view`.
///
/// The connection of `view` may be shared by any number of sessions: it is asked, and never received from or closed.
pub fn down(view: View, client: Client) -> View {
    down_within(view, client, Limits::default())
}

/// [`down`] with bounds of one's own.
pub fn down_within(view: View, client: Client, limits: Limits) -> View {
    let version = LEGACY_VERSIONS.iter().copied().find(|version| *version == client.version);
    let facts = Arc::new(Facts {
        era: Era::Legacy,
        version: version.unwrap_or(newest(LEGACY_VERSIONS)).to_owned(),
        server_info: view.facts.server_info.clone(),
        capabilities: carried_over(&view.facts.capabilities),
        instructions: view.facts.instructions.clone(),
    });
    let shared = Arc::new(Shared {
        meta: self_description(&view.facts.version, &client),
        askable: Askable::read(&client.capabilities),
        logs: json::get(&facts.capabilities, &["logging"]).is_some(),
        upstream: view.connection.clone(),
        level: Mutex::new(Level::Info),
        news: News::new(&facts.capabilities, limits.subscriptions),
        limits,
    });
    let info = ConnectionInfo { session: None, ..view.connection.info().clone() };
    View { connection: Arc::new(Down { info, shared }), facts }
}

/// The members of `_meta` that make a request of `client` a modern one.
fn self_description(version: &str, client: &Client) -> Bytes {
    let mut meta = Object::new();
    meta.set(key::VERSION, &json::quote(version));
    if !client.info.is_empty() {
        meta.set(key::CLIENT_INFO, &client.info);
    }
    meta.set(key::CLIENT_CAPABILITIES, &carried_over(&client.capabilities));
    meta.into_members()
}

struct Down {
    info: ConnectionInfo,
    shared: Arc<Shared>,
}

/// What the session's calls have in common.
struct Shared {
    upstream: Arc<dyn Connection>,
    /// Raw members.
    meta: Bytes,
    askable: Askable,
    /// The server writes logs.
    logs: bool,
    level: Mutex<Level>,
    news: News,
    limits: Limits,
}

impl Shared {
    /// What `_meta` of a call says of us.
    fn meta_of_call(&self) -> Bytes {
        if !self.logs {
            return self.meta.clone();
        }
        let level = *self.level.lock();
        let level = format!(",\"{}\":\"{}\"", key::LOG_LEVEL, level.name());
        [&self.meta, level.as_bytes()].concat().into()
    }

    fn set_level(&self, params: &Bytes) -> Result<Message> {
        let level = json::get(params, &["level"]).and_then(|raw| Level::read(&raw)).ok_or_else(|| {
            PeerError::new(code::INVALID_PARAMS, "level is one of the eight severities of RFC 5424, such as \"info\"")
        })?;
        *self.level.lock() = level;
        Ok(empty())
    }
}

fn empty() -> Message {
    Message::new(Bytes::from_static(b"{}"))
}

#[async_trait]
impl Connection for Down {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let shared = self.shared.clone();
        if shared.news.is_closed() {
            return Err(Error::closed("the session was closed").with_retry(biplane::Retry::Safe));
        }
        Ok(match request.subject.as_str() {
            method::PING => answered(Ok(empty())),
            method::SET_LEVEL => answered(shared.set_level(&request.message.body)),
            method::SUBSCRIBE => {
                answer(|_| async move { shared.news.subscribe(&shared, &request.message.body).await.map(|()| empty()) })
            }
            method::UNSUBSCRIBE => {
                answer(
                    |_| async move { shared.news.unsubscribe(&shared, &request.message.body).await.map(|()| empty()) },
                )
            }
            // Nobody asks this in a legacy session, and an extension's `tasks/` are not what 2025-11-25 calls so.
            method::DISCOVER | method::LISTEN | method::INITIALIZE => answered(Err(unknown(&request.subject))),
            tasks if tasks.starts_with("tasks/") => answered(Err(unknown(&request.subject))),
            _ => answer(|emit| call::run(shared, request, emit)),
        })
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        match subject.as_str() {
            // The modern era has neither session nor roots that change, and what was cancelled was dropped.
            method::INITIALIZED | method::ROOTS_CHANGED | method::CANCELLED | method::PROGRESS => Ok(()),
            _ => self.shared.upstream.notify(subject, message).await,
        }
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.shared.news.receive(&self.shared).await
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        // Calls in flight are read by whoever opened them, on a link that is not this session's to close.
        self.shared.news.close();
        Ok(())
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        self.shared.news.close();
    }
}

fn unknown(subject: &Subject) -> Error {
    PeerError::new(code::METHOD_NOT_FOUND, format!("a legacy session has no method {subject}")).into()
}

impl fmt::Debug for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Down(a legacy session over {:?})", self.shared.upstream)
    }
}
