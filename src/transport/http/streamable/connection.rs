// SPDX-License-Identifier: Apache-2.0
//! The handle.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::super::CONNECTION;
use super::super::endpoint::Endpoint;
use super::super::known::Known;
use super::call::Call;
use super::client::{Client, leave};
use super::push;
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Result, Retry};
use crate::message::{Message, Request, Subject};
use crate::proto::jsonrpc::ids;
use crate::stream::ResponseStream;
use crate::stream::roster::{Beginning, Roster, Terms};
use crate::target::TransportId;

/// The notification after which a server may send what nobody asked for.
const INITIALIZED: &str = "notifications/initialized";

/// How long the end of the handshake waits for the session's stream. Some servers send its head with its first event only.
const PUSH_WITHIN: Duration = Duration::from_millis(300);

pub(super) struct StreamableConnection {
    client: Arc<Client>,
    open: Arc<Roster>,
    push: Mutex<Option<AbortHandle>>,
}

impl StreamableConnection {
    pub(super) fn new(endpoint: Endpoint, known: Arc<Known>) -> Self {
        let info = ConnectionInfo::new(TransportId::HTTP, endpoint.url(), CONNECTION);
        Self { client: Client::new(endpoint, known, info), open: Roster::new(), push: Mutex::default() }
    }

    /// When `request` must be over; a subscription lasts until somebody ends it.
    fn deadline(&self, request: &Request) -> Option<Instant> {
        if request.context.deadline.is_some() || request.subject.as_str() == ids::LISTEN {
            return request.context.deadline;
        }
        Instant::now().checked_add(self.client.endpoint.config().limits.request_timeout)
    }

    /// Opens the session's own stream. Resolves when the server has answered, or will not soon.
    fn start_push(&self) -> impl Future<Output = ()> + Send + use<> {
        let (settle, settled) = oneshot::channel();
        let mut push = self.push.lock();
        if push.is_none() {
            *push = Some(tokio::spawn(push::listen(Arc::downgrade(&self.client), settle)).abort_handle());
        }
        async move {
            let _ = tokio::time::timeout(PUSH_WITHIN, settled).await;
        }
    }

    fn stop_push(&self) {
        let push = self.push.lock().take();
        push.into_iter().for_each(|push| push.abort());
    }
}

#[async_trait]
impl Connection for StreamableConnection {
    /// Has the session once `initialize` was answered.
    fn info(&self) -> &ConnectionInfo {
        self.client.session.info()
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        if request.items.is_some() {
            return Err(
                Error::unsupported("JSON-RPC carries one message each way, no stream of items").with_retry(Retry::Safe)
            );
        }
        if request.context.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::deadline(0).with_retry(Retry::Safe));
        }
        let (size, limit) = (request.message.size(), self.client.endpoint.max_message());
        if size > limit {
            return Err(Error::too_large("the request", limit as u64, size as u64)
                .with_hint("raise BIPLANE_MAX_MESSAGE_SIZE")
                .with_retry(Retry::Safe));
        }
        self.open.check_open()?;
        let deadline = self.deadline(&request);
        let stream = Call::open(&self.client, request, deadline)?;
        let client = self.client.clone();
        let forward = Box::new(move |inbound| client.receive_later(inbound));
        let terms = Terms { deadline, max_item: self.client.endpoint.max_message(), forward: Some(forward) };
        Ok(self.open.admit(Beginning::Open(stream), terms)?.stream())
    }

    /// Done when the server has taken it.
    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.open.check_open()?;
        self.client.notify(subject, message).await?;
        if subject.as_str() == INITIALIZED && self.client.session.is_open() {
            // A question that the next request causes may come by this stream, and is lost if it is not open.
            self.start_push().await;
        }
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(poll_fn(|cx| self.client.inbox().poll_next(cx)).await)
    }

    /// Ends the session at the server. The links stay in the pool.
    async fn close(&self, grace: Duration) -> Result<()> {
        self.open.close(grace).await;
        self.stop_push();
        if let Some(leaving) = self.client.take_leave() {
            leave(leaving, grace.max(Duration::from_secs(1))).await;
        }
        let (unreceived, receiver) = self.client.inbox().close();
        drop(unreceived);
        receiver.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Drop for StreamableConnection {
    fn drop(&mut self) {
        self.stop_push();
        self.open.refuse();
        let unreceived = self.client.inbox().abandon();
        drop(unreceived);
    }
}

impl fmt::Debug for StreamableConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamableConnection({})", self.client.endpoint.url())
    }
}
