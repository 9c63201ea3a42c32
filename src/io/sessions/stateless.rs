// SPDX-License-Identifier: Apache-2.0
//! The connection of all requests that belong to no session.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

use super::answer::{Answer, Posted};
use super::in_place;
use super::refused::Refused;
use super::running::{Stream, To};
use super::session::{request, signed};
use super::settings::SessionSettings;
use crate::connection::{Answerer, Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Result};
use crate::io::Principal;
use crate::message::{Message, Request, Subject};
use crate::proto::jsonrpc::{Packet, ids};
use crate::stream::ResponseStream;

/// What was sent without a session, until the other side takes it.
pub(super) struct Stateless {
    info: ConnectionInfo,
    settings: Arc<SessionSettings>,
    running: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    inbox: VecDeque<Inbound>,
    receiver: Option<Waker>,
    answerer: Option<Arc<dyn Answerer>>,
    closing: bool,
    closed: bool,
}

impl Stateless {
    pub(super) fn new(info: ConnectionInfo, settings: Arc<SessionSettings>) -> Self {
        Self { info, settings, running: Arc::default(), state: Mutex::default() }
    }

    /// Takes a message of a client.
    pub(super) fn take(&self, packet: Packet, principal: Option<&Principal>) -> Result<Posted, Refused> {
        match packet {
            Packet::Request { id, method, message } => {
                let answerer = self.answerer()?;
                let count = self.count_one()?;
                let to = To::of(method.as_str());
                let request = request(method, message, principal, &self.settings);
                let (events, asked) = in_place::ask(answerer.as_deref(), request, &self.settings);
                // From here on the answer gives the count back.
                let stream = Stream::answering(0, id, to, events, asked.is_none(), &self.settings);
                let answered = Answer::stateless(stream, count);
                if let Some(asked) = asked {
                    self.push(asked)?;
                }
                Ok(Posted::Answer(answered))
            }
            // A request that is given up loses its answer; a cancellation has no id that would mean something here.
            Packet::Notification { method, .. } if method.as_str() == ids::CANCELLED => Ok(Posted::Accepted),
            Packet::Notification { method, message } => {
                self.push(Inbound::Notification(method, signed(message, principal)))?;
                Ok(Posted::Accepted)
            }
            Packet::Response { .. } => {
                Err(Refused::misplaced("nothing was asked: a client without a session has no responses to send"))
            }
        }
    }

    fn count_one(&self) -> Result<Arc<AtomicUsize>, Refused> {
        let max = self.settings.max_stateless;
        let raised =
            self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < max).then_some(count + 1));
        raised.map_err(|_| Refused::busy("there are as many requests under way as there may be"))?;
        Ok(self.running.clone())
    }

    fn answerer(&self) -> Result<Option<Arc<dyn Answerer>>, Refused> {
        let state = self.state();
        if state.closing { Err(Refused::closed()) } else { Ok(state.answerer.clone()) }
    }

    fn push(&self, inbound: Inbound) -> Result<(), Refused> {
        let mut state = self.state();
        if state.closing {
            return Err(Refused::closed());
        }
        if state.inbox.len() >= self.settings.max_stateless {
            return Err(Refused::busy("what was sent before has not been looked at yet"));
        }
        state.inbox.push_back(inbound);
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Takes nothing new.
    pub(super) fn drain(&self) {
        self.state().closing = true;
    }

    /// Requests under way.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        let mut state = self.state();
        (state.closing, state.closed) = (true, true);
        let (inbox, answerer) = (std::mem::take(&mut state.inbox), state.answerer.take());
        let receiver = state.receiver.take();
        drop(state);
        drop((inbox, answerer));
        receiver.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Its one handle.
pub(super) struct StatelessConnection(pub(super) Arc<Stateless>);

#[async_trait]
impl Connection for StatelessConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.0.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        Err(Error::unsupported(format!("a client without a session takes no requests ({})", request.subject)))
    }

    async fn notify(&self, subject: &Subject, _message: Message) -> Result<()> {
        Err(Error::unsupported(format!("there is no session that {subject} could be sent to")))
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(poll_fn(|cx| {
            let mut state = self.0.state();
            match state.inbox.pop_front() {
                Some(inbound) => Poll::Ready(Some(inbound)),
                None if state.closed => Poll::Ready(None),
                None => {
                    state.receiver = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await)
    }

    fn answer_in_place(&self, answerer: Arc<dyn Answerer>) {
        let mut state = self.0.state();
        if !state.closed {
            state.answerer = Some(answerer);
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.0.drain();
        let drained = async {
            while self.0.running() > 0 {
                tokio::time::sleep(super::host::LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(grace, drained).await;
        self.0.end();
        Ok(())
    }
}

impl Drop for StatelessConnection {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for StatelessConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatelessConnection({:?})", self.0.info)
    }
}
