// SPDX-License-Identifier: Apache-2.0
//! Sessions for carriers where every message of a client is an exchange of its own: an HTTP `POST`, a call on the planes.
//!
//! A carrier gives each message to [`Sessions`] and gets back what to answer. The other side, a gateway or a server, sees
//! what it sees of every transport: a [`Listener`](crate::Listener) that yields a [`Connection`](crate::Connection) per
//! session, and one without a session for all requests that need none.
//!
//! | the client sends | the carrier calls | the connection sees | answered on |
//! |---|---|---|---|
//! | `initialize` | [`Sessions::initialize`] | a new connection, whose first inbound it is | an [`Answer`] that names the session |
//! | a request | [`Sessions::post`] | an inbound request | an [`Answer`]: what is sent on account of it, then the response |
//! | a notification | [`Sessions::post`] | an inbound notification; `notifications/cancelled` stops its request instead | nothing |
//! | the answer to a request of ours | [`Sessions::post`] | the end of its `ResponseStream` | nothing |
//! | "I listen" | [`Sessions::listen`] | | an [`Answer`]: what `notify` and `open` send, until either side ends it |
//! | "I am done" | [`Sessions::delete`] | `receive()` gives `None`, senders are stopped | nothing |
//! | anything stateless | [`Sessions::post_stateless`] | an inbound request of the connection without a session | an [`Answer`] |
//!
//! Every message that goes to the client goes to exactly one answer. It has an [`EventId`], by which a client that lost
//! its link finds the rest: [`Sessions::listen`] with the last id that it saw. What a stateful request still has to say
//! waits for that; dropping its answer is no cancel. Dropping a stateless answer is.
//!
//! A connection of a session gives its requests to [`Connection::answer_in_place`](crate::Connection::answer_in_place) first:
//! then the carrier that reads the [`Answer`] polls the other side's own stream, and no task and no queue stand between. A
//! stateful answer that loses its reader before its end goes on in a task.
//!
//! Ids of requests, progress tokens and subscriptions are the client's own on its link; what we ask the client gets ids
//! and tokens from here.

mod answer;
mod asked;
mod connection;
mod event;
mod handshake;
mod host;
mod ids;
mod in_place;
mod outbox;
mod refused;
mod replay;
mod running;
mod session;
mod settings;
mod stateless;
#[cfg(test)]
mod tests;
mod upkeep;

pub use answer::{Answer, Outgoing, Posted};
pub use event::EventId;
pub use host::Sessions;
pub use ids::{RandomIds, SessionIds};
pub use refused::{Reason, Refused};
pub use settings::SessionSettings;
