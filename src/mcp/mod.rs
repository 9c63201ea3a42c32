// SPDX-License-Identifier: Apache-2.0
//! A client of MCP servers, in either era, over any transport.
//!
//! ```no_run
//! # async fn example() -> biplane::Result<()> {
//! use biplane::{Biplane, mcp::Client};
//! use serde_json::json;
//!
//! let biplane = Biplane::from_env()?;
//! let client = Client::connect(&biplane, "http://127.0.0.1:8080/mcp").await?;
//! let tools = client.request_json("tools/list", &json!({})).await?;
//! let answer = client.request_json("tools/call", &json!({"name": "echo", "arguments": {"message": "hi"}})).await?;
//! println!("{tools} {answer}");
//! # Ok(()) }
//! ```
//!
//! It is small on purpose: results are [`serde_json::Value`]s, and what a server asks is answered by one function. Whoever
//! wants streams, progress or raw bytes has the [`Connection`] itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::task::AbortHandle;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::message::{Message, Request, Subject};
use crate::runtime::Biplane;
use crate::stream::Event;

mod handshake;
mod identity;

pub use self::identity::{Identity, Reply};

/// Rounds of questions that one request may take.
const MAX_ROUNDS: usize = 16;

/// The two families of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: a session is opened by `initialize`.
    Legacy,
    /// From 2026-07-28: every request describes itself.
    Modern,
}

/// A session with a server, or in the modern era what goes along with every request. Requests run side by side.
pub struct Client {
    connection: Arc<dyn Connection>,
    identity: Arc<Identity>,
    server: Server,
    /// Answers what the server asks outside our requests.
    listening: AbortHandle,
}

/// What a server said of itself.
#[derive(Clone, Debug)]
pub struct Server {
    /// In which era it is spoken to.
    pub era: Era,
    /// The revision.
    pub version: String,
    /// The answer to `initialize` or `server/discover`.
    pub facts: Value,
}

impl Client {
    /// Connects by URL and introduces itself as this library: no capabilities, so the server asks nothing back.
    pub async fn connect(biplane: &Biplane, url: &str) -> Result<Self> {
        Self::over(biplane.connect(url).await?, Identity::default()).await
    }

    /// Introduces itself over a connection that nobody else receives from: finds out the era, and opens the session if
    /// there is to be one.
    pub async fn over(connection: Arc<dyn Connection>, identity: Identity) -> Result<Self> {
        let identity = Arc::new(identity);
        let listening = tokio::spawn(listen(connection.clone(), identity.clone())).abort_handle();
        let guard = Listening(Some(listening));
        let server = handshake::introduce(&connection, &identity).await?;
        Ok(Self { connection, identity, server, listening: guard.keep()? })
    }

    /// What the server said of itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What everything goes over.
    pub fn connection(&self) -> &Arc<dyn Connection> {
        &self.connection
    }

    /// Asks, and waits for the result. What the server asks back meanwhile is answered by the [`Identity`].
    ///
    /// `params` is an object. An error that the server answers is of kind `Peer`, see [`Error::peer`]. Cancel-safe:
    /// dropping the future cancels the request.
    pub async fn request_json(&self, method: &str, params: &(impl Serialize + ?Sized)) -> Result<Value> {
        let mut params = object(params)?;
        for _ in 0..MAX_ROUNDS {
            let result = self.ask(method, &params).await?;
            let is_asking = result.get("resultType").and_then(Value::as_str) == Some("input_required");
            if self.server.era == Era::Legacy || !is_asking {
                return Ok(result);
            }
            params.insert("inputResponses".to_owned(), self.identity.answer_all(result.get("inputRequests"))?);
            match result.get("requestState") {
                Some(state) => params.insert("requestState".to_owned(), state.clone()),
                None => params.remove("requestState"),
            };
        }
        Err(Error::protocol(format!("the server still asks after {MAX_ROUNDS} rounds of {method}")))
    }

    /// Tells the server something.
    pub async fn notify_json(&self, method: &str, params: &(impl Serialize + ?Sized)) -> Result<()> {
        let params = object(params)?;
        self.connection.notify(&Subject::new(method.to_owned())?, body(&params)).await
    }

    /// Ends the session.
    pub async fn close(&self, grace: Duration) -> Result<()> {
        self.connection.close(grace).await
    }

    async fn ask(&self, method: &str, params: &Map<String, Value>) -> Result<Value> {
        let mut params = params.clone();
        if self.server.era == Era::Modern {
            self.identity.describe(&mut params, &self.server.version);
        }
        send(&self.connection, &self.identity, method, &params, None).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?}, {:?} {})", self.connection, self.server.era, self.server.version)
    }
}

/// Ends the task of a client that was never made.
struct Listening(Option<AbortHandle>);

impl Listening {
    fn keep(mut self) -> Result<AbortHandle> {
        self.0.take().ok_or_else(|| Error::unexpected("no task"))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn listen(connection: Arc<dyn Connection>, identity: Arc<Identity>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        identity.take(inbound).await;
    }
}

/// One request and its result.
async fn send(
    connection: &Arc<dyn Connection>,
    identity: &Identity,
    method: &str,
    params: &Map<String, Value>,
    timeout: Option<Duration>,
) -> Result<Value> {
    let mut request = Request::new(Subject::new(method.to_owned())?, body(params));
    if let Some(timeout) = timeout {
        request = request.with_timeout(timeout);
    }
    let mut stream = connection.open(request)?;
    let mut result = None;
    while let Some(event) = stream.next_event().await {
        match event? {
            Event::Item(message) => result = Some(message),
            Event::Inbound(inbound) => identity.take(inbound).await,
        }
    }
    let result = result.ok_or_else(|| Error::protocol(format!("{method} was answered with nothing")))?;
    serde_json::from_slice(&result.body).map_err(|error| Error::protocol("the result is no JSON").with_source(error))
}

/// Nothing stands for an empty object: some servers want no params, none wants `null`.
fn body(params: &Map<String, Value>) -> Message {
    if params.is_empty() { Message::default() } else { Message::new(json!(params).to_string()) }
}

fn object(params: &(impl Serialize + ?Sized)) -> Result<Map<String, Value>> {
    match serde_json::to_value(params) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(Error::config("params are an object")),
        Err(error) => Err(Error::config("params that are no JSON").with_source(error)),
    }
}
