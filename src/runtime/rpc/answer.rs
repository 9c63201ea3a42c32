// SPDX-License-Identifier: Apache-2.0
//! The answer to one request: items of the planes read as JSON-RPC messages.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::connection::Shared;
use super::question::{Asked, cancelled};
use super::wire::SESSION;
use crate::connection::Inbound;
use crate::error::{Error, Result};
use crate::message::{ControlMessage, Message};
use crate::proto::jsonrpc::{Id, Packet};
use crate::stream::{Event, ResponseStream, Source};

/// Reads the answer to the request `id`.
pub(super) struct Answer(Mutex<State>);

struct State {
    shared: Arc<Shared>,
    /// `None` once it is over.
    items: Option<ResponseStream>,
    id: Id,
    /// The request is an `initialize`.
    opens: bool,
    is_of_session: bool,
    /// The session that the worker named, until it is known that it was opened.
    named: Option<Bytes>,
    has_response: bool,
    /// Requests of the server's on account of this one: they end with it.
    asked: Asked,
}

impl Answer {
    pub(super) fn new(shared: Arc<Shared>, items: ResponseStream, id: Id, opens: bool, is_of_session: bool) -> Self {
        let asked = Asked::new(shared.weak());
        Self(Mutex::new(State {
            shared,
            items: Some(items),
            id,
            opens,
            is_of_session,
            named: None,
            has_response: false,
            asked,
        }))
    }

    pub(super) fn stream(self) -> ResponseStream {
        ResponseStream::new(Arc::new(self), 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Source for Answer {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.state();
        let next = ready!(state.poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            state.items = None;
        }
        Poll::Ready(next)
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if let Some(items) = &self.state().items {
            items.control(message);
        }
    }

    fn release(&self, _key: u64) {
        let mut state = self.state();
        let items = state.items.take();
        if state.opens {
            state.shared.not_opened();
        }
        drop(state);
        // Outside the lock: dropping it gives the request up, which calls out.
        drop(items);
    }
}

impl State {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        loop {
            let Some(items) = &mut self.items else { return Poll::Ready(None) };
            let event = match ready!(items.poll_event(cx)) {
                Some(Ok(Event::Item(item))) if !self.has_response => self.read(item),
                Some(Ok(Event::Item(_))) => Err(Error::protocol("the worker sent more after its response")),
                // The mapping knows items only.
                Some(Ok(Event::Inbound(_))) => continue,
                Some(Err(error)) => Err(self.shared.explain(error, self.is_of_session)),
                None if self.has_response => return Poll::Ready(None),
                None => Err(Error::protocol("the worker's answer ended without a response")),
            };
            match event {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// What an item says; `None` if it is not for the reader.
    fn read(&mut self, item: Message) -> Result<Option<Event>> {
        if self.opens
            && let Some(name) = item.headers.get(SESSION)
        {
            self.named = Some(name.clone());
        }
        let packet = Packet::parse(&item.body)
            .map_err(|bad| Error::protocol(format!("the worker sent what is no JSON-RPC message: {}", bad.message)))?;
        match packet {
            Packet::Response { id, outcome } if id == self.id => {
                self.has_response = true;
                if outcome.is_ok() {
                    self.adopt()?;
                }
                outcome.map(|message| Some(Event::Item(message))).map_err(Error::from)
            }
            Packet::Response { .. } => Err(Error::protocol("the worker answered another request than it was asked")),
            Packet::Notification { method, message } => match cancelled(&method, &message) {
                Some(id) => {
                    self.shared.questions.cancel(&id);
                    Ok(None)
                }
                None => Ok(Some(Event::Inbound(Inbound::Notification(method, message)))),
            },
            Packet::Request { id, method, message } => {
                // It has to be answered before the response comes.
                self.adopt()?;
                Ok(self.asked.take(id, method, message).map(Event::Inbound))
            }
        }
    }

    /// From now on the connection has the session that was named.
    fn adopt(&mut self) -> Result<()> {
        self.named.take().map_or(Ok(()), |name| self.shared.opened(&name))
    }
}
