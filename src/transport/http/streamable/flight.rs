// SPDX-License-Identifier: Apache-2.0
//! Requests that are under way, by their id.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;

use super::client::Client;
use crate::connection::Inbound;
use crate::proto::jsonrpc::{Id, ids};

/// What may come for a request by another stream than its own and waits for its reader.
const MAX_ASIDE: usize = 64;

/// Those that asked to be told of their progress.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<u64, Followed>>);

struct Followed {
    token: Bytes,
    aside: mpsc::Sender<Inbound>,
}

impl Flights {
    /// The token that a request's own caller gave it.
    pub(super) fn token(&self, number: u64) -> Option<Bytes> {
        self.map().get(&number).map(|followed| followed.token.clone())
    }

    /// Hands what came by another stream to the request that it is for; back if there is none.
    pub(super) fn hand_over(&self, number: u64, inbound: Inbound) -> Option<Inbound> {
        let Some(aside) = self.map().get(&number).map(|followed| followed.aside.clone()) else {
            return Some(inbound);
        };
        if aside.try_send(inbound).is_err() {
            tracing::warn!(target: "biplane::http", "a request's reader is {MAX_ASIDE} messages behind: one is dropped");
        }
        None
    }

    fn map(&self) -> MutexGuard<'_, HashMap<u64, Followed>> {
        self.0.lock()
    }
}

/// One of them. Dropped before it [landed](Flight::land), it gives the request up.
pub(super) struct Flight {
    client: Arc<Client>,
    number: u64,
    is_followed: bool,
    /// The server is to be told when the request is given up: legacy requests alone, and not the one that opens a session.
    may_tell: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Sent,
    Landed,
}

impl Flight {
    /// Takes off. A request with a token is followed.
    pub(super) fn new(
        client: &Arc<Client>,
        token: Option<Bytes>,
        may_tell: bool,
    ) -> (Self, Option<mpsc::Receiver<Inbound>>) {
        let number = client.next_number();
        let followed = token.map(|token| {
            let (aside, receiver) = mpsc::channel(MAX_ASIDE);
            client.flights.map().insert(number, Followed { token, aside });
            receiver
        });
        let flight =
            Self { client: client.clone(), number, is_followed: followed.is_some(), may_tell, state: State::Ready };
        (flight, followed)
    }

    pub(super) fn id(&self) -> Id {
        Id::number(self.number)
    }

    /// From now on the server may be at work on it.
    pub(super) fn sent(&mut self) {
        if self.state == State::Ready {
            self.state = State::Sent;
        }
    }

    /// There is nothing left to give up.
    pub(super) fn land(&mut self) {
        self.state = State::Landed;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.is_followed {
            self.client.flights.map().remove(&self.number);
        }
        if self.state == State::Sent && self.may_tell {
            self.client.tell_aside(ids::CANCELLED, ids::cancel(&self.id(), "the caller gave up"));
        }
    }
}
