// SPDX-License-Identifier: Apache-2.0
//! Legacy sessions as a modern server for any number of clients.
//!
//! What asks nothing back runs on a session that all of one authorization context share. A call whose client may be asked
//! gets a session of its own; when the server asks, the call is held open and the client gets an `input_required` result,
//! whose state leads its retry back to the call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::capability::TransportCapabilities;
use biplane::{
    Connection, ConnectionInfo, Error, Inbound, Message, PeerError, Request, ResponseStream, Result, Retry, Subject,
};
use tokio::sync::watch;

use super::capabilities::carried_over;
use super::generate::{answer, answered};
use super::limits::Limits;
use super::names::{MODERN_VERSIONS, code, method, newest};
use crate::view::{Client, Era, Facts, View};

mod asker;
mod call;
mod held;
mod hub;
mod inbox;
mod listen;
mod question;
mod results;
mod session;

use asker::Asker;
use held::Held;
use hub::Hubs;
use results::Results;

/// Legacy sessions with one server, as a bridge needs them.
#[async_trait]
pub trait LegacySessions: fmt::Debug + Send + Sync + 'static {
    /// The session that all requests of one authorization context share, by [`Client::principal`]. It declares neither
    /// sampling nor elicitation nor roots. The same one as before for as long as it lives; the bridge is the only one that
    /// receives from it.
    async fn shared(&self, client: &Client) -> Result<View>;

    /// A session that declared the capabilities of `client`, and that nobody else uses until the view is dropped.
    async fn exclusive(&self, client: &Client) -> Result<View>;
}

/// The modern server that `sessions` make, of which one session said `facts`.
pub fn up(sessions: Arc<dyn LegacySessions>, facts: Arc<Facts>) -> View {
    up_within(sessions, &facts, Limits::default())
}

/// [`up`] with bounds of one's own.
pub fn up_within(sessions: Arc<dyn LegacySessions>, facts: &Facts, limits: Limits) -> View {
    let facts = Arc::new(Facts {
        era: Era::Modern,
        version: newest(MODERN_VERSIONS).to_owned(),
        server_info: facts.server_info.clone(),
        capabilities: carried_over(&facts.capabilities),
        instructions: facts.instructions.clone(),
    });
    let closing = watch::Sender::new(false);
    let shared = Arc::new(Shared {
        results: Results::new(&facts),
        held: Held::new(&limits),
        hubs: Hubs::new(sessions.clone(), closing.subscribe(), limits.clone()),
        facts: facts.clone(),
        sessions,
        closing,
        limits,
    });
    let capabilities =
        TransportCapabilities { sharing: biplane::capability::Sharing::Any, ..TransportCapabilities::UNARY };
    let info = ConnectionInfo::new("mcp", "legacy sessions as a modern server", capabilities);
    View { connection: Arc::new(Up { info, shared }), facts }
}

struct Up {
    info: ConnectionInfo,
    shared: Arc<Shared>,
}

/// What the requests have in common.
struct Shared {
    sessions: Arc<dyn LegacySessions>,
    facts: Arc<Facts>,
    results: Results,
    held: Arc<Held>,
    hubs: Arc<Hubs>,
    closing: watch::Sender<bool>,
    limits: Limits,
}

#[async_trait]
impl Connection for Up {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        if *self.shared.closing.borrow() {
            return Err(Error::closed("the server was closed").with_retry(Retry::Safe));
        }
        let asker = match Asker::of(&request) {
            Ok(asker) => asker,
            Err(refusal) => return Ok(answered(Err(refusal.into()))),
        };
        let shared = self.shared.clone();
        Ok(match request.subject.as_str() {
            method::DISCOVER => answered(Ok(shared.results.discovered())),
            method::LISTEN => answer(|emit| listen::run(shared, request, asker, emit)),
            gone if is_gone(gone) => answered(Err(unknown(&request.subject))),
            _ => answer(|emit| call::run(shared, request, asker, emit)),
        })
    }

    async fn notify(&self, _subject: &Subject, _message: Message) -> Result<()> {
        // A modern client has nothing to notify: what it cancels, it drops.
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        // A modern server says nothing unasked.
        let mut closing = self.shared.closing.subscribe();
        // The sender lives as long as `self`.
        drop(closing.wait_for(|closing| *closing).await);
        Ok(None)
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        self.shared.close();
        Ok(())
    }
}

impl Shared {
    /// Listeners get the end of their streams; calls in flight are read by whoever opened them.
    fn close(&self) {
        self.closing.send_replace(true);
        self.held.clear();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What a modern server does not have, though the session behind it may. An extension's `tasks/` are not what 2025-11-25
/// calls so.
fn is_gone(subject: &str) -> bool {
    let removed = [method::INITIALIZE, method::PING, method::SET_LEVEL, method::SUBSCRIBE, method::UNSUBSCRIBE];
    removed.contains(&subject) || subject.starts_with("tasks/")
}

fn unknown(subject: &Subject) -> Error {
    PeerError::new(code::METHOD_NOT_FOUND, format!("there is no method {subject}")).into()
}

impl fmt::Debug for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Up(a modern server over {:?})", self.shared.sessions)
    }
}
