// SPDX-License-Identifier: Apache-2.0
//! What a client is answered, message by message.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::asked::UNASKED;
use super::event::EventId;
use super::running::{Carries, Stream, StreamState, To};
use super::session::Session;
use crate::connection::Inbound;
use crate::error::{Error, PeerError};
use crate::message::{Message, SessionId};
use crate::proto::jsonrpc::{Id, Packet, ids};
use crate::stream::Event;

/// What became of a message that a client sent.
#[derive(Debug)]
pub enum Posted {
    /// It wants no answer.
    Accepted,
    /// Its answer.
    Answer(Answer),
}

/// A message to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its place, by which the client can ask for what follows; `None` where it cannot.
    pub id: Option<EventId>,
    /// The JSON-RPC message.
    pub text: Bytes,
    /// `None` for what comes before the response; `Some` for the response, which is the last, with the code of its error.
    pub response: Option<Option<i64>>,
}

/// A message as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) text: Bytes,
    pub(super) response: Option<Option<i64>>,
}

/// The messages that answer a request, or that come unasked.
pub struct Answer {
    owner: Owner,
    stream: Arc<Stream>,
    reader: u32,
    /// The place before its first message.
    began: u64,
    /// The place of the last message that was given out.
    at: u64,
    over: bool,
}

enum Owner {
    Session(Arc<Session>),
    /// How many there are.
    Nobody(Arc<AtomicUsize>),
}

impl Answer {
    pub(super) fn of_session(session: Arc<Session>, stream: Arc<Stream>) -> Self {
        let reader = stream.state().reader;
        Self { owner: Owner::Session(session), stream, reader, began: 0, at: 0, over: false }
    }

    pub(super) fn resumed(session: Arc<Session>, stream: Arc<Stream>, reader: u32, at: u64) -> Self {
        Self { owner: Owner::Session(session), stream, reader, began: at, at, over: false }
    }

    /// `count` has been raised for it.
    pub(super) fn stateless(stream: Stream, count: Arc<AtomicUsize>) -> Self {
        Self { owner: Owner::Nobody(count), stream: Arc::new(stream), reader: 0, began: 0, at: 0, over: false }
    }

    /// The session that it belongs to.
    pub fn session(&self) -> Option<&SessionId> {
        match &self.owner {
            Owner::Session(session) => Some(session.id()),
            Owner::Nobody(_) => None,
        }
    }

    /// The session that the client is to be told of. There is none after a handshake that failed.
    pub fn opened(&self) -> Option<&SessionId> {
        match &self.owner {
            Owner::Session(session) if !session.state().closed => Some(session.id()),
            _ => None,
        }
    }

    /// The revision of the protocol that the session agreed on, once it has.
    pub fn revision(&self) -> Option<&str> {
        match &self.owner {
            Owner::Session(session) => session.revision(),
            Owner::Nobody(_) => None,
        }
    }

    /// The place before the first message of this answer. The client is told of it, so it may lose its link before it
    /// sees a message: from now on whatever follows is kept for it. `None` without a session.
    pub fn prime(&mut self) -> Option<EventId> {
        let Owner::Session(_) = &self.owner else { return None };
        self.stream.state().primed = true;
        Some(EventId { stream: self.stream.number, at: self.began })
    }

    /// The next message; `None` after the response, and where nothing more comes: the request was cancelled, the session
    /// ended, or another answer took this one's place.
    pub async fn next(&mut self) -> Option<Outgoing> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) as a poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        if self.over {
            return Poll::Ready(None);
        }
        let stream = self.stream.clone();
        let mut state = stream.state();
        if state.reader != self.reader {
            self.over = true;
            return Poll::Ready(None);
        }
        if let Some((at, sent)) = state.replay.after(self.at) {
            let sent = sent.clone();
            return Poll::Ready(Some(self.given(at, sent)));
        }
        let polled = match &stream.carries {
            Carries::Response { id, to } => self.poll_response(&mut state, id, *to, cx),
            Carries::Unasked => self.poll_unasked(cx).map(|text| text.map(|text| Sent { text, response: None })),
        };
        let sent = match polled {
            Poll::Ready(Some(sent)) => sent,
            Poll::Ready(None) => {
                self.over = true;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        let at = match &self.owner {
            // A response that comes alone is all there is: nobody would ask for the rest.
            Owner::Session(_) if sent.response.is_some() && !state.primed && state.replay.last() == 0 => {
                state.replay.pass()
            }
            Owner::Session(session) => {
                let settings = session.settings();
                state.replay.keep(sent.clone(), settings.max_replayed, settings.max_replayed_bytes)
            }
            Owner::Nobody(_) => state.replay.pass(),
        };
        // What a stream sets off when it is dropped runs without the lock.
        let spent = if sent.response.is_some() { state.events.take() } else { None };
        drop(state);
        drop(spent);
        let failed = matches!(sent.response, Some(Some(_)));
        if let (Owner::Session(session), Carries::Response { to: To::Initialize, .. }) = (&self.owner, &stream.carries)
            && failed
        {
            // There is no session without its handshake.
            session.end();
        }
        Poll::Ready(Some(self.given(at, sent)))
    }

    /// Gives the request up: whoever works on it is told, and no response comes.
    pub fn cancel(self) {
        self.stream.stop();
    }

    fn given(&mut self, at: u64, sent: Sent) -> Outgoing {
        self.at = at;
        self.over |= sent.response.is_some();
        let id = matches!(self.owner, Owner::Session(_)).then_some(EventId { stream: self.stream.number, at });
        Outgoing { id, text: sent.text, response: sent.response }
    }

    fn poll_response(&self, state: &mut StreamState, id: &Id, to: To, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        loop {
            let Some(events) = &mut state.events else { return Poll::Ready(None) };
            let Poll::Ready(event) = events.poll_event(cx) else {
                if let Owner::Session(session) = &self.owner
                    && let Some(text) = session.poll_withdrawn(self.stream.number, cx)
                {
                    return Poll::Ready(Some(Sent { text, response: None }));
                }
                return Poll::Pending;
            };
            let outcome = match event {
                Some(Ok(Event::Inbound(inbound))) => match self.call(inbound, id, to) {
                    Some(text) => return Poll::Ready(Some(Sent { text, response: None })),
                    None => continue,
                },
                Some(Ok(Event::Item(item))) if item.size() > self.stream.max_item => {
                    let (most, got) = (self.stream.max_item as u64, item.size() as u64);
                    Err(PeerError::from(Error::too_large("an item", most, got)).started())
                }
                Some(Ok(Event::Item(mut item))) => {
                    match (to, &self.owner) {
                        (To::Listen, _) => item.body = ids::with_subscription(&item.body, id),
                        (To::Initialize, Owner::Session(session)) => session.agreed(&item.body),
                        _ => {}
                    }
                    Ok(item)
                }
                Some(Err(error)) => Err(PeerError::from(error)),
                None => Err(PeerError::from(Error::unexpected("the answer ended without a result"))),
            };
            let response = Some(outcome.as_ref().err().map(|error| error.code));
            let text = Packet::Response { id: id.clone(), outcome }.to_bytes();
            return Poll::Ready(Some(Sent { text, response }));
        }
    }

    /// What the other side sends on account of the request, as text.
    fn call(&self, inbound: Inbound, id: &Id, to: To) -> Option<Bytes> {
        match (inbound, &self.owner) {
            (Inbound::Notification(method, message), _) => {
                let Message { headers, body } = message;
                let body = if to == To::Listen { ids::with_subscription(&body, id) } else { body };
                Some(Packet::Notification { method, message: Message { headers, body } }.to_bytes())
            }
            (Inbound::Request(request, answer), Owner::Session(session)) => {
                session.ask(self.stream.number, request, answer).map(|(_, text)| text)
            }
            (Inbound::Request(request, answer), Owner::Nobody(_)) => {
                let error =
                    Error::unsupported(format!("a client without a session takes no requests ({})", request.subject));
                answer.refuse(error);
                None
            }
        }
    }

    fn poll_unasked(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &self.owner {
            Owner::Session(session) => session.poll_outbox(self.stream.number, UNASKED, cx),
            Owner::Nobody(_) => Poll::Ready(None),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Session(session) => session.left(&self.stream, self.reader, self.at),
            Owner::Nobody(count) => {
                self.stream.stop();
                count.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer(stream {}, {} messages given)", self.stream.number, self.at)
    }
}
