// SPDX-License-Identifier: Apache-2.0
//! A client: how it opens a session, calls a tool, and closes.

use bytes::Bytes;
use http::Method;

use crate::link::{Link, Place};

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const KINDS: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];

/// A client with a connection, and in the legacy era with a session.
pub(crate) struct Client {
    link: Link,
    session: Option<String>,
    name: String,
    calls: u64,
}

impl Client {
    /// A modern client has nothing to open.
    pub(crate) async fn modern(place: &Place, name: String) -> Result<Self, String> {
        Ok(Self { link: Link::connect(place).await?, session: None, name, calls: 0 })
    }

    /// Opens a session that declares no capability.
    pub(crate) async fn legacy(place: &Place) -> Result<Self, String> {
        let mut link = Link::connect(place).await?;
        let open = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"mcp-load","version":"1"}}}}}}"#
        );
        let answer = link.ask(Method::POST, &KINDS, open.into()).await?;
        let (status, body) = (answer.status, String::from_utf8_lossy(&answer.body));
        if status != 200 || !body.contains("\"protocolVersion\"") {
            return Err(format!("initialize: {status} {}", body.chars().take(300).collect::<String>()));
        }
        let session = answer.session.ok_or("initialize: no session")?;
        let mut client = Self { link, session: Some(session), name: String::new(), calls: 0 };
        let opened =
            client.ask(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)).await?;
        if opened.status != 202 { Err(format!("initialized: {}", opened.status)) } else { Ok(client) }
    }

    /// Calls `tool` with a text of its own, and says whether that text came back.
    pub(crate) async fn call(&mut self, tool: &str) -> Result<(), String> {
        self.calls += 1;
        let id = self.calls;
        let said = format!("call {id} of a client that measures");
        let params = format!(r#""name":"{tool}","arguments":{{"message":"{said}"}}"#);
        let answer = if self.session.is_some() {
            let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{{params}}}}}"#);
            self.ask(call.into()).await?
        } else {
            let name = &self.name;
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{{params},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"{name}","version":"1"}}}}}}}}"#
            );
            let own = [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", tool)];
            self.link.ask(Method::POST, &[&KINDS[..], &own].concat(), call.into()).await?
        };
        let came = answer.body.windows(said.len()).any(|part| part == said.as_bytes());
        if answer.status == 200 && came {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(format!("{tool}: {} {}", answer.status, body.chars().take(200).collect::<String>()))
    }

    /// Ends the session, and with the value the connection.
    pub(crate) async fn close(mut self) -> Result<(), String> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", LEGACY)];
        let answer = self.link.ask(Method::DELETE, &headers, Bytes::new()).await?;
        // A server may not have this at all.
        if answer.status < 300 || answer.status == 405 { Ok(()) } else { Err(format!("DELETE: {}", answer.status)) }
    }

    async fn ask(&mut self, body: Bytes) -> Result<crate::link::Answer, String> {
        let session = self.session.as_deref().unwrap_or_default();
        let own = [("mcp-session-id", session), ("mcp-protocol-version", LEGACY)];
        self.link.ask(Method::POST, &[&KINDS[..], &own].concat(), body).await
    }
}
