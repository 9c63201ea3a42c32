// SPDX-License-Identifier: Apache-2.0
//! A legacy client: a session, and calls on it.

use serde_json::{Value, json};

use crate::http::{Answer, Request};

pub(crate) const VERSION: &str = "2025-11-25";

/// An open session.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) port: u16,
    pub(crate) id: String,
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Text(String),
    /// A JSON-RPC error, or a tool's own.
    Error(String),
}

impl Session {
    /// Opens a session that declares no capability.
    pub(crate) fn open(port: u16) -> Self {
        Self::open_with(port, &json!({}))
    }

    pub(crate) fn open_with(port: u16, capabilities: &Value) -> Self {
        let answer = initialize(port, capabilities);
        let id = answer.header("mcp-session-id").expect("a session has an id").to_owned();
        let opened = answer.json();
        assert_eq!(opened["result"]["protocolVersion"], VERSION, "{opened}");
        let session = Self { port, id };
        let told =
            session.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()).send(port);
        assert_eq!(told.status, 202);
        session
    }

    /// A POST of `body` in this session.
    pub(crate) fn post(&self, body: &str) -> Request {
        Request::post(body).header("Mcp-Session-Id", &self.id).header("MCP-Protocol-Version", VERSION)
    }

    /// Any other request in this session.
    pub(crate) fn request(&self, method: &'static str) -> Request {
        let request = Request::new(method).header("Mcp-Session-Id", &self.id).header("MCP-Protocol-Version", VERSION);
        request.header("Accept", "text/event-stream")
    }

    /// Sends a tool call and reads the head of the answer.
    pub(crate) fn send(&self, id: u64, tool: &str, arguments: &Value) -> Answer {
        self.post(&call(id, tool, arguments)).send(self.port)
    }

    /// Calls a tool and waits for what comes of it.
    pub(crate) fn call(&self, id: u64, tool: &str, arguments: &Value) -> Outcome {
        let answer = self.send(id, tool, arguments).json();
        assert_eq!(answer["id"], id, "an answer to another request: {answer}");
        let text = &answer["result"]["content"][0]["text"];
        match text.as_str() {
            Some(text) if answer["result"]["isError"] != true => Outcome::Text(text.to_owned()),
            _ => Outcome::Error(answer.to_string()),
        }
    }

    pub(crate) fn echo(&self, id: u64, message: &str) -> Outcome {
        self.call(id, "echo", &json!({"message": message}))
    }

    /// The text that a tool gives.
    pub(crate) fn ask(&self, tool: &str) -> String {
        match self.call(77, tool, &json!({})) {
            Outcome::Text(text) => text,
            Outcome::Error(error) => panic!("{tool}: {error}"),
        }
    }

    pub(crate) fn delete(&self) -> u16 {
        self.request("DELETE").send(self.port).status
    }
}

impl Outcome {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// The body of a tool call.
pub(crate) fn call(id: u64, tool: &str, arguments: &Value) -> String {
    let params = json!({"name": tool, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// The answer to an `initialize`.
pub(crate) fn initialize(port: u16, capabilities: &Value) -> Answer {
    let params = json!({
        "protocolVersion": VERSION,
        "capabilities": capabilities,
        "clientInfo": {"name": "a test", "version": "1"},
    });
    Request::post(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()).send(port)
}

/// The body of a modern tool call.
pub(crate) fn modern_call(id: &Value, tool: &str, arguments: &Value) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// A modern tool call over HTTP.
pub(crate) fn modern(port: u16, id: &Value, tool: &str, arguments: &Value) -> Answer {
    let request = Request::post(modern_call(id, tool, arguments)).header("MCP-Protocol-Version", "2026-07-28");
    request.header("Mcp-Method", "tools/call").header("Mcp-Name", tool).send(port)
}
