// SPDX-License-Identifier: Apache-2.0
//! Requests that came in, and the senders of their answers.

use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::peer::{Peer, Phase, State};
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message, Request, Subject};
use crate::proto::jsonrpc::{Id, ids};
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

impl State {
    /// Answers a question that was not answered and whose asker still waits.
    fn answer(&mut self, key: u64, outcome: impl FnOnce(&Question) -> Result<Message, PeerError>) {
        let Some(question) = self.questions.get(key).filter(|one| !one.is_answered && !one.is_killed) else { return };
        question.is_answered = true;
        let outcome = outcome(question);
        self.out.response(&question.id, outcome.as_ref());
    }
}

impl Peer {
    /// Passes a question on, and its answer back.
    fn ask(&self, request: Request, reply: ResponseSender) {
        match self.open(request) {
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

impl Sink for Peer {
    fn poll_ready(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        if matches!(state.phase, Phase::Gone(_)) || state.questions.get(key).is_none_or(|one| one.is_killed) {
            return Poll::Ready(Err(unwanted()));
        }
        self.poll_room(&mut state, cx).map(Ok)
    }

    fn push(&self, key: u64, event: Event) -> Result<()> {
        match event {
            Event::Item(mut item) => {
                self.check_size("a result", item.size())?;
                self.with(|state| {
                    if state.questions.get(key).is_none_or(|one| one.is_answered) {
                        return Err(Error::protocol("a request over JSON-RPC has one result"));
                    }
                    state.answer(key, |question| {
                        if question.is_listening {
                            item.body = ids::with_subscription(&item.body, &question.id);
                        }
                        Ok(item)
                    });
                    Ok(())
                })
            }
            Event::Inbound(Inbound::Notification(method, mut message)) => {
                self.with(|state| {
                    let Some(question) = state.questions.get(key).filter(|one| !one.is_killed) else { return };
                    if question.is_listening {
                        message.body = ids::with_subscription(&message.body, &question.id);
                    }
                    state.out.notification(&method, &message);
                });
                Ok(())
            }
            Event::Inbound(Inbound::Request(request, reply)) => {
                self.ask(request, reply);
                Ok(())
            }
        }
    }

    fn control(&self, _key: u64, _message: ControlMessage) -> Result<()> {
        // That no further item comes is told by the result.
        Ok(())
    }

    fn end(&self, key: u64, outcome: Result<(), PeerError>) {
        self.with(|state| state.answer(key, |_| Err(without_result(outcome))));
    }

    fn poll_stopped(&self, key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        let mut state = self.state();
        match state.questions.get(key) {
            Some(question) if !question.is_killed => {
                question.stop_waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(ControlMessage::Kill),
        }
    }

    fn poll_killed(&self, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        match state.questions.get(key) {
            Some(question) if !question.is_killed => {
                question.kill_waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn retain(&self, key: u64) {
        if let Some(question) = self.state().questions.get(key) {
            question.holders += 1;
        }
    }

    fn release(&self, key: u64, unended: Unended) {
        self.with(|state| {
            let Some(question) = state.questions.get(key) else { return };
            question.holders -= 1;
            if question.holders == 0 {
                state.answer(key, |_| Err(without_result(unended.outcome())));
                state.questions.slots.remove((key >> 32) as usize);
            }
        });
    }
}

fn without_result(outcome: Result<(), PeerError>) -> PeerError {
    outcome.err().unwrap_or_else(|| PeerError::from(Error::unexpected("the handler ended without a result")))
}
