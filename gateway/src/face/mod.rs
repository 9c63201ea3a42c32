// SPDX-License-Identifier: Apache-2.0
//! What clients see: one accepted connection, on which both eras may come.
//!
//! A request that describes itself is modern and goes to the merged servers as it is. Any other belongs to the legacy
//! session that `initialize` opens on this connection.

use std::sync::Arc;
use std::time::Duration;

use biplane::io::PRINCIPAL;
use biplane::proto::json;
use biplane::proto::jsonrpc::{INVALID_REQUEST, METHOD_NOT_FOUND};
use biplane::{Connection, Error, Inbound, Message, PeerError, Request, ResponseSender, Subject};
use bytes::Bytes;
use tokio::sync::watch;

use self::in_place::InPlace;
use self::session::{LegacySession, Opening};
use crate::core::Core;
use crate::view::Era;

mod in_place;
mod relay;
mod session;

pub(crate) use relay::relay;

/// For a request that came while `initialize` is still being answered.
const OPEN_WITHIN: Duration = Duration::from_secs(90);

/// The key that makes a request modern.
const VERSION: [&str; 2] = ["_meta", "io.modelcontextprotocol/protocolVersion"];

/// Serves one connection until it ends or `stop` says so; then what is in flight may finish within `grace`.
pub(crate) async fn serve(
    core: Arc<Core>,
    connection: Arc<dyn Connection>,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let _counted = core.count_connection();
    let face = Arc::new(Face { core, connection: connection.clone(), session: watch::Sender::new(Opening::NotYet) });
    connection.answer_in_place(Arc::new(InPlace { core: face.core.clone(), session: face.session.subscribe() }));
    let grace = loop {
        let received = tokio::select! {
            received = connection.receive() => received,
            grace = stop.wait_for(Option::is_some) => break grace.map_or(Duration::ZERO, |grace| grace.unwrap_or_default()),
        };
        match received {
            Ok(Some(Inbound::Request(request, reply))) => {
                // Before the next message is looked at: one that follows `initialize` at once waits for it.
                let begins = face.begins(&request);
                drop(tokio::spawn(face.clone().answer(request, reply, begins)));
            }
            Ok(Some(Inbound::Notification(method, message))) => face.take(method, message),
            Ok(None) => break Duration::ZERO,
            Err(error) => {
                tracing::debug!(target: "biplane::gateway", peer = connection.info().peer, "a client is gone: {error}");
                break Duration::ZERO;
            }
        }
    };
    let _ = connection.close(grace).await;
    face.session.send_replace(Opening::Over);
}

struct Face {
    core: Arc<Core>,
    connection: Arc<dyn Connection>,
    session: watch::Sender<Opening>,
}

impl Face {
    /// Whether `request` is the `initialize` that opens the session; from now on the session is under way.
    fn begins(&self, request: &Request) -> bool {
        request.subject.as_str() == "initialize"
            && !is_modern(request)
            && self.session.send_if_modified(|opening| {
                let begins = matches!(opening, Opening::NotYet);
                if begins {
                    *opening = Opening::Underway;
                }
                begins
            })
    }

    async fn answer(self: Arc<Self>, request: Request, reply: ResponseSender, begins: bool) {
        let method = request.subject.as_str();
        let is_modern = is_modern(&request);
        self.core.count_request(if is_modern { Era::Modern } else { Era::Legacy });
        if is_modern {
            match self.core.modern().await {
                Ok(view) => relay(&*view.connection, request, reply, &self.core).await,
                Err(error) => reply.fail(&error),
            }
        } else if method == "initialize" {
            self.initialize(request, reply, begins).await;
        } else if method == "ping" {
            send(reply, Message::new("{}")).await;
        } else {
            match self.session().await {
                Ok(session) => relay(&*session.view.connection, request, reply, &self.core).await,
                Err(error) => reply.fail(error),
            }
        }
    }

    async fn initialize(&self, request: Request, reply: ResponseSender, begins: bool) {
        if !begins {
            return reply.fail(PeerError::new(INVALID_REQUEST, "the session is initialised already"));
        }
        let principal = request.message.headers.get_str(PRINCIPAL).unwrap_or_default();
        let opened = tokio::select! {
            opened = LegacySession::open(&self.core, &self.connection, &request.message.body, principal) => opened,
            // The client went away; nobody is to be initialised.
            _ = reply.stopped() => Err(Error::cancelled("the client gave up")),
        };
        match opened {
            Ok((session, result)) => {
                // A connection that ended meanwhile has nobody who could use the session.
                self.session.send_if_modified(|opening| match opening {
                    Opening::Over => false,
                    opening => {
                        *opening = Opening::Open(session);
                        true
                    }
                });
                send(reply, Message::new(result)).await;
            }
            Err(error) => {
                // The client may try again on the same connection.
                self.session.send_replace(Opening::NotYet);
                reply.fail(&error);
            }
        }
    }

    async fn session(&self) -> Result<Arc<LegacySession>, PeerError> {
        let mut session = self.session.subscribe();
        let settled = session.wait_for(|opening| !matches!(opening, Opening::Underway));
        match tokio::time::timeout(OPEN_WITHIN, settled).await.as_ref().map(|opening| opening.as_deref()) {
            Ok(Ok(Opening::Open(session))) => Ok(session.clone()),
            _ => Err(PeerError::new(
                INVALID_REQUEST,
                "there is no session: send initialize first, or a request that describes itself (2026-07-28)",
            )),
        }
    }

    fn take(self: &Arc<Self>, method: Subject, message: Message) {
        // The server behind was told when its own session was opened.
        if method.as_str() == "notifications/initialized" {
            return;
        }
        let face = self.clone();
        tokio::spawn(async move {
            if let Ok(session) = face.session().await {
                // What it is about is known to the server alone, and so is what it would have said.
                let _ = session.view.connection.notify(&method, message).await;
            }
        });
    }
}

fn is_modern(request: &Request) -> bool {
    request.subject.as_str() == "server/discover" || json::get(&request.message.body, &VERSION).is_some()
}

/// The answer to what a server asks and nobody is there to be asked.
pub(crate) fn nobody_to_ask(method: &Subject) -> PeerError {
    PeerError::new(METHOD_NOT_FOUND, format!("no client can be asked for {method}"))
}

async fn send(reply: ResponseSender, message: Message) {
    if reply.send(message).await.is_ok() {
        reply.close();
    }
}

/// A raw JSON object, or `{}`.
fn object(raw: Option<Bytes>) -> Bytes {
    raw.filter(|raw| raw.first() == Some(&b'{')).unwrap_or(Bytes::from_static(b"{}"))
}
