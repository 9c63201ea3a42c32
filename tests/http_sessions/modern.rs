// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::client::{ACCEPT, Response};
use super::world::World;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn request(method: &str, params: Value) -> Value {
    let mut params = params;
    params["_meta"] = json!({ VERSION: "2026-07-28", CAPABILITIES: {} });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

async fn post(world: &World, headers: &[(&str, &str)], body: &Value) -> Response {
    let all = [&[("MCP-Protocol-Version", "2026-07-28")], headers].concat();
    world.post(&all, &body.to_string()).await
}

async fn error(response: Response) -> (u16, i64) {
    (response.status, response.json().await["error"]["code"].as_i64().unwrap())
}

#[tokio::test]
async fn a_request_that_describes_itself_needs_no_session() {
    let world = World::new().await;
    let body = request("tools/call", json!({"name": "weather", "arguments": {"region": "us"}}));
    let headers = [
        ("mcp-METHOD", "tools/call"),
        ("Mcp-Name", "  weather  "),
        ("Mcp-Param-Region", "us"),
        ("Mcp-Session-Id", "ignored"),
        ("Last-Event-ID", "ignored"),
        ("biplane-principal", "root"),
    ];
    let response = post(&world, &headers, &body).await;
    assert_eq!((response.status, response.header("mcp-session-id")), (200, None));
    let result = response.json().await;
    assert_eq!(result["result"]["headers"], "mcp-param-region=us");
    assert_eq!(result["result"]["params"], body["params"]);
}

#[tokio::test]
async fn headers_must_say_what_the_body_says() {
    let world = World::new().await;
    let list = request("tools/list", json!({}));
    let called = request("tools/call", json!({"name": "日本"}));
    let read = request("resources/read", json!({"uri": "file:///a"}));
    let name = "=?base64?5pel5pys?=";
    for (headers, body, accepted) in [
        (&[("Mcp-Method", "tools/list")][..], &list, true),
        (&[], &list, false),
        (&[("Mcp-Method", "prompts/list")], &list, false),
        (&[("Mcp-Method", "TOOLS/LIST")], &list, false),
        (&[("Mcp-Method", "tools/list"), ("Mcp-Method", "tools/list")], &list, false),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", name)], &called, true),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "wrong")], &called, false),
        (&[("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?!?=")], &called, false),
        (&[("Mcp-Method", "tools/call")], &called, false),
        (&[("Mcp-Method", "resources/read"), ("Mcp-Name", "file:///a")], &read, true),
        (&[("Mcp-Method", "resources/read"), ("Mcp-Name", "file:///b")], &read, false),
    ] {
        let response = post(&world, headers, body).await;
        if accepted {
            assert_eq!(response.status, 200, "{headers:?}");
        } else {
            assert_eq!(error(response).await, (400, -32020), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn what_a_request_says_of_itself_is_checked() {
    let world = World::new().await;
    let of = |version: &'static str, meta: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": meta}});
        let world = &world;
        async move {
            world.post(&[("MCP-Protocol-Version", version), ("Mcp-Method", "tools/list")], &body.to_string()).await
        }
    };
    let full = |version: &str| json!({ VERSION: version, CAPABILITIES: {} });
    assert_eq!(error(of("2026-07-28", json!({})).await).await, (400, -32602));
    assert_eq!(error(of("2026-07-28", json!({ CAPABILITIES: {} })).await).await, (400, -32602));
    assert_eq!(error(of("2026-07-28", json!({ VERSION: "2026-07-28" })).await).await, (400, -32602));
    assert_eq!(error(of("2026-07-28", json!({ VERSION: 1 })).await).await, (400, -32602));
    assert_eq!(error(of("2026-07-28", full("v999")).await).await, (400, -32020));
    assert_eq!(error(of("2025-11-25", full("2026-07-28")).await).await, (400, -32020));
    let unsupported = of("v999", full("v999")).await;
    assert_eq!(unsupported.status, 400);
    let body = unsupported.json().await;
    assert_eq!((&body["id"], &body["error"]["code"]), (&json!(7), &json!(-32022)));
    assert_eq!(body["error"]["data"], json!({"supported": ["2026-07-28"], "requested": "v999"}));

    let without = request("tools/list", json!({}));
    let response = world.post(&[("Mcp-Method", "tools/list")], &without.to_string()).await;
    assert_eq!(error(response).await, (400, -32020));
    let without_meta = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(error(post(&world, &[("Mcp-Method", "tools/list")], &without_meta).await).await, (400, -32602));
}

#[tokio::test]
async fn errors_of_the_protocol_have_statuses() {
    let world = World::new().await;
    let unknown = request("initialize-not", json!({}));
    assert_eq!(error(post(&world, &[("Mcp-Method", "initialize-not")], &unknown).await).await, (404, -32601));
    let capability = request("capability", json!({}));
    assert_eq!(error(post(&world, &[("Mcp-Method", "capability")], &capability).await).await, (400, -32021));
}

#[tokio::test]
async fn closing_the_stream_is_the_cancellation() {
    let world = World::new().await;
    for method in ["slow", "wait", "subscriptions/listen"] {
        let body = request(method, json!({}));
        let headers = [("Mcp-Method", method)];
        if method == "slow" {
            // The client gives up while it still waits for the head.
            let sent = post(&world, &headers, &body);
            let mut sent = std::pin::pin!(sent);
            tokio::select! {
                _ = &mut sent => panic!("there is no answer"),
                seen = world.saw() => assert_eq!(seen, "waiting"),
            }
        } else {
            let mut response = post(&world, &headers, &body).await;
            let event = response.body.event().await.unwrap();
            assert_eq!((event.id, event.data.is_empty()), (None, false), "no place to come back to");
            if method == "wait" {
                assert_eq!(world.saw().await, "waiting");
            } else {
                let told: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
            }
            drop(response);
        }
        assert_eq!(world.saw().await, "stopped", "{method}");
    }
}

#[tokio::test]
async fn sessions_and_their_streams_are_of_the_past() {
    let world = World::new().await;
    for method in ["GET", "DELETE"] {
        let response = world.request(method, &[ACCEPT, ("MCP-Protocol-Version", "2026-07-28")]).await;
        assert_eq!(response.status, 405, "{method}");
    }
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    assert_eq!(post(&world, &[], &answer).await.status, 400);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(post(&world, &[], &told).await.status, 202);
}
