// SPDX-License-Identifier: Apache-2.0
//! The handle.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;

use super::peer::Peer;
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Result};
use crate::message::{Message, Request, Subject};
use crate::stream::{Event, ResponseStream, Source};

pub(super) struct MessageConnection {
    info: ConnectionInfo,
    peer: Arc<Peer>,
}

impl MessageConnection {
    pub(super) fn new(info: ConnectionInfo, peer: Arc<Peer>) -> Self {
        Self { info, peer }
    }
}

#[async_trait]
impl Connection for MessageConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.peer.open(request)
    }

    /// Without a stream in between: what waits is the slot, and nothing else.
    async fn request(&self, request: Request) -> Result<Message> {
        let mut asking = Asking { peer: &self.peer, unsent: Some(request), key: None };
        poll_fn(|cx| asking.poll(cx)).await
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        poll_fn(|cx| self.peer.poll_notify(subject, &message, cx)).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(poll_fn(|cx| self.peer.state().inbox.poll_next(cx)).await)
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.peer.close(false);
        if tokio::time::timeout(grace, self.peer.gone()).await.is_err() {
            self.peer.close(true);
            self.peer.gone().await;
        }
        Ok(())
    }
}

/// A request and its one answer.
struct Asking<'a> {
    peer: &'a Arc<Peer>,
    unsent: Option<Request>,
    /// Of the call that is under way.
    key: Option<u64>,
}

impl Asking<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        if let Some(request) = self.unsent.take() {
            self.key = Some(self.peer.begin(request, Some(cx.waker()))?);
            return Poll::Pending;
        }
        let Some(key) = self.key else {
            return Poll::Ready(Err(Error::protocol("the answer to a unary request was read")));
        };
        loop {
            let mut state = self.peer.state();
            let event = ready!(state.calls.poll_next(key, cx));
            if let Some(Ok(Event::Inbound(inbound))) = event {
                // Nobody reads it here.
                drop(state);
                self.peer.receive_later(inbound);
                continue;
            }
            // Its slot goes with the answer, under one lock.
            let unread = state.calls.forget(key);
            self.key = None;
            let driver = state.driver_to_wake();
            drop(state);
            drop(unread);
            driver.into_iter().for_each(Waker::wake);
            return Poll::Ready(match event {
                Some(Ok(Event::Item(item))) => Ok(item),
                Some(Err(error)) => Err(error.at_item(0)),
                _ => Err(Error::protocol("the answer to a unary request has no item")),
            });
        }
    }
}

impl Drop for Asking<'_> {
    /// Dropped is cancelled.
    fn drop(&mut self) {
        if let Some(key) = self.key {
            Source::release(&**self.peer, key);
        }
    }
}

impl Drop for MessageConnection {
    fn drop(&mut self) {
        let unreceived = self.peer.state().inbox.abandon();
        drop(unreceived);
        self.peer.close(false);
    }
}

impl fmt::Debug for MessageConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageConnection({} {})", self.info.transport, self.info.peer)
    }
}
