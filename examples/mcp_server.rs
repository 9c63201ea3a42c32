// SPDX-License-Identifier: Apache-2.0
//! A small MCP server, of the revisions with sessions, over any transport that listens: sessions come as connections,
//! requests as inbound messages.
//!
//! ```text
//! cargo run --example mcp_server -- http://127.0.0.1:8080/mcp
//! ```

use std::sync::Arc;

use biplane::{Biplane, Connection, Inbound, PeerError, Request, ResponseSender, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080/mcp".to_owned());
    let biplane = Biplane::from_env()?;
    let listener = biplane.listen(&url).await?;
    println!("listening on {}", listener.local_address().address);
    while let Some(connection) = listener.accept().await? {
        tokio::spawn(serve(connection));
    }
    Ok(())
}

/// One session, or everything that needs none.
async fn serve(connection: Arc<dyn Connection>) -> Result<()> {
    while let Some(inbound) = connection.receive().await? {
        if let Inbound::Request(request, reply) = inbound {
            answer(request, reply).await?;
        }
    }
    Ok(())
}

async fn answer(request: Request, reply: ResponseSender) -> Result<()> {
    let result = match request.subject.as_str() {
        "initialize" => {
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#
        }
        "tools/list" => r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}"#,
        "tools/call" => r#"{"content":[{"type":"text","text":"hello"}]}"#,
        "ping" => "{}",
        other => {
            reply.fail(PeerError::new(-32601, format!("no method {other}")));
            return Ok(());
        }
    };
    reply.send(result).await?;
    reply.close();
    Ok(())
}
