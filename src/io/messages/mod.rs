// SPDX-License-Identifier: Apache-2.0
//! The second door of the toolkit: give a wire of whole JSON-RPC messages, and a [`Connection`] comes for free, with
//! correlation, cancellation, progress, subscriptions and deadlines.
//!
//! # How the Model Context Protocol travels over a `Connection`
//!
//! 1. A request's subject is the method, its body the raw text of `params`, empty if there are none. The answer is one
//!    item whose body is the raw text of `result`, or a [`PeerError`](crate::PeerError). Hence the claim
//!    [`Exchange::Unary`](crate::capability::Exchange).
//! 2. What the peer sends on account of a request comes on that request's stream, before the item, as
//!    [`Event::Inbound`](crate::Event): progress, a question back, a log message where just one request is in flight.
//!    Everything else comes from [`Connection::receive`].
//! 3. Names never cross a connection. JSON-RPC ids, progress tokens and subscription ids belong to one link; whoever uses
//!    a connection sees its own.
//! 4. Cancel is drop. `notifications/cancelled` is written when a stream is dropped, and read as
//!    [`ResponseSender::stopped`](crate::ResponseSender::stopped); it never surfaces as a message.
//! 5. [`PRINCIPAL`] says who authenticated, on messages that a listener received; [`MEMBERS`](crate::proto::jsonrpc::MEMBERS)
//!    are members of the envelope that nobody here knows.
//!
//! Sources: JSON-RPC 2.0; MCP 2025-11-25 and 2026-07-28, *Base protocol*.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use crate::connection::{Connection, ConnectionInfo};
use crate::error::Result;

mod calls;
pub(crate) mod chunk;
mod connection;
mod driver;
mod inbound;
mod lines;
mod out;
mod peer;
mod questions;
#[cfg(test)]
mod tests;

// For transports whose messages are no wire.
pub use super::principal::PRINCIPAL;
#[cfg(feature = "http")]
pub(crate) use inbound::Inbox;
pub use lines::Lines;

/// What a connection over messages can do.
pub const CLAIMS: TransportCapabilities = TransportCapabilities {
    exchange: Exchange::Unary,
    sharing: Sharing::Any,
    rendezvous: Rendezvous::NONE,
    persistent_connections: true,
    server_push: true,
    max_message_size: None,
};

/// Carries whole messages, in order. Polled by one task, the link's driver.
pub trait MessageWire: Send + 'static {
    /// The next message; `None` when the peer ended the link in order. An error ends the link.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>>;

    /// Ready when [`send`](Self::send) may be called.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Queues one message. It may have line breaks between its tokens; a wire that cannot carry them replaces them.
    fn send(&mut self, message: Bytes) -> Result<()>;

    /// Ready when everything queued was handed to the system. Polled after [`send`](Self::send) until it is ready, once for
    /// all messages of one turn.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Ends the link in order.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// The message that was received last is no JSON. A wire on which this means that the link is broken returns `true`,
    /// and with the next [`poll_receive`](Self::poll_receive) the error. Otherwise [`Settings::answers_garbage`] decides.
    fn breaks_on_garbage(&mut self) -> bool {
        false
    }
}

/// What came over a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message, not yet read.
    Message(Bytes),
    /// A message over the limit, which was passed over. What the wire kept of its two ends may still tell whose it was.
    TooLarge {
        /// Its size in bytes, at least.
        got: u64,
        /// Its beginning.
        head: Bytes,
        /// Its end.
        tail: Bytes,
    },
}

/// How a connection over messages behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of one message.
    pub max_message: usize,
    /// Requests at once, in each direction; one more is refused.
    pub max_in_flight: usize,
    /// Whether what is no message is answered with an error, as a server does, or passed over with a warning, as a client
    /// does whose server prints to its standard output.
    pub answers_garbage: bool,
}

impl Settings {
    /// The client's side.
    pub const fn dialer(max_message: usize) -> Self {
        Self { max_message, max_in_flight: 16_384, answers_garbage: false }
    }

    /// The server's side.
    pub const fn listener(max_message: usize) -> Self {
        Self { answers_garbage: true, ..Self::dialer(max_message) }
    }
}

/// A connection over `wire`, whose driver is a task of its own. Dropping it ends the link once its requests are over.
pub fn connection(wire: impl MessageWire, info: ConnectionInfo, settings: Settings) -> Arc<dyn Connection> {
    let peer = peer::Peer::new(info.peer.clone(), settings);
    tokio::spawn(driver::drive(wire, peer.clone()));
    Arc::new(connection::MessageConnection::new(info, peer))
}
