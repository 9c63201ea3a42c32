// SPDX-License-Identifier: Apache-2.0
//! The transport of 2024-11-05.

use std::time::Duration;

use biplane::{ErrorKind, Message, Subject};
use serde_json::json;

use crate::script::*;

async fn connected(first: &'static str) -> (Server, biplane::Result<std::sync::Arc<dyn biplane::Connection>>) {
    let server = Server::start(move |asked| match asked.http.as_str() {
        "GET" => Act::events(&[first]).hang(),
        _ => Act::status(202),
    })
    .await;
    let connection = soon(biplane().connect(&format!("sse+{}", server.url()))).await;
    (server, connection)
}

#[tokio::test]
async fn messages_go_to_the_endpoint_that_the_stream_names() {
    let told = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#;
    let first = format!("event: endpoint\ndata: /post?s=1\n\ndata: {told}\n\n");
    let (server, connection) = connected(Box::leak(first.into_boxed_str())).await;
    let connection = connection.unwrap();
    assert_eq!(connection.info().transport, "sse");
    assert!(soon(connection.receive()).await.unwrap().is_some());
    soon(connection.notify(&Subject::from_static("notifications/y"), Message::default())).await.unwrap();
    let stream = connection.open(request("ping", &json!({}))).unwrap();
    let (told, asked) = (server.seen("notifications/y").await, server.seen("ping").await);
    assert_eq!((told.path.as_str(), asked.path.as_str()), ("/post?s=1", "/post?s=1"));
    drop(stream);
    server.seen("notifications/cancelled").await;
    soon(connection.close(Duration::from_millis(100))).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_refused() {
    for first in ["event: endpoint\ndata: http://evil.example/post\n\n", "event: endpoint\ndata: //evil.example/x\n\n"]
    {
        let (_server, connection) = connected(first).await;
        let error = connection.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("evil.example"), "{error}");
    }
    let (_server, connection) = connected("data: {}\n\n").await;
    assert_eq!(connection.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_refused_post_fails_the_request_that_waits() {
    let server = Server::start(|asked| match asked.http.as_str() {
        "GET" => Act::events(&["event: endpoint\ndata: post\n\n"]).hang(),
        _ => Act::whole(400, "text/plain", "no such session"),
    })
    .await;
    let connection = soon(biplane().connect(&format!("sse+{}", server.url()))).await.unwrap();
    let error = soon(connection.request(request("ping", &json!({})))).await.unwrap_err();
    assert!(error.to_string().contains("no such session"), "{error}");
}
