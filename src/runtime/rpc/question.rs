// SPDX-License-Identifier: Apache-2.0
//! Requests of the server's: handed on with a sender, answered by a message of their own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::AbortHandle;

use super::connection::Shared;
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Retry};
use crate::message::{Message, Request, Subject};
use crate::proto::jsonrpc::{Id, ids};
use crate::stream::{ResponseStream, pipe};

/// Requests of the server's that wait for their answer, on one connection.
const MAX_OPEN: usize = 256;

/// Bytes between whoever answers and us: a question has one item as its answer.
const CREDIT: usize = 64 << 10;

/// Those that are open.
#[derive(Default)]
pub(super) struct Questions(Mutex<HashMap<Bytes, AbortHandle>>);

impl Questions {
    fn open(&self) -> MutexGuard<'_, HashMap<Bytes, AbortHandle>> {
        self.0.lock()
    }

    /// The server no longer wants to know: whoever answers is told to stop.
    pub(super) fn cancel(&self, id: &Bytes) {
        let waiting = self.open().remove(id);
        waiting.into_iter().for_each(|waiting| waiting.abort());
    }

    /// Nobody is left to be told.
    pub(super) fn drop_all(&self) {
        let waiting = std::mem::take(&mut *self.open());
        waiting.into_values().for_each(|waiting| waiting.abort());
    }
}

/// The id that a `notifications/cancelled` speaks of, as raw JSON text.
pub(super) fn cancelled(method: &Subject, message: &Message) -> Option<Bytes> {
    (method.as_str() == "notifications/cancelled").then(|| ids::cancelled(&message.body)).flatten()
}

/// The questions that came on one stream. Dropped, it cancels them: what they were asked for is over.
pub(super) struct Asked {
    shared: Weak<Shared>,
    ids: Vec<Bytes>,
}

impl Asked {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self { shared, ids: Vec::new() }
    }

    /// What to hand on of a question; `None` if nobody could be answered.
    pub(super) fn take(&mut self, id: Id, method: Subject, message: Message) -> Option<Inbound> {
        let shared = self.shared.upgrade()?;
        if !shared.has_session() {
            tracing::debug!(target: "biplane::rpc", %method, "a worker asked without a session, and cannot be answered");
            return None;
        }
        let (sender, answer) = pipe(CREDIT, shared.max_item);
        let mut open = shared.questions.open();
        if open.len() >= MAX_OPEN {
            drop(open);
            let error = Error::overloaded(format!("{MAX_OPEN} requests of the server wait for an answer"));
            sender.refuse(error.with_retry(Retry::Safe));
            tokio::spawn(pass_on(self.shared.clone(), id, answer));
            return None;
        }
        let key = id.raw();
        // Under the lock, so that a question which is answered at once finds itself listed.
        let answering = tokio::spawn(pass_on(self.shared.clone(), id, answer));
        open.insert(key.clone(), answering.abort_handle());
        // A long stream must not remember every question that it ever brought.
        self.ids.retain(|id| open.contains_key(id));
        drop(open);
        self.ids.push(key);
        Some(Inbound::Request(Request::new(method, message), sender))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            self.ids.iter().for_each(|id| shared.questions.cancel(id));
        }
    }
}

/// Waits for the answer and sends it. Bounded by the stream that the question came on, whose end aborts it.
async fn pass_on(shared: Weak<Shared>, id: Id, mut answer: ResponseStream) {
    let outcome = match answer.next().await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(PeerError::from(error)),
        None => Err(PeerError::from(Error::unexpected("whoever was asked said nothing"))),
    };
    let Some(shared): Option<Arc<Shared>> = shared.upgrade() else { return };
    shared.questions.open().remove(&id.raw());
    if let Err(error) = shared.reply(id, outcome).await {
        tracing::debug!(target: "biplane::rpc", "an answer did not reach the server: {error}");
    }
}
