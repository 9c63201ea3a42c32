// SPDX-License-Identifier: Apache-2.0
//! Requests that describe themselves, in their body and in headers.

use std::time::Duration;

use biplane::{ErrorKind, Event};
use serde_json::json;

use crate::script::*;

#[tokio::test]
async fn headers_say_what_the_body_says() {
    let server = Server::start(modern(|asked| asked.result(json!({"resultType": "complete"})))).await;
    let connection = server.connect().await.unwrap();
    let call = described(json!({"name": "größe", "arguments": {}}));
    let mut call = request("tools/call", &call);
    call.message.headers.append("Mcp-Param-Region", "west");
    call.message.headers.append("authorization", "Bearer of-a-client");
    call.message.headers.append("biplane-principal", "somebody");
    soon(connection.request(call)).await.unwrap();
    let asked = server.seen("tools/call").await;
    assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(asked.header("mcp-method"), Some("tools/call"));
    assert_eq!(asked.header("mcp-name"), Some("=?base64?Z3LDtsOfZQ==?="));
    assert_eq!(asked.header("mcp-param-region"), Some("west"));
    assert_eq!(asked.header("accept"), Some("application/json, text/event-stream"));
    for secret in ["authorization", "biplane-principal", "mcp-session-id"] {
        assert_eq!(asked.header(secret), None, "{secret} is nothing that a client passes on");
    }
    soon(connection.request(request("resources/read", &described(json!({"uri": "file:///a b"}))))).await.unwrap();
    assert_eq!(server.seen("resources/read").await.header("mcp-name"), Some("file:///a b"));
    soon(connection.request(request("tools/list", &described(json!({}))))).await.unwrap();
    assert_eq!(server.seen("tools/list").await.header("mcp-name"), None);
}

fn tools() -> serde_json::Value {
    let good = json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let bad = json!({"type": "object", "properties": {"n": {"type": "number", "x-mcp-header": "N"}}});
    json!({"tools": [{"name": "good", "inputSchema": good}, {"name": "bad", "inputSchema": bad}], "ttlMs": 1.0})
}

#[tokio::test]
async fn a_list_that_passes_through_teaches_the_headers_and_loses_invalid_tools() {
    let server = Server::start(modern(|asked| match asked.method() {
        "tools/list" => asked.result(tools()),
        _ => asked.result(json!({})),
    }))
    .await;
    let connection = server.connect().await.unwrap();
    let listed = soon(connection.request(request("tools/list", &described(json!({}))))).await.unwrap();
    let listed = parsed(&listed);
    assert_eq!(listed["tools"].as_array().unwrap().len(), 1);
    assert_eq!(listed["ttlMs"], json!(1.0));
    let call = described(json!({"name": "good", "arguments": {"region": " x"}}));
    soon(connection.request(request("tools/call", &call))).await.unwrap();
    assert_eq!(server.seen("tools/call").await.header("mcp-param-region"), Some("=?base64?IHg=?="));
}

#[tokio::test]
async fn headers_that_were_refused_are_looked_up_and_the_call_repeated_once() {
    for learns in [true, false] {
        let server = Server::start(modern(move |asked| match asked.method() {
            "tools/list" if asked.body["params"]["cursor"].is_null() => {
                asked.result(json!({"tools": [], "nextCursor": "2"}))
            }
            "tools/list" => asked.result(tools()),
            _ if learns && asked.header("mcp-param-region") == Some("west") => asked.result(json!({"ok": true})),
            _ => asked.error(400, -32020, json!(null)),
        }))
        .await;
        let connection = server.connect().await.unwrap();
        let call = described(json!({"name": "good", "arguments": {"region": "west"}}));
        let outcome = soon(connection.request(request("tools/call", &call))).await;
        let methods: Vec<String> = server.asked().iter().map(|asked| asked.method().to_owned()).collect();
        assert_eq!(methods, ["server/discover", "tools/call", "tools/list", "tools/list", "tools/call"]);
        match outcome {
            Ok(result) => assert!(learns && parsed(&result)["ok"] == true),
            Err(error) => assert!(!learns && error.peer().unwrap().code == -32020),
        }
    }
}

#[tokio::test]
async fn errors_of_the_server_pass_whatever_their_status() {
    let server = Server::start(modern(|asked| asked.error(404, -32601, json!({"x": 1.50})))).await;
    let connection = server.connect().await.unwrap();
    let error = soon(connection.request(request("ping", &described(json!({}))))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Peer);
    let peer = error.peer().unwrap();
    assert_eq!((peer.code, &peer.data[..]), (-32601, &br#"{"x":1.5}"#[..]));
}

#[tokio::test]
async fn a_subscription_lasts_and_giving_it_up_closes_its_link() {
    let server = Server::start(modern(|_| {
        let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}});
        Act::events(&[&event(&told)]).hang()
    }))
    .await;
    let connection = server.connect().await.unwrap();
    let mut stream = connection.open(request("subscriptions/listen", &described(json!({})))).unwrap();
    let (method, _) = notification(soon(stream.next_event()).await.unwrap().unwrap());
    assert_eq!(method, "notifications/subscriptions/acknowledged");
    drop(stream);
    // The next request has a link of its own; nothing was said beside it.
    let mut other = connection.open(request("subscriptions/listen", &described(json!({})))).unwrap();
    assert!(matches!(soon(other.next_event()).await, Some(Ok(Event::Inbound(_)))));
    drop(other);
    soon(connection.close(Duration::ZERO)).await.unwrap();
    assert!(server.asked().iter().all(|asked| asked.method() != "notifications/cancelled"));
}
