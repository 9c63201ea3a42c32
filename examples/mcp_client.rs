// SPDX-License-Identifier: Apache-2.0
//! Lists the tools of an MCP server, and calls one.
//!
//! ```text
//! cargo run --example mcp_client -- http://127.0.0.1:8080/mcp
//! cargo run --example mcp_client -- http://127.0.0.1:8080/mcp echo '{"message": "hi"}'
//! ```

use std::time::Duration;

use biplane::mcp::Client;
use biplane::{Biplane, Error, Result};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or_else(|| Error::config("usage: mcp_client URL [TOOL [ARGUMENTS]]"))?;
    let client = Client::connect(&Biplane::from_env()?, &url).await?;
    println!("{:?} era, revision {}", client.server().era, client.server().version);

    let listed = client.request_json("tools/list", &json!({})).await?;
    for tool in listed["tools"].as_array().into_iter().flatten() {
        println!("- {}", tool["name"].as_str().unwrap_or_default());
    }
    if let Some(tool) = arguments.next() {
        let given = arguments.next().unwrap_or_else(|| "{}".to_owned());
        let given: Value = serde_json::from_str(&given).map_err(|error| Error::config("no JSON").with_source(error))?;
        println!("{}", client.request_json("tools/call", &json!({"name": tool, "arguments": given})).await?);
    }
    client.close(Duration::from_secs(1)).await
}
