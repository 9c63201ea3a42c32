// SPDX-License-Identifier: Apache-2.0
//! Finds out what a server speaks, as the specification says (2026-07-28, *Streamable HTTP*, *Backward Compatibility*): a
//! modern request first; if that is not understood, whether a stream begins with the event `endpoint`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::endpoint::{Carriage, Endpoint};
use super::super::event_stream::{EventStream, is_event_stream, media_type};
use super::super::known::{Finding, Speaks};
use super::super::links::Exchange;
use super::super::verdict::{Whole, read_whole};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::proto::json;
use crate::proto::jsonrpc::Packet;
use crate::proto::mcp::{self, header};

/// For the answer to the modern request. A server that keeps silent about what it does not know is a legacy one.
const PATIENCE: Duration = Duration::from_secs(10);

/// For the first event of a stream.
const FIRST_EVENT: Duration = Duration::from_secs(5);

/// Bytes of an answer to a probe.
const MAX_ANSWER: usize = 1 << 20;

/// Asks the server what it is.
pub(super) async fn probe(endpoint: &Endpoint) -> Result<Finding> {
    let deadline = Instant::now() + PATIENCE;
    let answer = match ask(endpoint, deadline).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::Timeout && error.phase() != Some(Phase::Connect) => {
            return Ok(legacy("it kept silent about a modern request"));
        }
        Err(error) => return Err(error),
    };
    match judge(&answer) {
        Judged::Found(finding) => Ok(finding),
        Judged::Refused => Err(answer.into_error()),
        Judged::Unclear => look_for_the_old_transport(endpoint, answer).await,
    }
}

enum Judged {
    Found(Finding),
    /// It speaks of itself, and will not speak to us now.
    Refused,
    /// Whoever this is, it did not understand.
    Unclear,
}

async fn ask(endpoint: &Endpoint, deadline: Instant) -> Result<Whole> {
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::PROTOCOL_VERSION, mcp::MODERN), (header::METHOD, mcp::DISCOVER)] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let exchange = endpoint.post(headers, question(), Carriage::Shared, deadline).await?;
    if is_event_stream(&exchange) && exchange.response.status() == StatusCode::OK {
        return first_answer(exchange, deadline).await;
    }
    read_whole(exchange, MAX_ANSWER, deadline).await
}

fn question() -> Bytes {
    let meta = format!(
        r#"{{"{}":"{}","{}":{{"name":"biplane","version":"{}"}},"{}":{{}}}}"#,
        mcp::VERSION_KEY,
        mcp::MODERN,
        mcp::CLIENT_KEY,
        env!("CARGO_PKG_VERSION"),
        mcp::CAPABILITIES_KEY
    );
    format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{}","params":{{"_meta":{meta}}}}}"#, mcp::DISCOVER).into()
}

/// The answer in a stream of events, as if it had been the body.
async fn first_answer(exchange: Exchange, deadline: Instant) -> Result<Whole> {
    let (status, headers) = (exchange.response.status(), exchange.response.headers().clone());
    let mut events = EventStream::new(exchange, MAX_ANSWER);
    let answer = async {
        while let Some(event) = events.next().await? {
            if let Ok(Packet::Response { .. }) = Packet::parse(&event.data) {
                return Ok::<_, Error>(event.data);
            }
        }
        Result::<Bytes>::Ok(Bytes::new())
    };
    let body = tokio::time::timeout_at(deadline.into(), answer).await.unwrap_or(Ok(Bytes::new()))?;
    events.finish().await;
    Ok(Whole { status, headers, body })
}

fn judge(answer: &Whole) -> Judged {
    let status = answer.status;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || status.is_redirection() {
        return Judged::Refused;
    }
    match Packet::parse(&answer.body) {
        Ok(Packet::Response { outcome: Ok(result), .. }) => {
            let versions = json::get(&result.body, &["supportedVersions"]).map(|raw| texts(&raw));
            return Judged::Found(match versions {
                Some(versions) if has_modern(&versions) => modern(versions, "it answered server/discover".to_owned()),
                Some(_) => legacy("it names no modern revision among those that it supports"),
                None => legacy("its answer to server/discover is no modern one"),
            });
        }
        Ok(Packet::Response { outcome: Err(error), .. }) => {
            let supported = json::get(&error.data, &["supported"]).map(|raw| texts(&raw)).unwrap_or_default();
            let is_modern = mcp::is_modern_error(error.code) && (supported.is_empty() || has_modern(&supported));
            return Judged::Found(match is_modern {
                true => modern(supported, format!("it answered with the modern error {}", error.code)),
                false => legacy(&format!("it answered a modern request with the error {}", error.code)),
            });
        }
        _ => {}
    }
    match status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Judged::Unclear,
        // It speaks, and says that it cannot now: what it is will be seen another time.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Judged::Refused,
        status if status.is_success() => Judged::Unclear,
        status => Judged::Found(legacy(&format!("it answered a modern request with {status}"))),
    }
}

fn texts(raw: &[u8]) -> Vec<String> {
    serde_json::from_slice(raw).unwrap_or_default()
}

/// Revisions are dates, so their order is that of their text.
fn has_modern(versions: &[String]) -> bool {
    versions.iter().any(|version| version.as_str() >= mcp::MODERN)
}

fn modern(versions: Vec<String>, because: String) -> Finding {
    Finding { speaks: Speaks::Modern(versions), because }
}

fn legacy(because: &str) -> Finding {
    Finding { speaks: Speaks::Legacy, because: because.to_owned() }
}

async fn look_for_the_old_transport(endpoint: &Endpoint, answer: Whole) -> Result<Finding> {
    let posted = answer.status;
    let deadline = Instant::now() + FIRST_EVENT;
    let exchange = endpoint.get(HeaderMap::new(), deadline).await?;
    let got = exchange.response.status();
    if got == StatusCode::OK && is_event_stream(&exchange) {
        let mut events = EventStream::new(exchange, MAX_ANSWER);
        // Whatever else comes, or nothing, the old transport begins otherwise.
        let first = tokio::time::timeout_at(deadline.into(), events.next()).await;
        return Ok(match first {
            Ok(Ok(Some(event))) if event.kind == "endpoint" => Finding {
                speaks: Speaks::TwoEndpoints,
                because: format!("it answered a modern request with {posted}, and its stream begins with an endpoint"),
            },
            _ => legacy("it has a stream of events that begins with no endpoint"),
        });
    }
    if posted == StatusCode::BAD_REQUEST {
        return Ok(legacy("it answered a modern request with 400 and has no stream of the old transport"));
    }
    let kind = media_type(&exchange);
    let found = if got.is_success() && !kind.is_empty() { format!("{got} and {kind}") } else { got.to_string() };
    Err(Error::refused(format!("no MCP server was found at the URL: it answered {posted} to POST and {found} to GET"))
        .with_hint("check the path; most servers have theirs at /mcp, those of 2024-11-05 at /sse")
        .with_phase(Phase::Connect))
}
