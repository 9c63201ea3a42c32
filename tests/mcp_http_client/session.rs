// SPDX-License-Identifier: Apache-2.0
//! Legacy sessions: opened by the handshake that passes through, listened to, lost, ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use biplane::{Error, ErrorKind, Event, Inbound, Message, Retry, Subject};
use serde_json::json;

use crate::script::*;

#[tokio::test]
async fn the_handshake_opens_it_and_close_ends_it() {
    let server = Server::start(legacy(|asked| match asked.method() {
        "GET" => Act::status(405),
        _ => asked.result(json!({"tools": []})),
    }))
    .await;
    let connection = session(&server).await;
    assert_eq!(connection.session_id().unwrap().as_str(), "session-1");
    soon(connection.request(request("tools/list", &json!({})))).await.unwrap();
    assert!(server.seen("initialize").await.header("mcp-session-id").is_none());
    for method in ["notifications/initialized", "GET", "tools/list"] {
        let asked = server.seen(method).await;
        assert_eq!(asked.header("mcp-session-id"), Some("session-1"), "{method}");
        assert_eq!(asked.header("mcp-protocol-version"), Some("2025-11-25"), "{method}");
        assert!(asked.header("mcp-method").is_none(), "that is of the other era");
    }
    let error = connection.open(request("initialize", &json!({}))).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Safe));
    soon(connection.close(Duration::from_secs(1))).await.unwrap();
    assert_eq!(server.seen("DELETE").await.header("mcp-session-id"), Some("session-1"));
    assert!(soon(connection.receive()).await.unwrap().is_none());
    assert_eq!(connection.open(request("tools/list", &json!({}))).unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_connection_that_is_dropped_ends_its_session_too() {
    let server = Server::start(legacy(|_| Act::status(405))).await;
    drop(session(&server).await);
    server.seen("DELETE").await;
}

#[tokio::test]
async fn a_lost_session_is_told_as_safe_to_repeat() {
    let server = Server::start(legacy(|asked| match asked.method() {
        "GET" => Act::status(405),
        _ => asked.error(404, -32001, json!(null)),
    }))
    .await;
    let connection = session(&server).await;
    let error = soon(connection.request(request("tools/list", &json!({})))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe));
    // From now on nothing is sent that cannot succeed.
    let asked = server.asked().len();
    let error = connection.open(request("tools/list", &json!({}))).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe));
    let error = soon(connection.notify(&Subject::from_static("notifications/x"), Message::default())).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
    soon(connection.close(Duration::ZERO)).await.unwrap();
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn what_the_server_sends_unasked_is_received_and_the_stream_resumed() {
    let streams = AtomicUsize::new(0);
    let server = Server::start(legacy(move |asked| match asked.method() {
        "GET" => {
            let n = streams.fetch_add(1, Ordering::SeqCst);
            let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"n": n}});
            let act = Act::events(&[&format!("retry: 10\nid: {n}\ndata: {told}\n\n")]);
            if n == 0 { act.cut() } else { act.hang() }
        }
        _ => Act::status(202),
    }))
    .await;
    let connection = session(&server).await;
    for n in 0..2 {
        let inbound = soon(connection.receive()).await.unwrap().unwrap();
        let (method, params) = notification(Event::Inbound(inbound));
        assert_eq!((method.as_str(), &params["n"]), ("notifications/tools/list_changed", &json!(n)));
    }
    assert_eq!(server.nth("GET", 1).await.header("last-event-id"), Some("0"));
}

#[tokio::test]
async fn a_question_is_answered_by_a_post_of_its_session() {
    let server = Server::start(legacy(|asked| match asked.method() {
        "GET" => {
            let question = json!({"jsonrpc": "2.0", "id": "q\"1", "method": "roots/list", "params": {}});
            Act::events(&[&event(&question)]).hang()
        }
        _ => Act::status(202),
    }))
    .await;
    let connection = session(&server).await;
    let Some(Inbound::Request(question, reply)) = soon(connection.receive()).await.unwrap() else { panic!() };
    assert_eq!(question.subject.as_str(), "roots/list");
    reply.send(json!({"roots": []}).to_string()).await.unwrap();
    reply.close();
    let answer = server.seen("POST").await;
    assert_eq!(answer.body, json!({"jsonrpc": "2.0", "id": "q\"1", "result": {"roots": []}}));
    assert_eq!(answer.header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn a_question_that_nobody_answers_is_answered_with_an_error_and_one_that_is_taken_back_is_killed() {
    let server = Server::start(legacy(|asked| match asked.method() {
        "GET" => {
            let ask = |id: u32| event(&json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}));
            let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
            Act::events(&[&ask(1), &ask(2), &event(&back)]).hang()
        }
        _ => Act::status(202),
    }))
    .await;
    let connection = session(&server).await;
    let Some(Inbound::Request(_, first)) = soon(connection.receive()).await.unwrap() else { panic!() };
    let Some(Inbound::Request(_, second)) = soon(connection.receive()).await.unwrap() else { panic!() };
    soon(second.stopped()).await;
    first.fail(Error::refused("no"));
    let answer = server.seen("POST").await;
    assert_eq!((answer.body["id"].as_u64(), answer.body["error"]["message"].as_str()), (Some(1), Some("no")));
}
