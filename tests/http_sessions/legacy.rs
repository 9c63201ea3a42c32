// SPDX-License-Identifier: Apache-2.0
use biplane::{Message, Request, Subject};
use serde_json::json;

use super::client::{ACCEPT, JSON, Link};
use super::world::{World, call};

#[tokio::test]
async fn a_session_from_its_beginning_to_its_end() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    assert!(session.len() >= 32 && session.bytes().all(|byte| byte.is_ascii_graphic()));
    let named = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];

    let response = world.within(&session, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!((response.status, response.header("content-length")), (202, Some("0")));
    assert_eq!(world.saw().await, "notifications/initialized ");

    let response = world.within(&session, &call(r#""x""#, "echo", r#"{"a":1}"#)).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("mcp-session-id"), Some(session.as_str()));
    assert_eq!(response.json().await, json!({"jsonrpc":"2.0","id":"x","result":{"params":{"a":1},"headers":""}}));

    assert!(matches!(world.request("DELETE", &named).await.status, 200..=299));
    assert_eq!(world.saw().await, "closed");
    let response = world.within(&session, &call(2, "echo", "{}")).await;
    assert_eq!(response.status, 404);
    assert_eq!(response.json().await["id"], 2);
    assert_eq!(world.request("DELETE", &named).await.status, 404);
    assert_eq!(world.request("GET", &[named[0], ACCEPT]).await.status, 404);
}

#[tokio::test]
async fn errors_of_methods_are_answers() {
    let world = World::new().await;
    let session = world.session("2025-06-18").await;
    let response = world.within(&session, &call(1, "nothing", "{}")).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.json().await["error"]["code"], -32601);
}

#[tokio::test]
async fn what_comes_before_the_response_makes_it_a_stream() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let mut response = world.within(&session, &call(1, "progress", "{}")).await;
    assert!(response.is_stream());
    assert_eq!(response.header("x-accel-buffering"), Some("no"));
    assert_eq!(response.header("cache-control"), Some("no-cache, no-transform"));
    let priming = response.body.event().await.unwrap();
    assert_eq!((priming.data.as_str(), priming.id.is_some(), priming.retry.as_deref()), ("", true, Some("1000")));
    let mut ids = vec![priming.id];
    for expected in [r#""n":1"#, r#""n":2"#, r#""result":{}"#] {
        let event = response.body.event().await.unwrap();
        assert!(event.data.contains(expected), "{event:?}");
        assert_eq!(event.kind, None);
        ids.push(event.id);
    }
    assert!(response.body.event().await.is_none());
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn older_clients_get_no_event_without_data() {
    let world = World::new().await;
    let session = world.session("2025-06-18").await;
    let named = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-06-18")];
    let mut response = world.post(&named, &call(1, "progress", "{}")).await;
    assert!(response.body.event().await.unwrap().data.contains(r#""n":1"#));
}

#[tokio::test]
async fn line_breaks_between_tokens_survive_in_both_forms() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let response = world.within(&session, &call(1, "in-lines", "{}")).await;
    assert_eq!(response.json().await["result"], json!({"a": 1}));
}

#[tokio::test]
async fn a_question_on_the_stream_of_a_request_is_answered_by_a_post() {
    let world = World::new().await;
    let session = world.session("2025-06-18").await;
    let mut response = world.within(&session, &call(1, "ask", "{}")).await;
    let question: serde_json::Value = serde_json::from_str(&response.body.event().await.unwrap().data).unwrap();
    assert_eq!(question["method"], "sampling/createMessage");
    let answer = json!({"jsonrpc":"2.0","id":question["id"],"result":{"role":"assistant"}});
    assert_eq!(world.within(&session, &answer.to_string()).await.status, 202);
    let result: serde_json::Value = serde_json::from_str(&response.body.event().await.unwrap().data).unwrap();
    assert_eq!(result, json!({"jsonrpc":"2.0","id":1,"result":{"role":"assistant"}}));
}

#[tokio::test]
async fn what_belongs_to_no_request_goes_to_the_stream_of_the_session() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    assert_eq!(world.within(&session, &call(1, "tell", "{}")).await.status, 200);
    let listen = [ACCEPT, ("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let mut stream = world.request("GET", &listen).await;
    assert!((stream.status, stream.is_stream()) == (200, true));
    assert_eq!(stream.body.event().await.unwrap().data, "");
    assert!(stream.body.event().await.unwrap().data.contains(r#"{"n":1}"#));

    let ask = call(2, "ask-unasked", "{}");
    let asking = world.within(&session, &ask);
    let answering = async {
        let question: serde_json::Value = serde_json::from_str(&stream.body.event().await.unwrap().data).unwrap();
        assert_eq!((&question["method"], question.get("params")), (&json!("roots/list"), None));
        let answer = json!({"jsonrpc":"2.0","id":question["id"],"result":{"roots":[]}});
        assert_eq!(world.within(&session, &answer.to_string()).await.status, 202);
    };
    let (asked, ()) = tokio::join!(asking, answering);
    assert_eq!(asked.json().await["result"], json!({"roots": []}));
    // The stream ends with the session.
    world.within(&session, &call(3, "close", "{}")).await;
    assert!(stream.body.event().await.is_none());
}

#[tokio::test]
async fn a_cancelled_request_ends_without_a_response() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let mut response = world.within(&session, &call(9, "wait", "{}")).await;
    assert_eq!(world.saw().await, "waiting");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#;
    assert_eq!(world.within(&session, cancel).await.status, 202);
    assert_eq!(world.saw().await, "stopped");
    assert_eq!(response.body.event().await.unwrap().data, "");
    assert!(response.body.event().await.unwrap().data.contains("progress"));
    assert!(response.body.event().await.is_none());
}

#[tokio::test]
async fn a_lost_link_is_no_cancel() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    drop(world.within(&session, &call(9, "wait", "{}")).await);
    assert_eq!(world.saw().await, "waiting");
    let marker = r#"{"jsonrpc":"2.0","method":"marker"}"#;
    assert_eq!(world.within(&session, marker).await.status, 202);
    assert_eq!(world.saw().await, "marker ");
}

#[tokio::test]
async fn equal_ids_at_once_get_their_own_answers() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let calls: Vec<_> = (0..8).map(|n| call(1, "echo", &format!(r#"{{"n":{n}}}"#))).collect();
    let posts = calls.iter().map(|body| world.within(&session, body));
    for (n, response) in futures_util::future::join_all(posts).await.into_iter().enumerate() {
        assert_eq!(response.json().await["result"]["params"]["n"], n);
    }
}

#[tokio::test]
async fn a_session_is_required_and_its_name_checked() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let echo = call(7, "echo", "{}");
    let response = world.post(&[], &echo).await;
    assert_eq!(response.status, 400);
    let error = response.json().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32600)));
    assert_eq!(world.post(&[], r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await.status, 400);
    assert_eq!(world.request("GET", &[ACCEPT]).await.status, 400);
    assert_eq!(world.request("DELETE", &[]).await.status, 400);
    assert_eq!(world.within("unknown", &echo).await.status, 404);
    assert_eq!(world.within("a b", &echo).await.status, 400);
    let twice = [("Mcp-Session-Id", session.as_str()), ("Mcp-Session-Id", session.as_str())];
    assert_eq!(world.post(&twice, &echo).await.status, 400);
    assert_eq!(world.within(&session, &call(1, "initialize", "{}")).await.status, 400);
}

#[tokio::test]
async fn the_header_of_the_revision_is_checked() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let echo = call(1, "echo", "{}");
    for (version, status) in [("2025-03-26", 200), ("2025-06-18", 200), ("1900-01-01", 400), ("", 400)] {
        let headers = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", version)];
        assert_eq!(world.post(&headers, &echo).await.status, status, "{version}");
    }
    // Clients of 2025-03-26 send none.
    assert_eq!(world.post(&[("Mcp-Session-Id", &session)], &echo).await.status, 200);
}

#[tokio::test]
async fn what_is_no_message_is_answered_by_what_it_is() {
    let world = World::new().await;
    for (body, code, id) in [
        ("{", -32700, json!(null)),
        ("", -32700, json!(null)),
        ("\"text\"", -32600, json!(null)),
        ("[]", -32600, json!(null)),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"echo"}]"#, -32600, json!(null)),
        (r#"{"jsonrpc":"1.0","id":5,"method":"echo"}"#, -32600, json!(5)),
        (r#"{"id":5,"method":"echo"}"#, -32600, json!(5)),
    ] {
        let response = world.post(&[], body).await;
        assert_eq!((response.status, response.header("content-type")), (400, Some("application/json")), "{body}");
        let error = response.json().await;
        assert_eq!((&error["error"]["code"], &error["id"]), (&json!(code), &id), "{body}");
    }
}

#[tokio::test]
async fn a_batch_is_taken_where_its_revision_has_them() {
    let world = World::new().await;
    let session = world.session("2025-03-26").await;
    let named = [("Mcp-Session-Id", session.as_str())];
    let batch =
        format!(r#"[{},{{"jsonrpc":"2.0","method":"n"}},{}]"#, call(1, "echo", "{}"), call(2, "progress", "{}"));
    let mut response = world.post(&named, &batch).await;
    assert!(response.is_stream());
    let mut results = Vec::new();
    while let Some(event) = response.body.event().await {
        let message: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        results.extend(message.get("result").map(|_| message["id"].as_u64().unwrap()));
    }
    results.sort_unstable();
    assert_eq!(results, [1, 2]);
    assert_eq!(world.saw().await, "n ");
    let told = world.post(&named, r#"[{"jsonrpc":"2.0","method":"n"}]"#).await;
    assert_eq!(told.status, 202);
    for bad in ["[]", "[1]", r#"[{"jsonrpc":"2.0","id":1,"method":"initialize"}]"#] {
        assert_eq!(world.post(&named, bad).await.status, 400, "{bad}");
    }
    let later = world.session("2025-06-18").await;
    let response = world.post(&[("Mcp-Session-Id", later.as_str())], &batch).await;
    assert_eq!((response.status, &response.json().await["error"]["code"]), (400, &json!(-32600)));
}

#[tokio::test]
async fn methods_paths_and_media_types_have_their_statuses() {
    let world = World::new().await;
    let echo = call(1, "initialize", "{}");
    for method in ["PUT", "PATCH", "HEAD"] {
        let response = world.request(method, &[]).await;
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, POST, DELETE, OPTIONS")), "{method}");
    }
    let post = async |path: &str, headers: &[(&str, &str)]| {
        Link::open(world.address).await.send("POST", path, headers, &echo).await.status
    };
    assert_eq!(post("/other", &[ACCEPT, JSON]).await, 404);
    assert_eq!(post("/mcp/", &[ACCEPT, JSON]).await, 200);
    assert_eq!(post("/mcp", &[JSON]).await, 200, "no Accept takes everything");
    assert_eq!(post("/mcp", &[("Accept", "application/json"), JSON]).await, 406);
    assert_eq!(post("/mcp", &[ACCEPT]).await, 415);
    assert_eq!(post("/mcp", &[ACCEPT, ("Content-Type", "text/plain")]).await, 415);
    assert_eq!(post("/mcp", &[ACCEPT, JSON, ("Content-Encoding", "gzip")]).await, 415);
    let session = world.session("2025-11-25").await;
    let named = ("Mcp-Session-Id", session.as_str());
    assert_eq!(world.request("GET", &[("Accept", "application/json"), named]).await.status, 406);
}

#[tokio::test]
async fn our_own_client_opens_a_session() {
    let world = World::new().await;
    let client = world.biplane.connect(&format!("http://{}/mcp", world.address)).await.unwrap();
    let ask = async |method: &'static str, params: &'static str| {
        client.request(Request::new(Subject::from_static(method), params)).await.unwrap()
    };
    let said = ask("initialize", r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#).await;
    assert_eq!(said.body, r#"{"protocolVersion":"2025-11-25"}"#);
    client.notify(&Subject::from_static("notifications/initialized"), Message::default()).await.unwrap();
    assert_eq!(world.saw().await, "notifications/initialized ");
    assert_eq!(ask("progress", "{}").await.body, "{}");
    assert!(ask("echo", r#"{"a":1}"#).await.text().unwrap().contains(r#"{"a":1}"#));
    client.close(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(world.saw().await, "closed");
}
