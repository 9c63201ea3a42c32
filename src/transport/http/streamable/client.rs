// SPDX-License-Identifier: Apache-2.0
//! What the requests of one connection share, and what becomes of messages that belong to none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::super::endpoint::{Carriage, Endpoint};
use super::super::known::Known;
use super::super::links::decorate;
use super::super::verdict::read_whole;
use super::flight::Flights;
use super::question::Questions;
use super::session::{Session, lost};
use super::tools::Tools;
use super::{headers, question};
use crate::connection::{ConnectionInfo, Inbound};
use crate::error::{Error, Result};
use crate::io::messages::Inbox;
use crate::message::{Message, Subject};
use crate::proto::jsonrpc::{self, Id, Packet, ids};
use crate::proto::mcp;

/// For a message that has no answer to be taken: it is a word, not work.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 << 10;

pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    pub(super) session: Session,
    pub(super) flights: Flights,
    pub(super) questions: Questions,
    pub(super) tools: Tools,
    known: Arc<Known>,
    inbox: Mutex<Inbox>,
    next: AtomicU64,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint, known: Arc<Known>, info: ConnectionInfo) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            session: Session::new(info),
            flights: Flights::default(),
            questions: Questions::default(),
            tools: Tools::default(),
            known,
            inbox: Mutex::default(),
            next: AtomicU64::new(1),
        })
    }

    /// A number that no other request of this connection has.
    pub(super) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn inbox(&self) -> parking_lot::MutexGuard<'_, Inbox> {
        self.inbox.lock()
    }

    /// Keeps a message for whoever receives.
    pub(super) fn receive_later(&self, inbound: Inbound) {
        let (turned_down, waker) = self.inbox().put(inbound);
        // Dropped outside the lock: a request's sender answers when it goes.
        drop(turned_down);
        waker.into_iter().for_each(Waker::wake);
    }

    /// What the server sends beside answers. Comes back if it is for the reader of the stream that it came on.
    pub(super) fn sort(self: &Arc<Self>, packet: Packet, is_modern: bool) -> Option<Inbound> {
        match packet {
            Packet::Notification { method, mut message } => match method.as_str() {
                ids::CANCELLED => {
                    let id = ids::cancelled(&message.body).and_then(Id::from_raw);
                    id.into_iter().for_each(|id| self.questions.cancel(&id));
                    None
                }
                ids::PROGRESS => {
                    let token = ids::told_token(&message.body).and_then(Id::from_raw);
                    let number = token.and_then(|token| token.as_number());
                    match number.and_then(|number| Some((number, self.flights.token(number)?))) {
                        Some((number, token)) => {
                            message.body = ids::with_told_token(&message.body, &token);
                            self.flights.hand_over(number, Inbound::Notification(method, message))
                        }
                        None => Some(Inbound::Notification(method, message)),
                    }
                }
                _ => Some(Inbound::Notification(method, message)),
            },
            Packet::Request { method, .. } if is_modern => {
                tracing::warn!(target: "biplane::http", %method, "a modern server sent a request, which it must not");
                None
            }
            Packet::Request { id, method, message } => question::ask(self, id, method, message),
            Packet::Response { id, .. } => {
                tracing::debug!(target: "biplane::http", ?id, "an answer that nobody waits for");
                None
            }
        }
    }

    /// Posts a message that has no answer, and waits until it is taken.
    pub(super) async fn tell(&self, packet: Packet, headers: HeaderMap, deadline: Instant) -> Result<()> {
        let posted = self.endpoint.post(headers, packet.to_bytes(), Carriage::Aside, deadline).await?;
        if posted.response.status().is_success() {
            self.endpoint.put_aside(posted, deadline).await;
            return Ok(());
        }
        let whole = read_whole(posted, MAX_REFUSAL, deadline).await?;
        if whole.status == StatusCode::NOT_FOUND && self.session.has_id() {
            self.session.end();
            return Err(lost());
        }
        Err(decorate(whole.into_error(), self.endpoint.place()))
    }

    /// A notification.
    pub(super) async fn notify(&self, method: &Subject, message: Message) -> Result<()> {
        self.session.check()?;
        let headers = match mcp::version(&message.body) {
            Some(version) => headers::modern(&version, method.as_str(), &message, &self.tools),
            None => headers::legacy(&self.session),
        };
        let packet = Packet::Notification { method: method.clone(), message };
        self.tell(packet, headers, Instant::now() + TAKEN_WITHIN).await
    }

    /// A notification for which nobody waits.
    pub(super) fn tell_aside(self: &Arc<Self>, method: &'static str, params: Bytes) {
        // It may be dropped on a thread outside the runtime; then closing the link is what remains.
        let Ok(runtime) = Handle::try_current() else { return };
        let client = self.clone();
        runtime.spawn(async move {
            if let Err(error) = client.notify(&Subject::from_static(method), Message::new(params)).await {
                tracing::debug!(target: "biplane::http", "{method} was not taken: {error}");
            }
        });
    }

    /// The server does not behave as was found out.
    pub(super) fn forget_finding(&self) {
        self.known.forget(&self.endpoint.url());
    }

    /// Ends the session at the server, if there is one that it knows. For the first caller.
    pub(super) fn take_leave(&self) -> Option<(Endpoint, HeaderMap)> {
        (self.session.has_id() && self.session.end()).then(|| (self.endpoint.clone(), self.session.headers()))
    }
}

/// How long the server has to take note that a session is over.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Tells the server that the session is over. That it does not care (405) is fine.
pub(super) async fn leave((endpoint, headers): (Endpoint, HeaderMap), within: Duration) {
    let deadline = Instant::now() + within.min(LEAVE_WITHIN);
    if let Err(error) = endpoint.delete(headers, deadline).await {
        tracing::debug!(target: "biplane::http", "the server was not told that the session is over: {error}");
    }
}

impl Drop for Client {
    /// The handle and every stream are gone.
    fn drop(&mut self) {
        if let (Some(leaving), Ok(runtime)) = (self.take_leave(), Handle::try_current()) {
            runtime.spawn(leave(leaving, LEAVE_WITHIN));
        }
    }
}

/// The messages of one JSON text: one, or several in the revision that had batches.
pub(super) fn packets(text: &Bytes) -> Result<Vec<Packet>> {
    let parse = |text: &Bytes| {
        Packet::parse(text).map_err(|bad| Error::protocol(format!("the server's message is none: {}", bad.message)))
    };
    match jsonrpc::batch(text) {
        Some(batch) => batch.iter().map(parse).collect(),
        None => Ok(vec![parse(text)?]),
    }
}
