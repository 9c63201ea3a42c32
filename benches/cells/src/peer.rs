// SPDX-License-Identifier: Apache-2.0
//! What a program implements for each way of calling that it has.

use std::any::Any;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::{Ask, Cell};

/// Why something did not work, for whoever runs the benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything here.
pub type Outcome<T = ()> = Result<T, Failure>;

/// One way of calling: a transport, a library, a variant of it.
pub trait Peer: 'static {
    /// Calls by it.
    type Caller: Caller;

    /// How the tables call it, unique within the program: `tonic`, `tcp+tcp`.
    fn name(&self) -> String;

    /// Whether it can do this cell at all. What it can't is an empty place in the table, and no failure.
    fn can(&self, cell: &Cell) -> bool {
        !cell.is_call_home()
    }

    /// Whether caller and server can only be one process.
    fn within_process(&self) -> bool {
        false
    }

    /// Starts to serve: an echo, and streams as they are [asked](Ask) for. Port 0, on the loopback interface.
    fn serve(&self) -> impl Future<Output = Outcome<Serving>>;

    /// As many callers as there are to be requests in flight. A peer that multiplexes gives each a handle of its one
    /// connection, another gives each a connection of its own.
    fn connect(&self, address: &str, in_flight: usize) -> impl Future<Output = Outcome<Vec<Self::Caller>>>;
}

/// One caller with one request in flight at a time.
pub trait Caller: Send + 'static {
    /// Sends `body` and waits for it to come back.
    fn unary(&mut self, body: Bytes) -> impl Future<Output = Outcome<Bytes>> + Send;

    /// Reads a whole stream: how many items came, each of the size that was asked for.
    fn stream(&mut self, ask: Ask) -> impl Future<Output = Outcome<u32>> + Send {
        let _ = ask;
        async { Err("it has no streams".into()) }
    }

    /// One request; how long its answer was on the way, which began when the responder set about reaching the caller.
    fn call_home(&mut self) -> impl Future<Output = Outcome<Duration>> + Send {
        async { Err("its answers do not call home".into()) }
    }
}

/// A server at work, until it is dropped.
pub struct Serving {
    /// What [`Peer::connect`] gets, as text without quotation marks and backslashes.
    pub address: String,
    /// Kept while the process serves; dropped within the runtime.
    pub(crate) server: Box<dyn Any>,
    pub(crate) processes: Vec<u32>,
}

impl Serving {
    /// `server` is whatever ends the serving when it is dropped; `()` if nothing does.
    pub fn new(address: impl ToString, server: impl Any) -> Self {
        Self { address: address.to_string(), server: Box::new(server), processes: Vec::new() }
    }

    /// Another process that works for this one, such as a broker. What it uses counts as the peer's.
    pub fn with_process(mut self, id: u32) -> Self {
        self.processes.push(id);
        self
    }
}
