// SPDX-License-Identifier: Apache-2.0
//! Shared sessions: what their servers say unasked goes to those who asked for it, and their subscriptions are counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use biplane::proto::json;
use biplane::{Connection, Error, ErrorKind, Inbound, Message, PeerError, Request, ResponseSender, Result, Subject};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};

use super::LegacySessions;
use super::inbox::Inbox;
use crate::era::edit::Object;
use crate::era::filter::{Filter, List};
use crate::era::level::Level;
use crate::era::limits::Limits;
use crate::era::names::{code, method};
use crate::era::settle::Settling;
use crate::view::{Client, View};

/// Log messages that may wait for the call that wants them; a further one is dropped.
const MOST_LOGS: usize = 256;

/// The shared sessions in use. Their number is bounded by that of the sessions.
pub(super) struct Hubs {
    sessions: Arc<dyn LegacySessions>,
    closing: watch::Receiver<bool>,
    limits: Limits,
    /// By the address of the session's connection, which the hub keeps alive.
    hubs: Mutex<HashMap<usize, Arc<Hub>>>,
}

impl Hubs {
    pub(super) fn new(sessions: Arc<dyn LegacySessions>, closing: watch::Receiver<bool>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { sessions, closing, limits, hubs: Mutex::default() })
    }

    /// The shared session for `client`.
    pub(super) async fn get(self: &Arc<Self>, client: &Client) -> Result<Arc<Hub>> {
        let view = self.sessions.shared(client).await?;
        let key = address(&view);
        let mut hubs = self.lock();
        if let Some(hub) = hubs.get(&key) {
            hub.used.store(true, Ordering::Relaxed);
            return Ok(hub.clone());
        }
        let hub = Arc::new(Hub::new(view, self.limits.clone()));
        hubs.insert(key, hub.clone());
        drop(hubs);
        tokio::spawn(serve(hub.clone(), Arc::downgrade(self), self.closing.clone()));
        Ok(hub)
    }

    /// Lets go of a session that nobody uses: the table and its task are all that hold it.
    fn forget_unused(&self, hub: &Arc<Hub>) -> bool {
        let mut hubs = self.lock();
        let unused = !hub.used.swap(false, Ordering::Relaxed) && Arc::strong_count(hub) <= 2;
        if unused {
            hubs.remove(&address(&hub.view));
        }
        unused
    }

    fn forget(&self, hub: &Arc<Hub>) {
        self.lock().remove(&address(&hub.view));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Arc<Hub>>> {
        self.hubs.lock()
    }
}

fn address(view: &View) -> usize {
    Arc::as_ptr(&view.connection).cast::<()>() as usize
}

/// The receiver of one session, until it ends or nobody uses it.
async fn serve(hub: Arc<Hub>, hubs: Weak<Hubs>, mut closing: watch::Receiver<bool>) {
    let mut asked = None;
    loop {
        tokio::select! {
            biased;
            inbound = hub.view.connection.receive() => match inbound {
                Ok(Some(inbound)) => hub.take(inbound).await,
                Ok(None) | Err(_) => break,
            },
            () = std::future::ready(()), if asked.is_some() => hub.settling.confirm(asked.take().unwrap_or_default()),
            now_asked = hub.settling.asked() => asked = Some(now_asked),
            () = tokio::time::sleep(hub.limits.linger) => {
                if hubs.upgrade().is_none_or(|hubs| hubs.forget_unused(&hub)) {
                    break;
                }
            }
            () = async { drop(closing.wait_for(|closing| *closing).await) } => break,
        }
    }
    if let Some(hubs) = hubs.upgrade() {
        hubs.forget(&hub);
    }
    hub.settling.end();
    hub.gone.send_replace(true);
}

/// One shared session.
pub(super) struct Hub {
    view: View,
    limits: Limits,
    used: AtomicBool,
    listeners: Mutex<HashMap<u64, Arc<Inbox>>>,
    next_listener: AtomicU64,
    /// How many listeners are subscribed to a resource.
    uris: tokio::sync::Mutex<HashMap<String, usize>>,
    /// The one call that wants log messages: a server does not say which call it logs for, so there is one at a time.
    seat: Mutex<Option<(Level, mpsc::Sender<Message>)>>,
    /// The level that the session was told.
    level: tokio::sync::Mutex<Option<Level>>,
    gone: watch::Sender<bool>,
    settling: Settling,
}

impl Hub {
    fn new(view: View, limits: Limits) -> Self {
        Self {
            view,
            limits,
            used: AtomicBool::new(true),
            listeners: Mutex::default(),
            next_listener: AtomicU64::new(0),
            uris: tokio::sync::Mutex::default(),
            seat: Mutex::default(),
            level: tokio::sync::Mutex::default(),
            gone: watch::Sender::new(false),
            settling: Settling::new(),
        }
    }

    pub(super) fn connection(&self) -> &Arc<dyn Connection> {
        &self.view.connection
    }

    /// Waits until everything was passed on that the session has received by now.
    pub(super) async fn settle(&self) {
        self.settling.settle().await;
    }

    /// Waits until the session is over.
    pub(super) async fn gone(&self) {
        drop(self.gone.subscribe().wait_for(|gone| *gone).await);
    }

    async fn take(&self, inbound: Inbound) {
        match inbound {
            Inbound::Notification(subject, message) => self.tell(subject, message),
            Inbound::Request(request, reply) => refuse(&request, reply).await,
        }
    }

    /// Passes a notification of the session on to who wants it; nobody else hears of it.
    pub(super) fn tell(&self, subject: Subject, message: Message) {
        if subject.as_str() == method::LOG {
            if let Some((level, seat)) = &*lock(&self.seat)
                && level.admits(&message.body)
                && seat.try_send(message).is_err()
            {
                tracing::debug!("a log message was dropped: the call that wants it does not read");
            }
            return;
        }
        let listeners: Vec<_> = lock(&self.listeners).values().cloned().collect();
        if let Some(list) = List::of_notification(subject.as_str()) {
            for listener in listeners.into_iter().filter(|listener| listener.wants_list(list)) {
                listener.put(subject.clone(), None, message.clone());
            }
        } else if subject.as_str() == method::RESOURCE_UPDATED {
            let uri = json::get(&message.body, &["uri"]);
            let Some(uri) = uri.as_deref().and_then(json::text) else { return };
            for listener in listeners.into_iter().filter(|listener| listener.wants_resource(&uri)) {
                listener.put(subject.clone(), Some(uri.clone().into_owned()), message.clone());
            }
        }
    }

    /// A place for one call's log messages, if it is free and the session can be told the level.
    pub(super) async fn sit(self: &Arc<Self>, level: Level) -> Result<Option<Seat>> {
        let (sender, messages) = mpsc::channel(MOST_LOGS);
        {
            let mut seat = lock(&self.seat);
            if seat.is_some() {
                return Ok(None);
            }
            *seat = Some((level, sender));
        }
        let seat = Seat { hub: self.clone(), messages };
        let mut told = self.level.lock().await;
        if *told != Some(level) {
            set_level(self.connection(), level, &self.limits).await?;
            *told = Some(level);
        }
        Ok(Some(seat))
    }

    /// A listener, which hears from now on; those of its resources that the server does not let it subscribe to are left
    /// out of its filter.
    pub(super) async fn listen(self: &Arc<Self>, wanted: Filter) -> Result<Listener> {
        let mut listener = Listener {
            hub: self.clone(),
            id: None,
            inbox: Arc::new(Inbox::new(Filter::default())),
            filter: Filter::default(),
        };
        for uri in wanted.uris {
            match self.subscribe(&uri).await {
                Ok(()) => drop(listener.filter.uris.insert(uri)),
                Err(error) if error.kind() == ErrorKind::Peer => {
                    tracing::debug!(%error, "the server refuses a subscription");
                }
                Err(error) => return Err(error),
            }
        }
        listener.filter.lists = wanted.lists;
        listener.inbox = Arc::new(Inbox::new(listener.filter.clone()));
        let id = self.next_listener.fetch_add(1, Ordering::Relaxed);
        listener.id = Some(id);
        lock(&self.listeners).insert(id, listener.inbox.clone());
        Ok(listener)
    }

    async fn subscribe(&self, uri: &str) -> Result<()> {
        let mut uris = self.uris.lock().await;
        if let Some(count) = uris.get_mut(uri) {
            *count += 1;
            return Ok(());
        }
        self.ask(method::SUBSCRIBE, uri).await?;
        uris.insert(uri.to_owned(), 1);
        Ok(())
    }

    async fn unsubscribe(&self, uri: &str) {
        let mut uris = self.uris.lock().await;
        match uris.get_mut(uri) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                uris.remove(uri);
                if let Err(error) = self.ask(method::UNSUBSCRIBE, uri).await {
                    tracing::debug!(%error, "the server refuses to end a subscription");
                }
            }
            None => {}
        }
    }

    async fn ask(&self, subject: &'static str, uri: &str) -> Result<Message> {
        let mut params = Object::new();
        params.set("uri", &json::quote(uri));
        bounded(self.connection(), subject, params.close(), &self.limits).await
    }
}

/// Tells a session from which level on it is to log. A server that cannot is as it is.
pub(super) async fn set_level(session: &Arc<dyn Connection>, level: Level, limits: &Limits) -> Result<()> {
    let mut params = Object::new();
    params.set("level", &json::quote(level.name()));
    match bounded(session, method::SET_LEVEL, params.close(), limits).await {
        Err(error) if error.kind() != ErrorKind::Peer => Err(error),
        _ => Ok(()),
    }
}

async fn bounded(
    session: &Arc<dyn Connection>,
    subject: &'static str,
    params: Bytes,
    limits: &Limits,
) -> Result<Message> {
    let request = Request::new(Subject::from_static(subject), params);
    tokio::time::timeout(limits.answer, session.request(request)).await.unwrap_or_else(|_| {
        Err(Error::timeout(format!("the server did not answer {subject} within {:?}", limits.answer)))
    })
}

/// What a server asks of a session that declared nothing.
pub(super) async fn refuse(request: &Request, reply: ResponseSender) {
    match request.subject.as_str() {
        method::PING => {
            drop(reply.send(Message::new(Bytes::from_static(b"{}"))).await);
            reply.close();
        }
        other => reply.fail(PeerError::new(code::METHOD_NOT_FOUND, format!("this client does not answer {other}"))),
    }
}

/// The place of the call that wants log messages. Given back on drop.
pub(super) struct Seat {
    hub: Arc<Hub>,
    messages: mpsc::Receiver<Message>,
}

impl Seat {
    /// The next log message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Message {
        match self.messages.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.hub.seat) = None;
    }
}

/// One who listens. Its subscriptions end with it.
pub(super) struct Listener {
    hub: Arc<Hub>,
    id: Option<u64>,
    inbox: Arc<Inbox>,
    /// What it hears of.
    pub(super) filter: Filter,
}

impl Listener {
    /// The next news, `None` once the session is over. Cancel-safe.
    pub(super) async fn next(&self) -> Option<(Subject, Message)> {
        tokio::select! {
            biased;
            news = self.inbox.next() => Some(news),
            () = self.hub.gone() => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.hub.listeners).remove(&id);
        }
        let (hub, uris) = (self.hub.clone(), std::mem::take(&mut self.filter.uris));
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !uris.is_empty()
        {
            runtime.spawn(async move {
                for uri in uris {
                    hub.unsubscribe(&uri).await;
                }
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
