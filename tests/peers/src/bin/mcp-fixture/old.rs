// SPDX-License-Identifier: Apache-2.0
//! What a server that was written before 2026-07-28 makes of modern requests. `rmcp` knows the new revision and would say
//! so; a server of that time does not, and it is those that the gateway has to recognise.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};

/// The revisions that there were.
const KNOWN: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const BUFFER: usize = 256 * 1024;

/// Standard input and output, with methods that are too new answered before `rmcp` sees them.
pub(crate) fn lines() -> (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static) {
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (answers, output) = tokio::io::duplex(BUFFER);
    tokio::spawn(copy_known(ours, answers));
    (theirs, output)
}

async fn copy_known(mut known: DuplexStream, answers: DuplexStream) -> io::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut output = tokio::io::stdout();
    let mut answers = BufReader::new(answers).lines();
    loop {
        tokio::select! {
            line = input.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                match too_new(line.as_bytes()) {
                    Some(id) => {
                        let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}});
                        output.write_all(format!("{error}\n").as_bytes()).await?;
                        output.flush().await?;
                    }
                    None => known.write_all(format!("{}\n", without_era(&line)).as_bytes()).await?,
                }
            }
            line = answers.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                output.write_all(format!("{line}\n").as_bytes()).await?;
                output.flush().await?;
            }
        }
    }
}

/// The id of a request whose method did not exist yet.
fn too_new(message: &[u8]) -> Option<Value> {
    let message: Value = serde_json::from_slice(message).ok()?;
    let new = matches!(message["method"].as_str(), Some("server/discover" | "subscriptions/listen"));
    new.then(|| message["id"].clone())
}

/// Members of `_meta` that mean nothing yet are not looked at.
fn without_era(message: &str) -> String {
    let Ok(mut parsed) = serde_json::from_str::<Value>(message) else { return message.to_owned() };
    if let Some(meta) = parsed.pointer_mut("/params/_meta").and_then(Value::as_object_mut) {
        meta.retain(|name, _| !name.starts_with("io.modelcontextprotocol/"));
    }
    parsed.to_string()
}

/// The refusal of an HTTP request that an old server cannot serve, or the body to be served.
pub(crate) fn request(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Box<Response<Full<Bytes>>>> {
    let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
    if let Some(unknown) = version.filter(|version| !KNOWN.contains(version)) {
        let message = format!("Bad Request: Unsupported protocol version: {unknown}");
        return Err(refused(StatusCode::BAD_REQUEST, &message));
    }
    if !headers.contains_key("mcp-session-id") && !body.is_empty() && !opens(&body) {
        return Err(refused(StatusCode::BAD_REQUEST, "Bad Request: Mcp-Session-Id header is required"));
    }
    Ok(String::from_utf8(body.to_vec()).map_or(body, |text| without_era(&text).into()))
}

fn opens(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|message| message["method"] == "initialize")
}

fn refused(status: StatusCode, message: &str) -> Box<Response<Full<Bytes>>> {
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": message}});
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Box::new(response)
}
