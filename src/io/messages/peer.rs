// SPDX-License-Identifier: Apache-2.0
//! What the two halves of a link share: the requests that went out ([`Calls`]), those that came in ([`Questions`]), what
//! nobody has received yet ([`Inbox`]) and what waits to be written.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::calls::Calls;
use super::inbound::Inbox;
use super::out::{Batch, Out};
use super::questions::Questions;
use super::{Received, Settings};
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result, Retry};
use crate::message::{ControlMessage, Message, Request, Subject};
use crate::proto::json;
use crate::proto::jsonrpc::{BadPacket, Id, Packet, ids};
use crate::stream::{ResponseSender, ResponseStream};

pub(super) struct Peer {
    me: Weak<Self>,
    /// For people.
    pub(super) name: String,
    pub(super) settings: Settings,
    state: Mutex<State>,
    gone: watch::Sender<bool>,
}

pub(super) struct State {
    pub(super) calls: Calls,
    pub(super) questions: Questions,
    pub(super) inbox: Inbox,
    pub(super) out: Out,
    pub(super) phase: Phase,
    driver: Option<Waker>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Open,
    /// No new requests; the link ends when those in flight are over.
    Closing,
    /// The link ends now.
    Cut,
    /// It has ended, for this reason.
    Gone(Error),
}

impl Peer {
    pub(super) fn new(name: String, settings: Settings) -> Arc<Self> {
        let state = State {
            calls: Calls::default(),
            questions: Questions::default(),
            inbox: Inbox::default(),
            out: Out::default(),
            phase: Phase::Open,
            driver: None,
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            name,
            settings,
            state: Mutex::new(state),
            gone: watch::Sender::new(false),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Sends a request, and names it. Whoever is to be woken by what comes for it may say so at once.
    pub(super) fn begin(&self, request: Request, reader: Option<&Waker>) -> Result<u64> {
        if request.items.is_some() {
            return Err(Error::unsupported("JSON-RPC carries one message each way, no stream of items"));
        }
        if request.context.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::deadline(0).with_retry(Retry::Safe));
        }
        self.check_size("a request", request.message.size())?;
        let (mut message, method) = (request.message, request.subject);
        let token = ids::requested_token(&message.body);
        let mut state = self.state();
        state.check_open()?;
        if state.calls.len() >= self.settings.max_in_flight || state.out.bytes() > self.most_waiting() {
            return Err(self.overloaded());
        }
        let is_named = token.is_some();
        let key = state.calls.begin(&method, token, request.context.deadline, reader);
        let id = Id::number(key);
        if is_named {
            message.body = ids::with_requested_token(&message.body, &id);
        }
        state.out.request(&id, &method, &message);
        let driver = state.driver.take();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        Ok(key)
    }

    /// Sends a request.
    pub(super) fn open(&self, request: Request) -> Result<ResponseStream> {
        let me = self.me()?;
        let key = self.begin(request, None)?;
        Ok(ResponseStream::new(me, key))
    }

    /// As whoever holds a stream of this link has it.
    fn me(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or_else(|| Error::closed("the connection is closed"))
    }

    /// Sends a notification once there is room.
    pub(super) fn poll_notify(&self, subject: &Subject, message: &Message, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check_size("a notification", message.size())?;
        let mut state = self.state();
        state.check_open()?;
        std::task::ready!(self.poll_room(&mut state, cx));
        state.out.notification(subject, message);
        let driver = state.driver.take();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_room(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<()> {
        if state.out.bytes() <= self.most_waiting() {
            return Poll::Ready(());
        }
        state.out.wait(cx.waker());
        Poll::Pending
    }

    /// Bytes that may wait for the wire before senders do.
    fn most_waiting(&self) -> usize {
        self.settings.max_message.max(1 << 20)
    }

    fn overloaded(&self) -> Error {
        Error::overloaded(format!("{} has too much in flight to take another request", self.name))
            .with_retry(Retry::Safe)
    }

    pub(super) fn check_size(&self, what: &str, size: usize) -> Result<()> {
        if size > self.settings.max_message {
            return Err(Error::too_large(what, self.settings.max_message as u64, size as u64).with_retry(Retry::Safe));
        }
        Ok(())
    }

    /// Runs `change` and wakes the driver if it has something to do.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let outcome = change(&mut state);
        let driver = state.driver_to_wake();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Takes what came over the wire. The error is a message that is none, which nobody was told of.
    pub(super) fn handle(self: &Arc<Self>, received: Received) -> Result<(), BadPacket> {
        match received {
            Received::Message(text) => self.take(Packet::parse(&text)?),
            Received::TooLarge { got, head, tail } => self.too_large(got, &head, &tail),
        }
        Ok(())
    }

    /// Tells whoever sent what is no message, or the log.
    pub(super) fn complain(&self, bad: &BadPacket) {
        if self.settings.answers_garbage {
            self.with(|state| state.write(&bad.response()));
        } else {
            tracing::warn!(target: "biplane::messages", peer = self.name, "passed over what is no message: {}", bad.message);
        }
    }

    fn take(self: &Arc<Self>, packet: Packet) {
        match packet {
            Packet::Response { id, outcome } => {
                let waker = match id.as_number() {
                    Some(key) => self.state().calls.answer(key, outcome),
                    None => None,
                };
                waker.into_iter().for_each(Waker::wake);
            }
            Packet::Notification { method, message } => self.notified(method, message),
            Packet::Request { id, method, message } => self.asked(id, method, message),
        }
    }

    fn asked(self: &Arc<Self>, id: Id, method: Subject, message: Message) {
        let mut state = self.state();
        if state.questions.len() >= self.settings.max_in_flight || !state.inbox.has_room() {
            drop(state);
            let error = PeerError::from(Error::overloaded("too many requests wait for an answer"));
            return self.with(|state| state.write(&Packet::Response { id, outcome: Err(error) }));
        }
        let key = state.questions.begin(id, &method);
        let request = Request::new(method, message);
        let sender = ResponseSender::new(self.clone(), key);
        Self::put(state, Inbound::Request(request, sender));
    }

    fn notified(self: &Arc<Self>, method: Subject, mut message: Message) {
        let mut state = self.state();
        match method.as_str() {
            ids::CANCELLED => {
                let Some(id) = ids::cancelled(&message.body).and_then(Id::from_raw) else { return };
                let wakers = state.questions.cancel(&id);
                let ended = id.as_number().and_then(|key| state.calls.cancelled(key));
                drop(state);
                return wakers.into_iter().chain(ended).for_each(Waker::wake);
            }
            ids::PROGRESS => {
                let key = ids::told_token(&message.body).and_then(Id::from_raw).and_then(|token| token.as_number());
                if let Some((key, token)) = key.and_then(|key| Some((key, state.calls.token(key)?))) {
                    message.body = ids::with_told_token(&message.body, &token);
                    return self.on_call(state, key, Inbound::Notification(method, message));
                }
            }
            // It cannot name its request. With one in flight there is no doubt whose it is, and here it is still known that
            // it came before the answer.
            ids::LOG => {
                if let Some(key) = state.calls.only_open() {
                    return self.on_call(state, key, Inbound::Notification(method, message));
                }
            }
            _ => {
                let key = ids::subscription(&message.body).and_then(Id::from_raw).and_then(|id| id.as_number());
                if let Some(key) = key.filter(|key| state.calls.is_listening(*key)) {
                    return self.on_call(state, key, Inbound::Notification(method, message));
                }
            }
        }
        drop(state);
        self.receive_later(Inbound::Notification(method, message));
    }

    /// A reader that falls too far behind is cut off, since nothing but its own stream may wait for it.
    fn on_call(&self, mut state: MutexGuard<'_, State>, key: u64, inbound: Inbound) {
        let waker = state.calls.event(key, inbound);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn receive_later(&self, inbound: Inbound) {
        Self::put(self.state(), inbound);
    }

    fn put(mut state: MutexGuard<'_, State>, inbound: Inbound) {
        let closed = !matches!(state.phase, Phase::Open | Phase::Closing);
        let (turned_down, waker) = match closed {
            true => (Some(inbound), None),
            false => state.inbox.put(inbound),
        };
        drop(state);
        // Dropped outside the lock: a request's sender answers when it goes.
        drop(turned_down);
        waker.into_iter().for_each(Waker::wake);
    }

    fn too_large(&self, got: u64, head: &Bytes, tail: &Bytes) {
        let error = Error::too_large("a message of the peer", self.settings.max_message as u64, got);
        let mut state = self.state();
        match id_at_the_ends(head, tail).and_then(|id| state.calls.fail(id, error.duplicate())) {
            Some(waker) => {
                drop(state);
                waker.into_iter().for_each(Waker::wake);
            }
            // Whose it was cannot be known, and whoever waits for it must not wait for ever.
            None => {
                drop(state);
                self.end(error);
            }
        }
    }

    /// The link is over, and with it everything on it.
    pub(super) fn end(&self, error: Error) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Gone(_)) {
            return;
        }
        let mut wakers = state.calls.fail_all(&error);
        wakers.extend(state.questions.kill_all());
        wakers.append(&mut state.out.clear());
        let (unreceived, receiver) = state.inbox.close();
        wakers.extend(receiver);
        wakers.extend(state.driver.take());
        state.phase = Phase::Gone(error);
        drop(state);
        drop(unreceived);
        wakers.into_iter().for_each(Waker::wake);
        self.gone.send_replace(true);
    }

    /// No new requests; the driver ends the link when those in flight are over.
    pub(super) fn close(&self, at_once: bool) {
        let mut state = self.state();
        match state.phase {
            Phase::Open | Phase::Closing if at_once => state.phase = Phase::Cut,
            Phase::Open => state.phase = Phase::Closing,
            _ => {}
        }
        let driver = state.driver.take();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
    }

    /// Waits until the link is over.
    pub(super) async fn gone(&self) {
        // An error means that the peer itself is gone.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Whom to wake when there is something to write, or the link is to end.
    pub(super) fn register_driver(&self, cx: &Context<'_>) {
        match &mut self.state().driver {
            Some(driver) => driver.clone_from(cx.waker()),
            driver => *driver = Some(cx.waker().clone()),
        }
    }

    /// What waits for the wire, in the place of an empty `batch`; `false` if nothing does. The wire has taken `taken` bytes
    /// since this was asked last.
    pub(super) fn next_out(&self, batch: &mut Batch, taken: usize) -> bool {
        let mut state = self.state();
        let waiting = state.out.taken(taken, self.most_waiting());
        let has_more = state.out.has_more();
        if has_more {
            state.out.swap(batch);
        }
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        has_more
    }

    /// Whether there is something to write, and more than one request under way, whose next words may follow at once.
    pub(super) fn may_say_more(&self) -> bool {
        let state = self.state();
        state.out.has_more() && state.calls.len() + state.questions.len() > 1
    }

    /// Whether the link ends without waiting for what is under way.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.state().phase, Phase::Cut)
    }

    /// Whether the driver is to end the link now.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.state();
        match state.phase {
            Phase::Open => false,
            Phase::Closing => state.calls.are_over() && state.questions.len() == 0 && state.out.is_empty(),
            Phase::Cut | Phase::Gone(_) => true,
        }
    }

    /// Ends the calls whose deadline has passed; the next one to look at.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        // Called by the driver, which has not to be woken for what there is to write.
        let mut state = self.state();
        let late = state.calls.late(now);
        let wakers: Vec<Waker> = late.into_iter().filter_map(|key| state.give_up(key)).collect();
        let next = state.calls.next_deadline();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        next
    }
}

impl State {
    /// Whom to wake outside the lock: the driver, if it has something to do.
    pub(super) fn driver_to_wake(&mut self) -> Option<Waker> {
        let has_to_look = self.out.has_more() || !matches!(self.phase, Phase::Open);
        if has_to_look { self.driver.take() } else { None }
    }

    pub(super) fn write(&mut self, packet: &Packet) {
        if matches!(self.phase, Phase::Gone(_)) {
            return;
        }
        match packet {
            Packet::Request { id, method, message } => self.out.request(id, method, message),
            Packet::Notification { method, message } => self.out.notification(method, message),
            Packet::Response { id, outcome } => self.out.response(id, outcome.as_ref()),
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        let error = match &self.phase {
            Phase::Open => return Ok(()),
            Phase::Gone(error) => error.duplicate(),
            Phase::Closing | Phase::Cut => Error::closed("the connection is closed or closing"),
        };
        Err(error.with_retry(Retry::Safe).with_hint("connect again"))
    }

    /// Tells the peer that nobody waits for the answer any more.
    pub(super) fn tell_cancelled(&mut self, key: u64, reason: &str) {
        let params = ids::cancel(&Id::number(key), reason);
        let method = Subject::from_static(ids::CANCELLED);
        self.write(&Packet::Notification { method, message: Message::new(params) });
    }

    fn give_up(&mut self, key: u64) -> Option<Waker> {
        if self.calls.can_be_cancelled(key) {
            self.tell_cancelled(key, "the deadline passed");
        }
        self.calls.fail(key, Error::deadline(0)).flatten()
    }

    /// The caller's control message for one of its calls.
    pub(super) fn control(&mut self, key: u64, message: ControlMessage) -> Option<Waker> {
        if message != ControlMessage::Kill || !self.calls.can_be_cancelled(key) {
            return None;
        }
        self.tell_cancelled(key, "the caller gave up");
        self.calls.fail(key, Error::cancelled("the request was given up")).flatten()
    }
}

/// The id of a response of which only the ends are there. Servers write it first or last.
fn id_at_the_ends(head: &Bytes, tail: &Bytes) -> Option<u64> {
    let mut members = json::members(head);
    let first = members.find(|(key, _)| *key == b"id").and_then(|(_, value)| number(value));
    first.or_else(|| {
        let tail = std::str::from_utf8(tail).ok().or_else(|| {
            // The cut may be within a character.
            (1..4).find_map(|skip| std::str::from_utf8(tail.get(skip..)?).ok())
        })?;
        let (_, behind) = tail.trim_end().strip_suffix('}')?.rsplit_once("\"id\"")?;
        number(behind.trim_start().strip_prefix(':')?.trim().as_bytes())
    })
}

fn number(raw: &[u8]) -> Option<u64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}
