// SPDX-License-Identifier: Apache-2.0
//! A session as the other side has it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep_until, timeout};

use super::session::Session;
use super::settings::CREDIT;
use crate::connection::{Answerer, Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Result};
use crate::message::{ControlMessage, Message, Request, Subject};
use crate::proto::jsonrpc::Packet;
use crate::stream::{Event, ResponseStream, Source, pipe};

/// How long a notification waits for a client that listens and reads slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one handle of a session. The session ends with it.
pub(super) struct SessionConnection(pub(super) Arc<Session>);

#[async_trait]
impl Connection for SessionConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.0.info
    }

    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        let session = &self.0;
        if session.state().closed {
            return Err(Error::closed("the client's session has ended"));
        }
        let longest = Instant::now() + session.settings().request_timeout;
        let deadline = request.context.deadline.map_or(longest, |deadline| deadline.min(longest));
        request.context.deadline = Some(deadline);
        let (answer, stream) = pipe(CREDIT, session.settings().max_message_size);
        session.queue_request(request, answer);
        let timer = Box::pin(sleep_until(deadline.into()));
        Ok(ResponseStream::new(Arc::new(Timed(Mutex::new(Some((stream, timer))))), 0))
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        let text = Packet::Notification { method: subject.clone(), message }.to_bytes();
        match timeout(PATIENCE, poll_fn(|cx| self.0.poll_queue(&text, cx))).await {
            Ok(queued) => queued,
            Err(_) => Err(Error::overloaded("the client reads too slowly")),
        }
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(poll_fn(|cx| self.0.poll_receive(cx)).await)
    }

    fn answer_in_place(&self, answerer: Arc<dyn Answerer>) {
        self.0.answered_by(answerer);
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        // What is still under way after the grace ends with the session.
        let _ = timeout(grace, poll_fn(|cx| self.0.poll_drained(cx))).await;
        self.0.end();
        Ok(())
    }
}

impl Drop for SessionConnection {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for SessionConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionConnection({:?})", self.0.info)
    }
}

/// The client's answer, which comes before its deadline or not at all.
struct Timed(Mutex<Option<(ResponseStream, Pin<Box<Sleep>>)>>);

impl Source for Timed {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut inner = self.0.lock();
        let Some((stream, timer)) = &mut *inner else { return Poll::Ready(None) };
        if let Poll::Ready(event) = stream.poll_event(cx) {
            return Poll::Ready(event);
        }
        std::task::ready!(timer.as_mut().poll(cx));
        // Dropping it tells the client that nobody waits any more.
        let given_up = inner.take();
        drop(inner);
        drop(given_up);
        Poll::Ready(Some(Err(Error::deadline(0))))
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if let Some((stream, _)) = &*self.0.lock() {
            stream.control(message);
        }
    }

    fn release(&self, _key: u64) {
        let inner = self.0.lock().take();
        drop(inner);
    }
}
