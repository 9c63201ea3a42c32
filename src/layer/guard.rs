// SPDX-License-Identifier: Apache-2.0
//! Refuses what cannot succeed, before anything is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Layer, Observer, observe};
use crate::capability::Exchange;
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Phase, Result, Retry};
use crate::message::{Message, Request, SessionId, Subject};
use crate::stream::{Event, ResponseStream};

/// Checks every request against what the connection claims and what the caller permits, and gives a deadline to those that
/// bring none. The deadline itself is kept by the link.
///
/// | a request that | gets |
/// |---|---|
/// | is larger than the limit | `TooLarge` |
/// | streams items over a connection that is not duplex | `Unsupported` |
/// | is over its deadline already | `Timeout` |
///
/// In all three cases nothing was sent. An item of a streaming request that is over the limit ends the request with
/// `TooLarge`; what came before it has been sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {
    max_message_size: Option<u64>,
    default_timeout: Option<Duration>,
}

impl Guard {
    /// Checks claims only: no limit beyond the connection's own, no default deadline.
    pub const fn new() -> Self {
        Self { max_message_size: None, default_timeout: None }
    }

    /// The most bytes of a message, headers included. The connection's own limit counts if it is lower.
    pub const fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// How long a request may take that has no deadline.
    pub const fn default_timeout(mut self, timeout: Duration) -> Self {
        self.default_timeout = Some(timeout);
        self
    }
}

impl Layer for Guard {
    fn layer(&self, inner: Arc<dyn Connection>) -> Arc<dyn Connection> {
        let mut info = inner.info().clone();
        let limits = [self.max_message_size, info.capabilities.max_message_size];
        // What it refuses it must not claim.
        info.capabilities.max_message_size = limits.into_iter().flatten().min();
        Arc::new(Guarded { inner, info, default_timeout: self.default_timeout })
    }
}

#[derive(Debug)]
struct Guarded {
    inner: Arc<dyn Connection>,
    info: ConnectionInfo,
    default_timeout: Option<Duration>,
}

impl Guarded {
    fn admit(&self, mut request: Request) -> Result<Request> {
        self.check_deadline(&mut request)?;
        self.check_size(&request.message, &request.subject)?;
        if let Some(items) = request.items.take() {
            if self.info.capabilities.exchange < Exchange::Duplex {
                let what = format!("{} carries no streams of items (to {})", self.info.transport, request.subject);
                return Err(Error::unsupported(what)
                    .with_phase(Phase::Send)
                    .with_hint("send one message, or choose a transport that claims a duplex exchange"));
            }
            request.items = Some(match self.info.capabilities.max_message_size {
                Some(limit) => Box::new(observe(*items, ItemLimit(limit))),
                None => items,
            });
        }
        Ok(request)
    }

    fn check_deadline(&self, request: &mut Request) -> Result<()> {
        if request.context.deadline.is_none() && self.default_timeout.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        match (request.context.deadline, self.default_timeout) {
            (Some(deadline), _) if deadline <= now => {
                // Whoever still has time may try again.
                Err(Error::deadline(0).with_phase(Phase::Send).with_retry(Retry::Safe))
            }
            (None, Some(timeout)) => {
                request.context.deadline = now.checked_add(timeout);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_size(&self, message: &Message, subject: &Subject) -> Result<()> {
        let size = message.size() as u64;
        match self.info.capabilities.max_message_size {
            Some(limit) if size > limit => Err(Error::too_large("a message", limit, size)
                .with_phase(Phase::Send)
                .with_transport(&self.info.transport)
                .with_context("subject", subject)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Connection for Guarded {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.inner.open(self.admit(request)?)
    }

    async fn request(&self, request: Request) -> Result<Message> {
        self.inner.request(self.admit(request)?).await
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.check_size(&message, subject)?;
        self.inner.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.inner.receive().await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.inner.close(grace).await
    }

    fn session_id(&self) -> Option<&SessionId> {
        self.inner.session_id()
    }

    fn is_multiplexed(&self) -> bool {
        self.inner.is_multiplexed()
    }
}

/// Bytes of an item of a streaming request.
struct ItemLimit(u64);

impl Observer for ItemLimit {
    fn on_event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Item(item) if item.size() as u64 > self.0 => {
                Err(Error::too_large("an item of a request", self.0, item.size() as u64).with_phase(Phase::Send))
            }
            Event::Item(_) | Event::Inbound(_) => Ok(()),
        }
    }
}
