// SPDX-License-Identifier: Apache-2.0
//! One session: what both sides of it wait for.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::answer::{Answer, Posted};
use super::asked::{self, AskedList};
use super::host::Host;
use super::in_place;
use super::outbox::Outbox;
use super::refused::Refused;
use super::running::{Carries, Stream, To};
use super::settings::SessionSettings;
use crate::connection::{Answerer, ConnectionInfo, Inbound};
use crate::error::Error;
use crate::io::Principal;
use crate::io::messages::PRINCIPAL;
use crate::message::{Message, Request, RequestContext, SessionId, Subject, random_u64};
use crate::proto::json;
use crate::proto::jsonrpc::{Id, Packet, ids};
use crate::stream::ResponseSender;

/// One session.
pub(super) struct Session {
    pub(super) info: ConnectionInfo,
    pub(super) principal: Option<Principal>,
    pub(super) born: Instant,
    id: SessionId,
    host: Weak<Host>,
    settings: Arc<SessionSettings>,
    revision: OnceLock<Box<str>>,
    /// Set once the handshake is over; a session that came from elsewhere does it by itself.
    pub(super) ready: OnceCell<()>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) closed: bool,
    /// Takes nothing new.
    pub(super) closing: bool,
    /// The `params` of `initialize` of a session that came from elsewhere.
    pub(super) revived: Option<Bytes>,
    inbox: VecDeque<Inbound>,
    receiver: Option<Waker>,
    answerer: Option<Arc<dyn Answerer>>,
    streams: Vec<Entry>,
    last_stream: u32,
    asked: AskedList,
    outbox: Outbox,
    used: Instant,
    drained: Option<Waker>,
}

struct Entry {
    stream: Arc<Stream>,
    /// Since when nobody reads it.
    left: Option<Left>,
}

#[derive(Clone, Copy)]
struct Left {
    since: Instant,
    /// Nothing more comes: it waits for a reader who may have missed the end.
    complete: bool,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        principal: Option<Principal>,
        revived: Option<Bytes>,
        host: &Arc<Host>,
        settings: Arc<SessionSettings>,
        info: ConnectionInfo,
    ) -> Self {
        let now = Instant::now();
        let ready = if revived.is_some() { OnceCell::new() } else { OnceCell::new_with(Some(())) };
        Self {
            info: ConnectionInfo { session: Some(id.clone()), ..info },
            principal,
            born: now,
            id,
            host: Arc::downgrade(host),
            settings,
            revision: OnceLock::new(),
            ready,
            state: Mutex::new(State {
                closed: false,
                closing: false,
                revived,
                inbox: VecDeque::new(),
                receiver: None,
                answerer: None,
                streams: Vec::new(),
                last_stream: 0,
                asked: AskedList::new(random_u64() as u32),
                outbox: Outbox::default(),
                used: now,
                drained: None,
            }),
        }
    }

    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(super) fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    pub(super) fn revision(&self) -> Option<&str> {
        self.revision.get().map(|text| &**text)
    }

    /// The result of `initialize` says what was agreed on.
    pub(super) fn agreed(&self, result: &Bytes) {
        let revision = json::get(result, &["protocolVersion"]);
        if let Some(text) = revision.as_deref().and_then(json::text).filter(|text| text.len() <= 32) {
            let _ = self.revision.set(text.into());
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Takes a message of the client.
    pub(super) fn take(self: &Arc<Self>, packet: Packet) -> Result<Posted, Refused> {
        match packet {
            Packet::Request { method, .. } if method.as_str() == ids::INITIALIZE => {
                Err(Refused::misplaced("the session is initialized already: initialize without a session id"))
            }
            Packet::Request { id, method, message } => self.start(id, method, message).map(Posted::Answer),
            Packet::Notification { method, message } => {
                let taken = match method.as_str() {
                    ids::CANCELLED => self.cancel(&message.body),
                    ids::PROGRESS => self.state().asked.progress(&method, &message),
                    _ => false,
                };
                if !taken {
                    self.tell(method, message)?;
                }
                Ok(Posted::Accepted)
            }
            Packet::Response { id, outcome } => {
                let mut state = self.state();
                state.used = Instant::now();
                let answer = state.asked.answered(&id);
                drop(state);
                // One that nobody waits for has crossed our taking it back.
                if let Some(answer) = answer {
                    asked::deliver(answer, outcome);
                }
                Ok(Posted::Accepted)
            }
        }
    }

    /// Has the other side answer requests where they come in, if it can.
    pub(super) fn answered_by(&self, answerer: Arc<dyn Answerer>) {
        let mut state = self.state();
        if !state.closed {
            state.answerer = Some(answerer);
        }
    }

    /// Hands a request to the other side.
    pub(super) fn start(self: &Arc<Self>, id: Id, method: Subject, message: Message) -> Result<Answer, Refused> {
        let to = To::of(method.as_str());
        let mut state = self.open_state()?;
        let evicted = state.make_room(&self.settings)?;
        let number = state.next_stream();
        // The session begins with a message that the other side receives.
        let answerer = if to == To::Initialize { None } else { state.answerer.clone() };
        drop(state);
        evicted.iter().for_each(|stream| stream.stop());
        let request = request(method, message, self.principal.as_ref(), &self.settings);
        let (events, inbound) = in_place::ask(answerer.as_deref(), request, &self.settings);
        let stream = Arc::new(Stream::answering(number, id, to, events, inbound.is_none(), &self.settings));

        let mut state = self.state();
        if state.closed {
            return Err(Refused::unknown());
        }
        let evicted = state.make_room(&self.settings)?;
        let receiver = inbound.map(|inbound| state.receive(inbound, &self.settings)).transpose()?.flatten();
        state.streams.push(Entry { stream: stream.clone(), left: None });
        drop(state);
        evicted.iter().for_each(|stream| stream.stop());
        receiver.into_iter().for_each(Waker::wake);
        Ok(Answer::of_session(self.clone(), stream))
    }

    /// Hands a notification to the other side.
    pub(super) fn tell(&self, method: Subject, message: Message) -> Result<(), Refused> {
        let inbound = Inbound::Notification(method, signed(message, self.principal.as_ref()));
        let mut state = self.open_state()?;
        let receiver = state.receive(inbound, &self.settings)?;
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// A stream for what comes unasked: the one that `last` belongs to, or a new one.
    pub(super) fn listen(self: &Arc<Self>, last: Option<super::EventId>) -> Result<Answer, Refused> {
        let mut state = self.open_state()?;
        let known = last.and_then(|last| Some((state.find(last.stream)?, last.at)));
        let (stream, at) = match known {
            Some(known) => known,
            None => {
                let number = state.next_stream();
                let stream = Arc::new(Stream::unasked(number));
                state.streams.push(Entry { stream: stream.clone(), left: None });
                (stream, 0)
            }
        };
        for entry in state.streams.iter_mut().filter(|entry| Arc::ptr_eq(&entry.stream, &stream)) {
            entry.left = None;
        }
        if matches!(stream.carries, Carries::Unasked) {
            state.outbox.attach(stream.number);
        }
        drop(state);
        let reader = stream.take_over();
        Ok(Answer::resumed(self.clone(), stream, reader, at))
    }

    /// Puts a request of ours on the list of those that wait for the client, and gives its text.
    pub(super) fn ask(&self, stream: u32, request: Request, answer: ResponseSender) -> Option<(u64, Bytes)> {
        let mut state = self.state();
        let refusal = if state.closed {
            Some(asked::gone())
        } else if state.asked.len() >= self.settings.max_running {
            Some(Error::overloaded("the client has as many requests to answer as it may"))
        } else if request.items.is_some() {
            Some(Error::unsupported("a client takes one message per request"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(state);
            answer.refuse(refusal);
            return None;
        }
        Some(state.asked.ask(stream, request, answer))
    }

    /// A request of ours on `stream` that nobody waits for any more, as the notification that says so.
    pub(super) fn poll_withdrawn(&self, stream: u32, cx: &mut Context<'_>) -> Option<Bytes> {
        let mut state = self.state();
        loop {
            let (number, text) = state.asked.poll_withdrawn(stream, cx)?;
            // What was not sent yet need not be taken back.
            if !state.outbox.withdraw(number) {
                return Some(text);
            }
        }
    }

    /// The next message for the stream `number`, if it is the one that carries what comes unasked.
    pub(super) fn poll_outbox(&self, number: u32, asked: u32, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let state = self.state();
        if state.closed {
            return Poll::Ready(None);
        }
        // A stream that does not carry is woken by itself when its turn comes.
        let carries = state.outbox.carries(number);
        drop(state);
        if !carries {
            return Poll::Pending;
        }
        if let Some(text) = self.poll_withdrawn(asked, cx) {
            return Poll::Ready(Some(text));
        }
        let mut state = self.state();
        while let Some((queued, writer)) = state.outbox.pop() {
            let wanted = queued.asked.is_none_or(|number| state.asked.is_waiting(number));
            if let Some(writer) = writer {
                drop(state);
                writer.wake();
                state = self.state();
            }
            if wanted {
                return Poll::Ready(Some(queued.text));
            }
        }
        state.outbox.read_by(cx.waker());
        Poll::Pending
    }

    /// Puts a message into the outbox as soon as there is room.
    pub(super) fn poll_queue(&self, text: &Bytes, cx: &mut Context<'_>) -> Poll<crate::Result<()>> {
        let mut state = self.state();
        if state.closed {
            return Poll::Ready(Err(asked::gone()));
        }
        if !state.outbox.has_room(self.settings.max_queued, self.settings.max_queued_bytes) {
            if state.outbox.has_reader() {
                state.outbox.written_by(cx.waker());
                return Poll::Pending;
            }
            return Poll::Ready(Err(Error::overloaded("the client does not listen, and enough waits for it already")));
        }
        let reader = state.outbox.push(text.clone(), None);
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }

    /// Puts a request of ours into the outbox.
    pub(super) fn queue_request(&self, request: Request, answer: ResponseSender) {
        let room = self.state().outbox.has_room(self.settings.max_queued, self.settings.max_queued_bytes);
        if !room {
            return answer.refuse(Error::overloaded("enough waits for the client already"));
        }
        if let Some((number, text)) = self.ask(asked::UNASKED, request, answer) {
            let reader = self.state().outbox.push(text, Some(number));
            reader.into_iter().for_each(Waker::wake);
        }
    }

    /// The next message of the client.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let mut state = self.state();
        if let Some(inbound) = state.inbox.pop_front() {
            if state.inbox.is_empty() {
                state.inbox = VecDeque::new();
            }
            return Poll::Ready(Some(inbound));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A reader of `stream` went away after the message `at`.
    pub(super) fn left(&self, stream: &Arc<Stream>, reader: u32, at: u64) {
        let mut told = stream.state();
        if told.reader != reader {
            return;
        }
        let unasked = matches!(stream.carries, Carries::Unasked);
        let complete = unasked || told.events.is_none();
        if std::mem::take(&mut told.in_place) {
            // It goes on without its reader.
            told.events = told.events.take().map(|events| in_place::attended(events, stream.max_item));
        }
        let kept = !told.replay.is_empty() || (told.primed && !complete);
        // The client knows a place in the stream, so it can come back.
        let known = at > 0 || told.primed;
        drop(told);
        if matches!(stream.carries, Carries::Response { to: To::Initialize, .. }) && !complete && !known {
            // It never learned the name of its session.
            return self.end();
        }
        let mut state = self.state();
        state.used = Instant::now();
        let carries = if unasked { state.outbox.detach(stream.number) } else { None };
        let carrier = carries.and_then(|number| state.find(number));
        if complete && !kept {
            state.streams.retain(|entry| !Arc::ptr_eq(&entry.stream, stream));
            if state.streams.is_empty() {
                state.streams = Vec::new();
            }
        } else {
            let left = Some(Left { since: Instant::now(), complete });
            state.streams.iter_mut().filter(|entry| Arc::ptr_eq(&entry.stream, stream)).for_each(|entry| {
                entry.left = left;
            });
        }
        let detached = state.streams.iter().filter(|entry| entry.left.is_some()).count();
        let evicted = if detached > self.settings.max_detached { state.evict() } else { None };
        let drained = if state.is_drained() { state.drained.take() } else { None };
        drop(state);
        carrier.iter().for_each(|stream| stream.wake());
        evicted.iter().for_each(|stream| stream.stop());
        drained.into_iter().for_each(Waker::wake);
    }

    /// Ends the session: both sides are told, everything is given back.
    pub(super) fn end(&self) {
        if let Some(host) = self.host.upgrade() {
            host.forget(self);
        }
        let mut state = self.state();
        state.closed = true;
        state.closing = true;
        let (inbox, answerer) = (std::mem::take(&mut state.inbox), state.answerer.take());
        let streams = std::mem::take(&mut state.streams);
        let asked = state.asked.take();
        let wakers = state.outbox.clear();
        let others = [state.receiver.take(), state.drained.take()];
        drop(state);
        streams.iter().for_each(|entry| entry.stream.stop());
        asked.into_iter().for_each(|answer| answer.fail(asked::gone()));
        drop((inbox, answerer));
        wakers.into_iter().chain(others).flatten().for_each(Waker::wake);
    }

    /// Ready when nothing is under way, and nothing new is taken.
    pub(super) fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        state.closing = true;
        if state.is_drained() {
            return Poll::Ready(());
        }
        state.drained = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Gives up streams that nobody came back for. Says whether the session has been idle for too long.
    pub(super) fn tidy(&self, now: Instant) -> bool {
        let settings = &*self.settings;
        let mut state = self.state();
        let streams = std::mem::take(&mut state.streams);
        let (given_up, kept): (Vec<_>, Vec<_>) = streams.into_iter().partition(|entry| {
            entry.left.is_some_and(|left| {
                let patience = if left.complete { settings.resume_window } else { settings.idle_ttl };
                now.saturating_duration_since(left.since) > patience
            })
        });
        state.streams = kept;
        let busy = state.streams.iter().any(|entry| entry.left.is_none_or(|left| !left.complete));
        let idle = now.saturating_duration_since(state.used) > settings.idle_ttl;
        let old = now.saturating_duration_since(self.born) > settings.absolute_ttl;
        if !state.outbox.has_reader() {
            let mut nobody = Context::from_waker(Waker::noop());
            while let Some((number, _)) = state.asked.poll_withdrawn(asked::UNASKED, &mut nobody) {
                state.outbox.withdraw(number);
            }
        }
        drop(state);
        given_up.iter().for_each(|entry| entry.stream.stop());
        old || (idle && !busy)
    }

    /// Stops the requests that the client calls so: it may have given several the same id.
    pub(super) fn cancel(&self, params: &Bytes) -> bool {
        let Some(id) = ids::cancelled(params).and_then(Id::from_raw) else { return true };
        let mut state = self.state();
        state.used = Instant::now();
        let mut stopped = Vec::new();
        for entry in &state.streams {
            if entry.stream.request() == Some(&id)
                && !matches!(entry.stream.carries, Carries::Response { to: To::Initialize, .. })
            {
                stopped.push(entry.stream.clone());
            }
        }
        drop(state);
        stopped.iter().for_each(|stream| stream.stop());
        true
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::unknown());
        }
        if state.closing {
            return Err(Refused::closed());
        }
        state.used = Instant::now();
        Ok(state)
    }
}

impl State {
    fn receive(&mut self, inbound: Inbound, settings: &SessionSettings) -> Result<Option<Waker>, Refused> {
        if self.inbox.len() >= settings.max_received {
            return Err(Refused::busy("what was sent before has not been looked at yet"));
        }
        self.inbox.push_back(inbound);
        Ok(self.receiver.take())
    }

    /// Makes room for one more request; the stream that gave way for it is to be stopped.
    fn make_room(&mut self, settings: &SessionSettings) -> Result<Option<Arc<Stream>>, Refused> {
        let evicted = if self.streams.len() >= settings.max_running { self.evict() } else { None };
        if self.streams.len() >= settings.max_running {
            return Err(Refused::busy("the session has as many requests under way as it may"));
        }
        Ok(evicted)
    }

    fn next_stream(&mut self) -> u32 {
        self.last_stream += 1;
        self.last_stream
    }

    fn find(&self, number: u32) -> Option<Arc<Stream>> {
        self.streams.iter().find(|entry| entry.stream.number == number).map(|entry| entry.stream.clone())
    }

    /// Takes out the stream that has waited longest for its reader, a complete one if there is one.
    fn evict(&mut self) -> Option<Arc<Stream>> {
        let waiting = self.streams.iter().enumerate().filter_map(|(at, entry)| Some((entry.left?, at)));
        let (_, at) = waiting.min_by_key(|(left, _)| (!left.complete, left.since))?;
        Some(self.streams.remove(at).stream)
    }

    fn is_drained(&self) -> bool {
        self.closed
            || (self.asked.len() == 0
                && self.streams.iter().all(|entry| {
                    matches!(entry.stream.carries, Carries::Unasked) || entry.left.is_some_and(|left| left.complete)
                }))
    }
}

/// A request as the other side sees it.
pub(super) fn request(
    method: Subject,
    message: Message,
    principal: Option<&Principal>,
    settings: &SessionSettings,
) -> Request {
    let mut context = RequestContext::new();
    // A subscription lasts as long as its reader.
    if method.as_str() != ids::LISTEN {
        context.deadline = Instant::now().checked_add(settings.request_timeout);
    }
    Request::new(method, signed(message, principal)).with_context(context)
}

/// The message with the name of whoever sent it.
pub(super) fn signed(message: Message, principal: Option<&Principal>) -> Message {
    match principal {
        Some(principal) => message.with_header(PRINCIPAL, principal.as_str().to_owned()),
        None => message,
    }
}
