// SPDX-License-Identifier: Apache-2.0
//! What a server speaks is found out as the specification says, and remembered.

use biplane::{ErrorKind, Retry};
use serde_json::{Value, json};

use crate::script::*;

/// What the probe says of a server, or the kind of the error.
async fn finding(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Result<String, (ErrorKind, String)> {
    let server = Server::start(script).await;
    let explained = soon(biplane().explain_and_ask(&server.url(), Default::default())).await;
    let explanation = explained.unwrap();
    let probe = explanation.notes.iter().find(|note| note.name == "probe").unwrap().text.clone();
    match server.connect().await {
        Ok(connection) => Ok(format!("{} {probe}", connection.info().transport)),
        Err(error) => Err((error.kind(), error.to_string())),
    }
}

#[tokio::test]
async fn a_modern_server_is_known_by_its_answer_or_by_its_errors() {
    let found = finding(|asked| asked.result(json!({"supportedVersions": ["2026-07-28"]}))).await.unwrap();
    assert!(found.starts_with("http Streamable HTTP, modern era (2026-07-28)"), "{found}");
    for code in [-32020, -32021, -32022] {
        let found = finding(move |asked| asked.error(400, code, Value::Null)).await.unwrap();
        assert!(found.contains("modern era") && found.contains(&code.to_string()), "{found}");
    }
    let event = |asked: &Asked| {
        let answer = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"supportedVersions": ["2027-01-01"]}});
        Act::events(&[": hello\n\n", &event(&answer)])
    };
    assert!(finding(event).await.unwrap().contains("modern era (2027-01-01)"));
}

#[tokio::test]
async fn whoever_answers_otherwise_is_a_legacy_server() {
    for (status, code) in [(200, -32601), (404, -32601), (400, -32000), (400, -32600), (200, -32602)] {
        let found = finding(move |asked| asked.error(status, code, Value::Null)).await.unwrap();
        assert!(found.starts_with("http Streamable HTTP, legacy era"), "{status} {code}: {found}");
    }
    // It answers whatever it is asked.
    assert!(finding(|asked| asked.result(json!({}))).await.unwrap().contains("legacy era"));
    // A modern code, and no modern revision.
    let found = finding(|asked| asked.error(400, -32022, json!({"supported": ["2025-11-25"]}))).await.unwrap();
    assert!(found.contains("legacy era"), "{found}");
    // Neither JSON nor the older transport's stream.
    for status in [422, 406, 415, 500] {
        let found = finding(move |_| Act::whole(status, "text/plain", "what?")).await.unwrap();
        assert!(found.contains("legacy era"), "{found}");
    }
    let no_stream = |asked: &Asked| if asked.http == "GET" { Act::status(405) } else { Act::status(400) };
    assert!(finding(no_stream).await.unwrap().contains("legacy era"));
    let other_stream = |asked: &Asked| match asked.http.as_str() {
        "GET" => Act::events(&["data: {}\n\n"]).hang(),
        _ => Act::whole(400, "text/plain", "no session"),
    };
    assert!(finding(other_stream).await.unwrap().contains("legacy era"));
}

#[tokio::test]
async fn the_older_transport_is_known_by_its_first_event_and_taken_over_by_sse() {
    for status in [400, 404, 405] {
        let script = move |asked: &Asked| match asked.http.as_str() {
            "GET" => Act::events(&["event: endpoint\ndata: /message?s=1\n\n"]).hang(),
            _ => Act::whole(status, "text/html", "<pre>Cannot POST</pre>"),
        };
        let found = finding(script).await.unwrap();
        assert!(found.starts_with("sse HTTP with SSE of 2024-11-05") && found.contains("/message?s=1"), "{found}");
    }
}

#[tokio::test]
async fn what_is_no_server_is_told_as_what_it_is() {
    let (kind, text) = finding(|_| Act::status(404)).await.unwrap_err();
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("404 Not Found to POST") && text.contains("/mcp"), "{text}");
    let (kind, text) = finding(|_| Act::whole(200, "text/html", "<h1>It works</h1>")).await.unwrap_err();
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("text/html"), "{text}");
    for status in [401, 403] {
        let (kind, text) = finding(move |_| Act::status(status)).await.unwrap_err();
        assert_eq!(kind, ErrorKind::Refused);
        assert!(text.contains("headers"), "says what to set: {text}");
    }
    let (kind, text) = finding(|_| Act::status(307).with("location", "http://elsewhere/mcp")).await.unwrap_err();
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("http://elsewhere/mcp"), "{text}");
    assert_eq!(finding(|_| Act::status(503)).await.unwrap_err().0, ErrorKind::Overloaded);
    let error = soon(biplane().connect("http://127.0.0.1:1/mcp")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe));
}

#[tokio::test]
async fn one_probe_serves_all_connections_until_it_proves_wrong() {
    let server = Server::start(modern(|asked| match asked.body["params"]["gone"].as_bool() {
        Some(true) => Act::whole(404, "text/plain", "moved"),
        _ => asked.result(json!({})),
    }))
    .await;
    let biplane = biplane();
    let probes = || server.asked().iter().filter(|asked| asked.method() == "server/discover").count();
    let connection = soon(biplane.connect(&server.url())).await.unwrap();
    soon(biplane.connect(&server.url())).await.unwrap();
    assert_eq!(probes(), 1);
    soon(connection.request(request("ping", &described(json!({}))))).await.unwrap();
    soon(connection.request(request("ping", &described(json!({"gone": true}))))).await.unwrap_err();
    soon(biplane.connect(&server.url())).await.unwrap();
    assert_eq!(probes(), 2);
}
