// SPDX-License-Identifier: Apache-2.0
//! Log messages of a modern server on one stream of messages, given back to the requests that wanted them.
//!
//! In the modern era a log message belongs to a request, and over HTTP it comes on that request's stream. On stdio it comes
//! on the one channel there is and does not say whose it is. It can only be of a request that is in flight and set a level;
//! while all of those come from one client, it is that client's, and goes to the oldest of them. While they come from
//! several, it is nobody's: rather lost than shown to another.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use biplane::io::messages::PRINCIPAL;
use biplane::proto::json;
use biplane::{Connection, ConnectionInfo, Error, Event, Inbound, Message, Request, ResponseStream, Result, Subject};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};

use super::generate::answer;
use super::level::Level;
use super::names::{key, method};
use super::settle::Settling;

/// Messages that may wait for one reader. Further ones are dropped.
const MOST_WAITING: usize = 256;

/// The same connection to a modern server, with its log messages on the streams of requests. From then on it alone
/// receives from `connection`.
pub fn attributed(connection: Arc<dyn Connection>) -> Arc<dyn Connection> {
    let (rest, inbox) = mpsc::channel(MOST_WAITING);
    let shared = Arc::new(Shared { requests: Mutex::default(), next: AtomicU64::new(0), settling: Settling::new() });
    let closing = watch::Sender::new(());
    tokio::spawn(receive(connection.clone(), shared.clone(), rest, closing.subscribe()));
    Arc::new(Attributed { connection, shared, inbox: tokio::sync::Mutex::new(inbox), _closing: closing })
}

struct Attributed {
    connection: Arc<dyn Connection>,
    shared: Arc<Shared>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Inbound>>,
    /// Ends the receiving task.
    _closing: watch::Sender<()>,
}

struct Shared {
    /// Those in flight that set a level, the oldest first.
    requests: Mutex<Vec<Wanting>>,
    next: AtomicU64,
    settling: Settling,
}

struct Wanting {
    id: u64,
    client: (Bytes, Bytes),
    level: Level,
    messages: mpsc::Sender<Message>,
}

async fn receive(
    connection: Arc<dyn Connection>,
    shared: Arc<Shared>,
    rest: mpsc::Sender<Inbound>,
    mut closing: watch::Receiver<()>,
) {
    let mut asked = None;
    loop {
        let inbound = tokio::select! {
            biased;
            inbound = connection.receive() => inbound,
            () = std::future::ready(()), if asked.is_some() => {
                shared.settling.confirm(asked.take().unwrap_or_default());
                continue;
            }
            now_asked = shared.settling.asked() => {
                asked = Some(now_asked);
                continue;
            }
            _ = closing.changed() => break,
        };
        match inbound {
            Ok(Some(Inbound::Notification(subject, message))) if subject.as_str() == method::LOG => shared.log(message),
            Ok(Some(inbound)) => {
                if rest.try_send(inbound).is_err() {
                    tracing::debug!("a message of a modern server was dropped: it belongs to no request");
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    shared.settling.end();
}

impl Shared {
    fn log(&self, message: Message) {
        let requests = self.lock();
        let Some(oldest) = requests.first() else { return };
        if requests.iter().any(|one| one.client != oldest.client) {
            tracing::debug!("a log message was dropped: it may be of any of several clients");
        } else if let Some(wanting) = requests.iter().find(|one| one.level.admits(&message.body)) {
            drop(wanting.messages.try_send(message));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Wanting>> {
        self.requests.lock()
    }
}

/// A place among the requests that want messages, until it is dropped.
struct Place(Arc<Shared>, u64);

impl Place {
    fn take(shared: &Arc<Shared>, request: &Request, level: Level) -> (Self, mpsc::Receiver<Message>) {
        let (messages, inbox) = mpsc::channel(MOST_WAITING);
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let info = json::get(&request.message.body, &["_meta", key::CLIENT_INFO]).unwrap_or_default();
        let principal = request.message.headers.get(PRINCIPAL).cloned().unwrap_or_default();
        shared.lock().push(Wanting { id, client: (principal, info), level, messages });
        (Self(shared.clone(), id), inbox)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().retain(|one| one.id != self.1);
    }
}

#[async_trait]
impl Connection for Attributed {
    fn info(&self) -> &ConnectionInfo {
        self.connection.info()
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let level = json::get(&request.message.body, &["_meta", key::LOG_LEVEL]).and_then(|raw| Level::read(&raw));
        let Some(level) = level else { return self.connection.open(request) };
        let (place, mut messages) = Place::take(&self.shared, &request, level);
        let mut stream = self.connection.open(request)?;
        let shared = self.shared.clone();
        Ok(answer(|emit| async move {
            let _place = place;
            let log = |message| Inbound::Notification(Subject::from_static(method::LOG), message);
            let outcome = loop {
                let event = tokio::select! {
                    biased;
                    Some(message) = messages.recv() => {
                        emit.send(log(message)).await;
                        continue;
                    }
                    event = stream.next_event() => event,
                };
                match event {
                    Some(Ok(Event::Inbound(inbound))) => emit.send(inbound).await,
                    Some(Ok(Event::Item(item))) => break Ok(item),
                    Some(Err(error)) => break Err(error),
                    None => break Err(Error::protocol("the answer to a unary request has no item")),
                }
            };
            shared.settling.settle().await;
            while let Ok(message) = messages.try_recv() {
                emit.send(log(message)).await;
            }
            outcome
        }))
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.connection.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(self.inbox.lock().await.recv().await)
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.connection.close(grace).await
    }
}

impl fmt::Debug for Attributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributed({:?})", self.connection)
    }
}
