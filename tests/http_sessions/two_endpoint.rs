// SPDX-License-Identifier: Apache-2.0
use biplane::io::admission::Admission;
use biplane::{Request, Subject};
use serde_json::{Value, json};

use super::client::{ACCEPT, JSON, Link, Response};
use super::world::{World, call};

async fn open(world: &World, path: &str) -> (Response, String) {
    let mut stream = Link::open(world.address).await.send("GET", path, &[("Accept", "text/event-stream")], "").await;
    assert!((stream.status, stream.is_stream()) == (200, true));
    let endpoint = stream.body.event().await.unwrap();
    assert_eq!(endpoint.kind.as_deref(), Some("endpoint"));
    (stream, endpoint.data)
}

async fn post(world: &World, path: &str, body: &str) -> u16 {
    Link::open(world.address).await.send("POST", path, &[JSON], body).await.status
}

async fn message(stream: &mut Response) -> Value {
    let event = stream.body.event().await.unwrap();
    assert_eq!((event.kind.as_deref(), &event.id), (Some("message"), &None));
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test]
async fn everything_comes_on_the_one_stream() {
    let world = World::new().await;
    let (mut stream, endpoint) = open(&world, "/sse").await;
    assert!(endpoint.starts_with("/messages?sessionId="), "{endpoint}");
    assert_eq!(post(&world, &endpoint, &call(1, "echo", "{}")).await, 400, "initialize comes first");
    assert_eq!(post(&world, &endpoint, &call(0, "initialize", r#"{"protocolVersion":"2024-11-05"}"#)).await, 202);
    assert_eq!(message(&mut stream).await["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(post(&world, &endpoint, &call(1, "initialize", "{}")).await, 400);
    assert_eq!(post(&world, &endpoint, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await, 202);
    assert_eq!(world.saw().await, "notifications/initialized ");

    assert_eq!(post(&world, &endpoint, &call(2, "progress", "{}")).await, 202);
    assert_eq!(message(&mut stream).await["params"], json!({"n": 1}));
    assert_eq!(message(&mut stream).await["params"], json!({"n": 2}));
    assert_eq!(message(&mut stream).await, json!({"jsonrpc": "2.0", "id": 2, "result": {}}));

    assert_eq!(post(&world, &endpoint, &call(3, "ask-unasked", "{}")).await, 202);
    let question = message(&mut stream).await;
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}});
    assert_eq!(post(&world, &endpoint, &answer.to_string()).await, 202);
    assert_eq!(message(&mut stream).await, json!({"jsonrpc": "2.0", "id": 3, "result": {"roots": []}}));

    // The session ends with its stream.
    drop(stream);
    assert_eq!(world.saw().await, "closed");
    assert_eq!(post(&world, &endpoint, &call(4, "echo", "{}")).await, 404);
}

#[tokio::test]
async fn the_stream_ends_with_its_session() {
    let world = World::new().await;
    let (mut stream, endpoint) = open(&world, "/sse").await;
    assert_eq!(post(&world, &endpoint, &call(0, "initialize", "{}")).await, 202);
    message(&mut stream).await;
    assert_eq!(post(&world, &endpoint, &call(1, "close", "{}")).await, 202);
    while let Some(event) = stream.body.event().await {
        assert!(event.data.contains(r#""id":1"#));
    }
}

#[tokio::test]
async fn paths_and_names_have_their_statuses() {
    let world = World::new().await;
    let (_stream, endpoint) = open(&world, "/sse").await;
    assert_eq!(post(&world, "/messages", "{}").await, 400);
    assert_eq!(post(&world, "/messages?sessionId=unknown", "{}").await, 404);
    assert_eq!(post(&world, &endpoint, "{").await, 400);
    assert_eq!(post(&world, "/sse", "{}").await, 405);
    let get = Link::open(world.address).await.send("GET", "/messages", &[ACCEPT], "").await;
    assert_eq!(get.status, 405);
    let foreign = [ACCEPT, ("Origin", "http://evil.example")];
    assert_eq!(Link::open(world.address).await.send("GET", "/sse", &foreign, "").await.status, 403);
}

#[tokio::test]
async fn it_can_stand_alone_at_a_path_of_its_own() {
    let world = World::at("sse+http://127.0.0.1:0/old/sse", |_| {}, Admission::default()).await;
    assert!(world.listener.local_address().address.ends_with("/old/sse"));
    let (mut stream, endpoint) = open(&world, "/old/sse").await;
    assert!(endpoint.starts_with("/old/messages?sessionId="), "{endpoint}");
    assert_eq!(post(&world, &endpoint, &call(0, "initialize", "{}")).await, 202);
    message(&mut stream).await;
    // So that clients of both find out what it is.
    assert_eq!(post(&world, "/old/sse", "{}").await, 405);
}

#[tokio::test]
async fn our_own_client_and_server_understand_each_other() {
    let world = World::new().await;
    let client = world.biplane.connect(&format!("sse+http://{}/sse", world.address)).await.unwrap();
    let ask = async |method: &'static str, params: &'static str| {
        client.request(Request::new(Subject::from_static(method), params)).await.unwrap()
    };
    assert_eq!(
        ask("initialize", r#"{"protocolVersion":"2024-11-05"}"#).await.body,
        r#"{"protocolVersion":"2024-11-05"}"#
    );
    assert_eq!(ask("progress", "{}").await.body, "{}");
    assert!(ask("echo", r#"{"a":1}"#).await.text().unwrap().contains(r#"{"a":1}"#));
}
