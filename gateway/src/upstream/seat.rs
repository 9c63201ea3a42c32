// SPDX-License-Identifier: Apache-2.0
//! One legacy session of a server, shared by many clients that declared nothing which a server could ask them for.
//!
//! Each has a [`Seat`]. Answers and progress find their way by themselves. What else a server sends on a wire where it
//! cannot say on whose account goes to the one request that is in flight; if there are several it goes to nobody, since a
//! message must never reach a client that did not cause it. News of the server itself, which concern everyone, go to all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::proto::json;
use biplane::proto::jsonrpc::ids::LOG;
use biplane::{
    Connection, ConnectionInfo, Error, Event, Inbound, Message, PeerError, Request, ResponseSender, ResponseStream,
    Result, Subject,
};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::{Notify, watch};

use super::observed::{Keeps, Observed, observe};

/// What waits to be received in one seat; the oldest is let go.
const MAX_WAITING: usize = 256;
/// Resources that one seat may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 1024;

/// The levels of RFC 5424, the least urgent first.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The session behind the seats.
pub(super) struct Table {
    connection: Arc<dyn Connection>,
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    seats: Slab<Seated>,
    in_flight: Slab<(usize, Arc<Observed>)>,
    /// How many seats are subscribed to each URI.
    subscriptions: HashMap<String, usize>,
    /// What the server was last told to log from.
    level: Option<usize>,
}

#[derive(Default)]
struct Seated {
    waiting: VecDeque<Inbound>,
    arrived: Arc<Notify>,
    uris: HashSet<String>,
    level: Option<usize>,
    is_bridge: bool,
}

impl Table {
    /// Seats on `connection`, an initialised session. Its messages are received here from now on.
    pub(super) fn new(connection: Arc<dyn Connection>) -> Arc<Self> {
        let table = Arc::new(Self { connection, state: Mutex::default(), closed: watch::Sender::new(false) });
        tokio::spawn(distribute(table.connection.clone(), Arc::downgrade(&table), table.closed.subscribe()));
        table
    }

    /// A place for one more client.
    pub(super) fn take_seat(self: &Arc<Self>) -> Arc<dyn Connection> {
        self.take(Seated::default())
    }

    /// A place for the bridge that makes modern clients of all of one principal's requests into one legacy client.
    pub(super) fn take_seat_for_bridge(self: &Arc<Self>) -> Arc<dyn Connection> {
        self.take(Seated { is_bridge: true, ..Seated::default() })
    }

    fn take(self: &Arc<Self>, seated: Seated) -> Arc<dyn Connection> {
        let key = self.state().seats.insert(seated);
        Arc::new(Seat { table: self.clone(), key, info: self.connection.info().clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn distribute(&self, inbound: Inbound) {
        match inbound {
            Inbound::Request(request, reply) => self.asked(request, reply),
            Inbound::Notification(method, message) => {
                let undelivered = match method.as_str() {
                    "notifications/resources/updated" => self.tell_subscribers(method, message),
                    news if news.ends_with("/list_changed") => self.tell_all(&method, &message),
                    _ => self.tell_the_cause(method, message),
                };
                if let Some(method) = undelivered {
                    tracing::debug!(target: "biplane::gateway", upstream = self.connection.info().peer, "nobody is known to have caused {method}");
                }
            }
        }
    }

    /// A server asks here only if it ignores that nobody declared to answer. The bridge tells a modern client which
    /// capability was lacking, so it gets to see the question that its request caused.
    fn asked(&self, request: Request, reply: ResponseSender) {
        let cause = {
            let state = self.state();
            let mut in_flight = state.in_flight.iter();
            match (in_flight.next(), in_flight.next()) {
                (Some((_, (key, stream))), None) if state.seats.get(*key).is_some_and(|seat| seat.is_bridge) => {
                    Some(stream.clone())
                }
                _ => None,
            }
        };
        match cause {
            // One that is over takes nothing: the question is dropped, which refuses it.
            Some(stream) => drop(stream.put(Inbound::Request(request, reply))),
            None => self.refuse(&request, reply),
        }
    }

    fn refuse(&self, request: &Request, reply: ResponseSender) {
        if request.subject.as_str() == "ping" {
            tokio::spawn(async move {
                if reply.send("{}").await.is_ok() {
                    reply.close();
                }
            });
        } else {
            reply.fail(PeerError::new(-32601, format!("the client declared no capability for {}", request.subject)));
        }
    }

    fn tell_all(&self, method: &Subject, message: &Message) -> Option<Subject> {
        for (_, seat) in &mut self.state().seats {
            seat.put(Inbound::Notification(method.clone(), message.clone()));
        }
        None
    }

    fn tell_subscribers(&self, method: Subject, message: Message) -> Option<Subject> {
        let uri = uri_of(&message.body)?;
        for (_, seat) in &mut self.state().seats {
            if seat.uris.contains(&uri) {
                seat.put(Inbound::Notification(method.clone(), message.clone()));
            }
        }
        None
    }

    /// The method, if nobody is known to have caused it.
    fn tell_the_cause(&self, method: Subject, message: Message) -> Option<Subject> {
        let mut state = self.state();
        let mut in_flight = state.in_flight.iter();
        match (in_flight.next(), in_flight.next()) {
            (Some((_, (key, stream))), None) => {
                let wants = state.seats.get(*key).is_none_or(|seat| seat.wants(&method, &message));
                let stream = stream.clone();
                drop(state);
                if wants {
                    stream.put(Inbound::Notification(method, message));
                }
                None
            }
            (None, _) if state.seats.len() == 1 => {
                for (_, seat) in &mut state.seats {
                    if seat.wants(&method, &message) {
                        seat.put(Inbound::Notification(method.clone(), message.clone()));
                    }
                }
                None
            }
            _ => Some(method),
        }
    }

    /// Sends the request, known as in flight until it is over.
    fn send(self: &Arc<Self>, key: usize, request: Request) -> Result<ResponseStream> {
        let stream = self.connection.open(request)?;
        let (table, place) = (Arc::downgrade(self), Arc::new(Mutex::new(None)));
        let level = self.state().seats.get(key).and_then(|seat| seat.level);
        let keeps = level.map(|level| -> Keeps { Box::new(move |inbound| is_from(level, inbound)) });
        let (stream, inside) = observe(stream, keeps, {
            let place = place.clone();
            move |_| {
                let slot: Option<usize> = place.lock().take();
                if let (Some(table), Some(slot)) = (table.upgrade(), slot) {
                    let gone = table.state().in_flight.try_remove(slot);
                    drop(gone);
                }
            }
        });
        let slot = self.state().in_flight.insert((key, inside));
        *place.lock() = Some(slot);
        Ok(stream)
    }

    /// The level that the server is to be told now, if that is another one.
    fn set_level(&self, key: usize, level: usize) -> Option<usize> {
        let mut state = self.state();
        if let Some(seat) = state.seats.get_mut(key) {
            seat.level = Some(level);
        }
        let wanted = state.seats.iter().filter_map(|(_, seat)| seat.level).min();
        let changed = if wanted == state.level { None } else { wanted };
        state.level = wanted;
        changed
    }

    /// Whether the server is to be told.
    fn subscribe(&self, key: usize, uri: &str) -> Result<bool> {
        let mut state = self.state();
        let Some(seat) = state.seats.get_mut(key) else { return Ok(false) };
        if seat.uris.len() >= MAX_SUBSCRIPTIONS {
            return Err(Error::overloaded(format!(
                "a session subscribes to {MAX_SUBSCRIPTIONS} resources at the most"
            )));
        }
        if !seat.uris.insert(uri.to_owned()) {
            return Ok(false);
        }
        let count = state.subscriptions.entry(uri.to_owned()).or_default();
        *count += 1;
        Ok(*count == 1)
    }

    /// Whether the server is to be told.
    fn unsubscribe(&self, key: usize, uri: &str) -> bool {
        let mut state = self.state();
        let was_there = state.seats.get_mut(key).is_some_and(|seat| seat.uris.remove(uri));
        was_there && state.leave(uri)
    }

    fn leave_seat(&self, key: usize) -> Vec<String> {
        let mut state = self.state();
        let Some(seat) = state.seats.try_remove(key) else { return Vec::new() };
        seat.uris.into_iter().filter(|uri| state.leave(uri)).collect()
    }
}

impl State {
    /// Whether nobody is left.
    fn leave(&mut self, uri: &str) -> bool {
        let Some(count) = self.subscriptions.get_mut(uri) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.subscriptions.remove(uri);
        }
        is_last
    }
}

impl Seated {
    fn put(&mut self, inbound: Inbound) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(inbound);
        self.arrived.notify_one();
    }

    /// A log message below the level that this client asked for is another client's.
    fn wants(&self, method: &Subject, message: &Message) -> bool {
        let Some(wanted) = self.level.filter(|_| method.as_str() == LOG) else { return true };
        level_of(&message.body).is_none_or(|level| level >= wanted)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

async fn distribute(connection: Arc<dyn Connection>, table: std::sync::Weak<Table>, mut closed: watch::Receiver<bool>) {
    loop {
        let received = tokio::select! {
            received = connection.receive() => received,
            _ = closed.wait_for(|closed| *closed) => return,
        };
        let (Ok(Some(inbound)), Some(table)) = (received, table.upgrade()) else { return };
        table.distribute(inbound);
    }
}

struct Seat {
    table: Arc<Table>,
    key: usize,
    info: ConnectionInfo,
}

#[async_trait]
impl Connection for Seat {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let body = &request.message.body;
        let goes_on = match request.subject.as_str() {
            "logging/setLevel" => match level_of(body) {
                None => true,
                Some(level) => self.table.set_level(self.key, level).is_some(),
            },
            "resources/subscribe" => match uri_of(body) {
                None => true,
                Some(uri) => self.table.subscribe(self.key, &uri)?,
            },
            "resources/unsubscribe" => match uri_of(body) {
                None => true,
                Some(uri) => self.table.unsubscribe(self.key, &uri),
            },
            _ => return self.table.send(self.key, request),
        };
        if goes_on { self.table.send(self.key, request) } else { Ok(done()) }
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        // What one of its clients tells is no news of all of them.
        let _ = (subject, message);
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        loop {
            let arrived = {
                let mut state = self.table.state();
                let Some(seat) = state.seats.get_mut(self.key) else { return Ok(None) };
                if let Some(inbound) = seat.waiting.pop_front() {
                    return Ok(Some(inbound));
                }
                seat.arrived.clone()
            };
            arrived.notified().await;
        }
    }

    /// Gives the seat back. The session stays for the others.
    async fn close(&self, _grace: Duration) -> Result<()> {
        self.leave();
        Ok(())
    }
}

impl Seat {
    fn leave(&self) {
        let uris = self.table.leave_seat(self.key);
        if uris.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let connection = self.table.connection.clone();
        runtime.spawn(async move {
            for uri in uris {
                let params = [br#"{"uri":"#, &json::quote(&uri)[..], b"}"].concat();
                let request = Request::new(Subject::from_static("resources/unsubscribe"), params);
                // A server that is gone has forgotten it anyway.
                let _ = connection.request(request.with_timeout(Duration::from_secs(10))).await;
            }
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seat({} at {})", self.key, self.info.peer)
    }
}

/// The answer to what the server need not be asked.
fn done() -> ResponseStream {
    ResponseStream::from_events(futures_util::stream::once(async { Ok(Event::Item(Message::new("{}"))) }))
}

/// Whether a message is no log message below `wanted`.
fn is_from(wanted: usize, inbound: &Inbound) -> bool {
    match inbound {
        Inbound::Notification(method, message) if method.as_str() == LOG => {
            level_of(&message.body).is_none_or(|level| level >= wanted)
        }
        _ => true,
    }
}

fn uri_of(params: &Bytes) -> Option<String> {
    json::text(&json::get(params, &["uri"])?).map(|uri| uri.into_owned())
}

fn level_of(params: &Bytes) -> Option<usize> {
    let level = json::get(params, &["level"])?;
    let level = json::text(&level)?;
    LEVELS.iter().position(|known| **known == *level)
}
