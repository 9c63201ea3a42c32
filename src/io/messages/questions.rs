// SPDX-License-Identifier: Apache-2.0
//! Requests that came in, and the senders of their answers.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::peer::{Peer, Phase};
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message, Subject};
use crate::proto::jsonrpc::{Id, Packet, ids};
use crate::stream::{Event, ResponseSender, ResponseStream, Sink, Unended};

#[derive(Default)]
pub(super) struct Questions {
    slots: Slab<Question>,
    serial: u32,
}

struct Question {
    serial: u32,
    id: Id,
    is_listening: bool,
    is_answered: bool,
    /// The peer wants no answer: it gave the request up, or is gone.
    is_killed: bool,
    holders: usize,
    stop_waiter: Option<Waker>,
    kill_waiter: Option<Waker>,
}

impl Question {
    fn kill(&mut self) -> [Option<Waker>; 2] {
        self.is_killed = true;
        [self.stop_waiter.take(), self.kill_waiter.take()]
    }
}

impl Questions {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Named by a key of our own: what the peer calls it may not be unique.
    pub(super) fn begin(&mut self, id: Id, method: &Subject) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        let question = Question {
            serial: self.serial,
            id,
            is_listening: method.as_str() == ids::LISTEN,
            is_answered: false,
            is_killed: false,
            holders: 1,
            stop_waiter: None,
            kill_waiter: None,
        };
        (self.slots.insert(question) as u64) << 32 | u64::from(self.serial)
    }

    fn get(&mut self, key: u64) -> Option<&mut Question> {
        self.slots.get_mut((key >> 32) as usize).filter(|question| u64::from(question.serial) == key & 0xFFFF_FFFF)
    }

    /// Of several with the same id, which the protocol forbids, the oldest is meant.
    pub(super) fn cancel(&mut self, id: &Id) -> Vec<Waker> {
        let meant = self.slots.iter_mut().map(|(_, question)| question);
        let meant = meant.filter(|question| question.id == *id && !question.is_killed).min_by_key(|one| one.serial);
        meant.into_iter().flat_map(Question::kill).flatten().collect()
    }

    pub(super) fn kill_all(&mut self) -> Vec<Waker> {
        self.slots.iter_mut().flat_map(|(_, question)| question.kill()).flatten().collect()
    }
}

/// The sending side of the questions of one link.
pub(super) struct Asked(pub(super) Arc<Peer>);

impl Asked {
    fn answer(&self, key: u64, outcome: Result<Message, PeerError>) {
        self.0.with(|state| {
            let Some(question) = state.questions.get(key) else { return };
            if question.is_answered || question.is_killed {
                return;
            }
            question.is_answered = true;
            let id = question.id.clone();
            state.write(&Packet::Response { id, outcome });
        });
    }

    /// Passes the question on, and its answer back.
    fn ask(&self, request: crate::message::Request, reply: ResponseSender) {
        match self.0.open(request) {
            Ok(stream) => drop(tokio::spawn(relay(stream, reply))),
            Err(error) => reply.refuse(&error),
        }
    }
}

async fn relay(mut stream: ResponseStream, reply: ResponseSender) {
    let item = tokio::select! {
        item = stream.next() => item,
        _ = reply.stopped() => return,
    };
    match item {
        Some(Ok(item)) => match reply.send(item).await {
            Ok(()) => reply.close(),
            Err(error) => reply.fail(&error),
        },
        Some(Err(error)) => reply.fail(&error),
        None => reply.fail(Error::protocol("the answer has no result")),
    }
}

fn unwanted() -> Error {
    Error::cancelled("the peer wants no answer any more")
}

impl Sink for Asked {
    fn poll_ready(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.0.state();
        if matches!(state.phase, Phase::Gone(_)) || state.questions.get(key).is_none_or(|one| one.is_killed) {
            return Poll::Ready(Err(unwanted()));
        }
        self.0.poll_room(&mut state, cx).map(Ok)
    }

    fn push(&self, key: u64, event: Event) -> Result<()> {
        match event {
            Event::Item(mut item) => {
                self.0.check_size("a result", item.size())?;
                let listener = match self.0.state().questions.get(key).filter(|one| !one.is_answered) {
                    Some(question) => question.is_listening.then(|| question.id.clone()),
                    None => return Err(Error::protocol("a request over JSON-RPC has one result")),
                };
                if let Some(id) = listener {
                    item.body = ids::with_subscription(&item.body, &id);
                }
                self.answer(key, Ok(item));
            }
            Event::Inbound(Inbound::Notification(method, mut message)) => self.0.with(|state| {
                let Some(question) = state.questions.get(key).filter(|one| !one.is_killed) else { return };
                if question.is_listening {
                    message.body = ids::with_subscription(&message.body, &question.id);
                }
                state.write(&Packet::Notification { method, message });
            }),
            Event::Inbound(Inbound::Request(request, reply)) => self.ask(request, reply),
        }
        Ok(())
    }

    fn control(&self, _key: u64, _message: ControlMessage) -> Result<()> {
        // That no further item comes is told by the result.
        Ok(())
    }

    fn end(&self, key: u64, outcome: Result<(), PeerError>) {
        let error =
            outcome.err().unwrap_or_else(|| PeerError::from(Error::unexpected("the handler ended without a result")));
        self.answer(key, Err(error));
    }

    fn poll_stopped(&self, key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        let mut state = self.0.state();
        match state.questions.get(key) {
            Some(question) if !question.is_killed => {
                question.stop_waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(ControlMessage::Kill),
        }
    }

    fn poll_killed(&self, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        match state.questions.get(key) {
            Some(question) if !question.is_killed => {
                question.kill_waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn retain(&self, key: u64) {
        if let Some(question) = self.0.state().questions.get(key) {
            question.holders += 1;
        }
    }

    fn release(&self, key: u64, unended: Unended) {
        let mut state = self.0.state();
        let Some(question) = state.questions.get(key) else { return };
        question.holders -= 1;
        if question.holders > 0 {
            return;
        }
        drop(state);
        self.end(key, unended.outcome());
        let mut state = self.0.state();
        if state.questions.get(key).is_some() {
            state.questions.slots.remove((key >> 32) as usize);
        }
        drop(state);
        self.0.poke_if_closing();
    }
}
