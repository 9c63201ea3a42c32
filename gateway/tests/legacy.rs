// SPDX-License-Identifier: Apache-2.0
//! Legacy clients before a legacy server: what they share, and what they must not.

mod support;

use std::time::Duration;

use biplane::{Biplane, ErrorKind, Event, Inbound, Request, Subject};
use serde_json::json;
use support::{Client, Server, gateway};

#[tokio::test]
async fn plain_clients_share_one_session_and_each_gets_its_own_answers() {
    let server = Server::start("one").await;
    let biplane = Biplane::builder().build().unwrap();
    let (running, url) = gateway(&biplane, &[("one", &server.url)]).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(&biplane, &url, json!({})).await);
    }
    assert_eq!((server.sessions(), running.sessions()), (1, 8));
    let calls = clients.iter().enumerate().flat_map(|(at, client)| (0..20).map(move |n| (client, format!("{at}-{n}"))));
    futures_util::future::join_all(calls.map(async |(client, text)| client.echo(&text).await.unwrap())).await;
    let tools = clients[0].request("tools/list", json!({})).await.unwrap();
    assert_eq!(tools["tools"][0]["name"], "echo");
    let error = clients[0].request("no/such", json!({})).await.unwrap_err();
    assert_eq!(error.peer().unwrap().code, -32601);
    let page = biplane.telemetry().render();
    let told = ["mcp_gateway_sessions 8", "mcp_gateway_errors_total 1", "mcp_upstream_connections{upstream=\"one\"} 1"];
    assert!(told.iter().all(|line| page.contains(line)), "{page}");
    drop(clients);
    while running.sessions() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.drain(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_client_that_can_be_asked_has_a_session_of_its_own() {
    let server = Server::start("one").await;
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &server.url)]).await;
    let _plain = Client::connect(&biplane, &url, json!({})).await;
    let client = Client::connect(&biplane, &url, json!({"sampling": {}})).await;
    assert_eq!(server.sessions(), 2);
    let asked = async {
        match client.0.receive().await.unwrap().unwrap() {
            Inbound::Request(request, reply) => {
                assert_eq!(request.subject.as_str(), "sampling/createMessage");
                reply.send(r#"{"model":"m1"}"#).await.unwrap();
                reply.close();
            }
            other => panic!("{other:?}"),
        }
    };
    let (result, ()) = tokio::join!(client.call("ask", ""), asked);
    assert_eq!(result.unwrap()["content"][0]["text"], "m1");
    drop(client);
    while server.sessions() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn news_go_to_all_and_a_log_message_to_its_cause() {
    let server = Server::start("one").await;
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &server.url)]).await;
    let one = Client::connect(&biplane, &url, json!({})).await;
    let two = Client::connect(&biplane, &url, json!({})).await;
    let params = json!({"name": "log", "arguments": {"text": "of one"}}).to_string();
    let mut call = one.0.open(Request::new(Subject::from_static("tools/call"), params)).unwrap();
    let logged = call.next_event().await;
    assert!(
        matches!(&logged, Some(Ok(Event::Inbound(Inbound::Notification(method, _)))) if method.as_str() == "notifications/message"),
        "{logged:?}"
    );
    assert!(matches!(call.next_event().await, Some(Ok(Event::Item(_)))));
    one.call("changed", "").await.unwrap();
    let mut seen = Vec::new();
    for client in [&one, &two] {
        match client.0.receive().await.unwrap().unwrap() {
            Inbound::Notification(method, _) => seen.push(method.to_string()),
            other => panic!("{other:?}"),
        }
    }
    let changed = "notifications/tools/list_changed";
    assert_eq!(seen, [changed, changed]);
}

#[tokio::test]
async fn a_server_that_dies_fails_what_is_in_flight_and_the_next_call_works() {
    let server = Server::start("one").await;
    let address = server.url.clone();
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &server.url)]).await;
    let client = Client::connect(&biplane, &url, json!({})).await;
    client.echo("before").await.unwrap();
    let params = json!({"name": "hang", "arguments": {}}).to_string();
    let mut hanging = client.0.open(Request::new(Subject::from_static("tools/call"), params)).unwrap();
    // In order on the one wire, so the server has it.
    client.echo("behind it").await.unwrap();
    drop(server);
    assert_eq!(hanging.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    let _server = Server::start_at("one", &address).await;
    while client.echo("after").await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_that_gives_up_is_told_to_the_server() {
    let server = Server::start("one").await;
    let biplane = Biplane::builder().build().unwrap();
    let (running, url) = gateway(&biplane, &[("one", &server.url)]).await;
    let client = Client::connect(&biplane, &url, json!({})).await;
    let params = json!({"name": "hang", "arguments": {}}).to_string();
    let hanging = client.0.open(Request::new(Subject::from_static("tools/call"), params)).unwrap();
    client.echo("behind it").await.unwrap();
    assert_eq!(running.in_flight(), 1);
    drop(hanging);
    while running.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn without_a_session_a_legacy_request_is_told_what_is_missing() {
    let server = Server::start("one").await;
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &server.url)]).await;
    let client = Client(biplane.connect(&url).await.unwrap());
    let error = client.request("tools/list", json!({})).await.unwrap_err();
    assert_eq!(error.peer().unwrap().code, -32600);
    assert!(error.to_string().contains("initialize"), "{error}");
    assert!(client.request("ping", json!({})).await.is_ok());
}
