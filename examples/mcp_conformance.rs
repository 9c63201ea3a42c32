// SPDX-License-Identifier: Apache-2.0
//! A client that uses everything a server offers once, for the client scenarios of the MCP conformance suite:
//!
//! ```text
//! cargo build --example mcp_conformance
//! npx @modelcontextprotocol/conformance client --command target/debug/examples/mcp_conformance --scenario tools_call
//! ```
//!
//! The suite appends the URL of its server, and says in `MCP_CONFORMANCE_CONTEXT` which calls it wants, if any.

use std::time::Duration;

use biplane::mcp::{Client, Identity};
use biplane::{Biplane, Error, Result};
use serde_json::{Map, Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or_else(|| Error::config("usage: mcp_conformance URL"))?;
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    let context: Value = serde_json::from_str(&context).unwrap_or_default();

    let capabilities = json!({"elicitation": {"form": {"applyDefaults": true}}, "sampling": {}});
    let identity = Identity::new("biplane-conformance", env!("CARGO_PKG_VERSION"))
        .answering(capabilities, |method, params| Ok(answer(method, params)));
    let client = Client::over(Biplane::from_env()?.connect(&url).await?, identity).await?;

    let listed = client.request_json("tools/list", &json!({})).await?;
    let tools: Vec<&Value> = listed["tools"].as_array().into_iter().flatten().collect();
    match context["toolCalls"].as_array() {
        Some(calls) => {
            for call in calls {
                client.request_json("tools/call", call).await?;
            }
        }
        None => {
            for tool in &tools {
                let arguments = invent(&tool["inputSchema"], &tools);
                let call = json!({"name": tool["name"], "arguments": arguments});
                // One tool may fail; the others are called all the same.
                if let Err(error) = client.request_json("tools/call", &call).await {
                    eprintln!("{}: {error}", tool["name"]);
                }
            }
        }
    }
    let offers = |what: &str| client.server().facts["capabilities"].get(what).is_some();
    if offers("resources") {
        let listed = client.request_json("resources/list", &json!({})).await?;
        for resource in listed["resources"].as_array().into_iter().flatten() {
            client.request_json("resources/read", &json!({"uri": resource["uri"]})).await?;
        }
    }
    if offers("prompts") {
        let listed = client.request_json("prompts/list", &json!({})).await?;
        for prompt in listed["prompts"].as_array().into_iter().flatten() {
            client.request_json("prompts/get", &json!({"name": prompt["name"]})).await?;
        }
    }
    client.close(Duration::from_secs(1)).await
}

/// What a person would fill in, were there one.
fn answer(method: &str, params: &Value) -> Value {
    match method {
        "elicitation/create" => {
            let properties = params["requestedSchema"]["properties"].as_object().cloned().unwrap_or_default();
            let content = properties.into_iter().map(|(name, schema)| {
                let value = schema.get("default").cloned().unwrap_or_else(|| of_type(&schema));
                (name, value)
            });
            json!({"action": "accept", "content": content.collect::<Map<_, _>>()})
        }
        "sampling/createMessage" => {
            json!({"role": "assistant", "model": "none", "content": {"type": "text", "text": "yes"}})
        }
        _ => json!({"roots": []}),
    }
}

/// Arguments of the right types.
fn invent(schema: &Value, tools: &[&Value]) -> Value {
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let arguments = properties.into_iter().map(|(name, schema)| {
        // A tool that wants a schema gets one that the server itself listed.
        let value = match name.as_str() {
            "schema" => tools.first().map(|tool| tool["inputSchema"].clone()).unwrap_or_default(),
            _ => of_type(&schema),
        };
        (name, value)
    });
    Value::Object(arguments.collect())
}

fn of_type(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => json!(7),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => schema["enum"][0].as_str().map_or_else(|| json!("text"), |first| json!(first)),
    }
}
