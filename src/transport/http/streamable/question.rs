// SPDX-License-Identifier: Apache-2.0
//! Requests of a legacy server, whose answers are posted back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::client::Client;
use super::headers;
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{Message, Request, Subject};
use crate::proto::jsonrpc::{Id, Packet};
use crate::stream::{ResponseStream, pipe};

/// Questions of one server at once. One more is refused.
const MAX_QUESTIONS: usize = 256;

/// Those that are not answered. An entry is dropped when the server takes its question back.
#[derive(Default)]
pub(super) struct Questions(Mutex<HashMap<Id, oneshot::Sender<()>>>);

impl Questions {
    /// The server wants no answer any more.
    pub(super) fn cancel(&self, id: &Id) {
        self.map().remove(id);
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Id, oneshot::Sender<()>>> {
        self.0.lock()
    }
}

/// A question for whoever reads; `None` if it was refused.
pub(super) fn ask(client: &Arc<Client>, id: Id, method: Subject, message: Message) -> Option<Inbound> {
    let max_message = client.endpoint.max_message();
    let (withdraw, withdrawn) = oneshot::channel();
    let mut open = client.questions.map();
    if open.len() >= MAX_QUESTIONS || open.contains_key(&id) {
        drop(open);
        let error = Error::overloaded("too many questions wait for an answer, or two have one id");
        tokio::spawn(answer(client.clone(), id, Err(PeerError::from(error))));
        return None;
    }
    open.insert(id.clone(), withdraw);
    drop(open);
    let (sender, stream) = pipe(1, max_message);
    tokio::spawn(wait(client.clone(), id, stream, withdrawn));
    Some(Inbound::Request(Request::new(method, message), sender))
}

/// Waits for the answer as long as a request may take. There are few of these, and they wait for people.
async fn wait(client: Arc<Client>, id: Id, mut stream: ResponseStream, withdrawn: oneshot::Receiver<()>) {
    let longest = client.endpoint.config().limits.request_timeout;
    let outcome = tokio::select! {
        item = stream.next() => match item {
            Some(Ok(item)) => Ok(item),
            Some(Err(error)) => Err(PeerError::from(error)),
            None => Err(PeerError::from(Error::unexpected("the handler ended without a result"))),
        },
        _ = withdrawn => return,
        () = tokio::time::sleep(longest) => Err(PeerError::from(Error::deadline(0))),
    };
    client.questions.map().remove(&id);
    answer(client, id, outcome).await;
}

async fn answer(client: Arc<Client>, id: Id, outcome: Result<Message, PeerError>) {
    let deadline = Instant::now() + client.endpoint.config().limits.write_timeout;
    let headers = headers::legacy(&client.session);
    if let Err(error) = client.tell(Packet::Response { id, outcome }, headers, deadline).await {
        tracing::warn!(target: "biplane::http", "the answer to the server's question was not taken: {error}");
    }
}
