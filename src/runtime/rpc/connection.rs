// SPDX-License-Identifier: Apache-2.0
//! The caller's side: a service as a connection that has, at most, one session.
//!
//! Requests that describe themselves go to whichever instance is next, like all calls of a service. Once `initialize` was
//! answered, the others go to the instance that answered it, which the session's name tells.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::answer::Answer;
use super::listen::listen;
use super::question::Questions;
use super::wire::{self, Verb};
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, ErrorKind, PeerError, Phase, Result, Retry};
use crate::io::messages::CLAIMS;
use crate::message::{Headers, Message, Request, SessionId, Subject};
use crate::proto::json;
use crate::proto::jsonrpc::{Id, Packet};
use crate::runtime::Service;
use crate::stream::roster::{Beginning, Roster, Terms};
use crate::stream::{ResponseSender, ResponseStream};
use crate::target::TransportId;

/// Messages that the server sent unasked and nobody has received yet.
const MAX_INBOUND: usize = 256;

/// How long a message that has no answer may take to be taken.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// For the word to the worker that a session is over. A worker that does not hear it ends the session when it has been idle
/// for long enough.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a modern request says its revision: one that has it belongs to no session.
const MODERN: [&str; 2] = ["_meta", "io.modelcontextprotocol/protocolVersion"];

/// A connection to a service. Its handles end the session when the last of them and of its streams is dropped.
pub(in crate::runtime) struct RpcConnection {
    pub(super) shared: Arc<Shared>,
    inbound: tokio::sync::Mutex<mpsc::Receiver<Inbound>>,
    is_listening: AtomicBool,
}

pub(super) struct Shared {
    pub(super) service: Service,
    info: ConnectionInfo,
    session: OnceLock<Session>,
    /// An `initialize` is under way, or was answered.
    is_opening: AtomicBool,
    /// The worker was told that the session is over, or told us so.
    has_ended: AtomicBool,
    calls: Arc<Roster>,
    next_id: AtomicU64,
    inbound: mpsc::Sender<Inbound>,
    over: watch::Sender<bool>,
    pub(super) questions: Questions,
    pub(super) max_item: usize,
}

/// What `initialize` opened.
pub(super) struct Session {
    info: ConnectionInfo,
    pub(super) id: SessionId,
    /// The service, at the instance that holds the session.
    pub(super) service: Service,
}

impl RpcConnection {
    /// A connection to `service` without a session. Sends nothing.
    pub(in crate::runtime) fn new(service: Service, max_item: usize) -> Self {
        let (inbound, receiver) = mpsc::channel(MAX_INBOUND);
        let peer = service.info().peer.clone();
        let shared = Shared {
            service,
            info: ConnectionInfo::new(TransportId::from_static(super::SCHEME), peer, CLAIMS),
            session: OnceLock::new(),
            is_opening: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            calls: Roster::new(),
            next_id: AtomicU64::new(1),
            inbound,
            over: watch::Sender::new(false),
            questions: Questions::default(),
            max_item,
        };
        Self {
            shared: Arc::new(shared),
            inbound: tokio::sync::Mutex::new(receiver),
            is_listening: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Connection for RpcConnection {
    fn info(&self) -> &ConnectionInfo {
        self.shared.session.get().map_or(&self.shared.info, |session| &session.info)
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let shared = &self.shared;
        shared.check_open()?;
        if request.items.is_some() {
            return Err(Error::unsupported("a JSON-RPC request is one message, not a stream of them"));
        }
        let opens = request.subject.as_str() == "initialize";
        if opens && shared.is_opening.swap(true, Ordering::AcqRel) {
            return Err(Error::refused("this connection has a session already")
                .with_retry(Retry::Safe)
                .with_hint("connect again: a session is a connection"));
        }
        let session = shared.session.get().filter(|_| !is_modern(&request.message));
        let number = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let id = Id::number(number);
        let headers = request.message.headers.clone();
        let packet = Packet::Request { id: id.clone(), method: request.subject, message: request.message };
        let message = wire::envelope(Verb::Message, session.map(|session| &session.id), &headers, packet.to_bytes());
        let service = session.map_or(&shared.service, |session| &session.service);
        let sent = Request::new(service.subject().clone(), message).with_context(request.context);
        let sent = service.open(sent).inspect_err(|_| {
            if opens {
                shared.is_opening.store(false, Ordering::Release);
            }
        })?;
        let answer = Answer::new(shared.clone(), sent, id, opens, session.is_some());
        let inbound = shared.inbound.clone();
        let terms = Terms {
            deadline: None,
            max_item: usize::MAX,
            // A reader that wants items only. What nobody receives is dropped, and a question then answers itself.
            forward: Some(Box::new(move |message| drop(inbound.try_send(message)))),
        };
        Ok(shared.calls.admit(Beginning::Open(answer.stream()), terms)?.stream())
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        let shared = &self.shared;
        shared.check_open()?;
        let session = shared.session.get().filter(|_| !is_modern(&message));
        let headers = message.headers.clone();
        let packet = Packet::Notification { method: subject.clone(), message };
        shared.tell(session, &headers, &packet).await?;
        // From here on the server may speak unasked.
        if let Some(session) = session
            && subject.as_str() == "notifications/initialized"
            && !self.is_listening.swap(true, Ordering::AcqRel)
        {
            tokio::spawn(listen(Arc::downgrade(shared), session.service.clone(), session.id.clone()));
        }
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        let mut inbound = self.inbound.lock().await;
        let mut over = self.shared.over.subscribe();
        tokio::select! {
            biased;
            received = inbound.recv() => Ok(received),
            _ = over.wait_for(|over| *over) => Ok(None),
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.shared.calls.close(grace).await;
        self.shared.finish();
        if let Some((session, farewell)) = self.shared.farewell() {
            // A worker that cannot be told ends an idle session by itself.
            let _ = session.request(farewell).await;
        }
        Ok(())
    }
}

impl Drop for RpcConnection {
    fn drop(&mut self) {
        // Ends the stream of what the server sends unasked: nobody can receive any more.
        self.shared.over.send_replace(true);
    }
}

impl Shared {
    /// An error once the session was lost or the connection closed.
    fn check_open(&self) -> Result<()> {
        self.calls.check_open()
    }

    /// Sends a message that has no answer, and waits until it was taken.
    pub(super) async fn tell(&self, session: Option<&Session>, headers: &Headers, packet: &Packet) -> Result<()> {
        let message = wire::envelope(Verb::Message, session.map(|session| &session.id), headers, packet.to_bytes());
        let service = session.map_or(&self.service, |session| &session.service);
        let request = Request::new(service.subject().clone(), message).with_timeout(NOTIFY_TIMEOUT);
        let told = async {
            let mut answer = service.open(request)?;
            while let Some(item) = answer.next().await {
                item?;
            }
            Ok(())
        };
        told.await.map_err(|error| self.explain(error, session.is_some()))
    }

    /// Sends the answer to a request of the server's.
    pub(super) async fn reply(&self, id: Id, outcome: Result<Message, PeerError>) -> Result<()> {
        let packet = Packet::Response { id, outcome };
        self.tell(self.session.get(), &Headers::new(), &packet).await
    }

    /// The answer to `initialize` named a session.
    pub(super) fn opened(&self, name: &Bytes) -> Result<()> {
        let name = std::str::from_utf8(name).ok();
        let (instance, name) = name
            .and_then(|name| Some((wire::split_session(name)?.0, name)))
            .ok_or_else(|| Error::protocol("the worker named its session in a way that nobody can read"))?;
        let id = SessionId::new(name);
        let info = ConnectionInfo { session: Some(id.clone()), ..self.info.clone() };
        let _ = self.session.set(Session { info, id, service: self.service.to_instance(instance) });
        Ok(())
    }

    /// `initialize` came to nothing: another one may try.
    pub(super) fn not_opened(&self) {
        if self.session.get().is_none() {
            self.is_opening.store(false, Ordering::Release);
        }
    }

    /// Whether a session was opened.
    pub(super) fn has_session(&self) -> bool {
        self.session.get().is_some()
    }

    /// What an error on the planes means to the user of the connection. If the session went with its instance, or the
    /// instance does not know it, nothing ran: the caller may open another and ask again.
    pub(super) fn explain(&self, error: Error, is_of_session: bool) -> Error {
        if !is_of_session {
            return error;
        }
        if wire::is_unknown_session(&error) {
            self.lose();
            return lost("the worker no longer knows this session").with_source(error);
        }
        let is_unsent = error.retry() == Retry::Safe;
        if is_unsent && matches!(error.kind(), ErrorKind::NoService | ErrorKind::Connect | ErrorKind::Closed) {
            self.lose();
            return lost("the instance that holds this session is gone").with_source(error);
        }
        error
    }

    /// The session is no more: nothing further is taken, and the receiver is told so. What is under way ends by itself.
    pub(super) fn lose(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.finish();
    }

    fn finish(&self) {
        self.calls.refuse();
        self.questions.drop_all();
        self.over.send_replace(true);
    }

    /// Ready once nothing further is to be received.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut over = self.over.subscribe();
        async move {
            // An error means that the connection is gone.
            let _ = over.wait_for(|over| *over).await;
        }
    }

    /// Hands on what the server sent unasked. A notification waits for its receiver, a request is turned down instead.
    pub(super) async fn deliver(&self, inbound: Inbound) {
        match inbound {
            Inbound::Notification(..) => drop(self.inbound.send(inbound).await),
            Inbound::Request(..) => {
                let sent = self.inbound.try_send(inbound);
                if let Err(mpsc::error::TrySendError::Full(Inbound::Request(_, reply))) = sent {
                    overflow(reply);
                }
            }
        }
    }

    /// The word that the session is over, once.
    fn farewell(&self) -> Option<(Service, Request)> {
        let session = self.session.get()?;
        if self.has_ended.swap(true, Ordering::AcqRel) {
            return None;
        }
        let message = wire::envelope(Verb::Close, Some(&session.id), &Headers::new(), Bytes::new());
        let request = Request::new(session.service.subject().clone(), message).with_timeout(FAREWELL_TIMEOUT);
        Some((session.service.clone(), request))
    }

    pub(super) fn weak(self: &Arc<Self>) -> Weak<Self> {
        Arc::downgrade(self)
    }
}

impl Drop for Shared {
    /// Neither the connection nor one of its streams is left.
    fn drop(&mut self) {
        if let Some((session, farewell)) = self.farewell()
            && let Ok(tokio) = tokio::runtime::Handle::try_current()
        {
            tokio.spawn(async move {
                let _ = session.request(farewell).await;
            });
        }
    }
}

fn lost(what: &'static str) -> Error {
    Error::closed(what).with_phase(Phase::Send).with_retry(Retry::Safe).with_hint("connect again and send initialize")
}

fn overflow(reply: ResponseSender) {
    let error = Error::overloaded(format!("{MAX_INBOUND} messages wait to be received on this connection"));
    reply.refuse(error.with_retry(Retry::Safe));
}

fn is_modern(message: &Message) -> bool {
    json::get(&message.body, &MODERN).is_some()
}

impl fmt::Debug for RpcConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = if self.shared.has_session() { "with" } else { "without" };
        write!(f, "RpcConnection({}, {session} a session)", self.shared.info.peer)
    }
}
