// SPDX-License-Identifier: Apache-2.0
use biplane::io::admission::{Admission, Token};

use super::client::{ACCEPT, JSON, Link};
use super::world::{World, call};

#[tokio::test]
async fn foreign_origins_and_hosts_are_forbidden_whatever_the_method() {
    let world = World::new().await;
    let port = world.address.port();
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        for header in [("Origin", "http://evil.example"), ("Origin", "null"), ("Host", "evil.example")] {
            let response = Link::open(world.address).await.send(method, "/mcp", &[ACCEPT, JSON, header], "").await;
            assert_eq!(response.status, 403, "{method} {header:?}");
            assert_eq!(response.header("access-control-allow-origin"), None);
            assert_eq!(response.json().await["id"], serde_json::Value::Null);
        }
    }
    let own = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    let response = world.post(&[("Origin", &own), ("Host", &host)], &call(1, "initialize", "{}")).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), Some(own.as_str()));
}

#[tokio::test]
async fn an_allowed_page_gets_its_preflight() {
    let world =
        World::with(|_| {}, Admission::default().origin("https://app.example").unwrap().token("a", Token::of("t")))
            .await;
    let asked = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "mcp-session-id, authorization"),
    ];
    let response = world.request("OPTIONS", &asked).await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(response.header("access-control-allow-headers"), Some("mcp-session-id, authorization"));
    let response = world.request("OPTIONS", &[]).await;
    assert_eq!((response.status, response.header("allow")), (405, Some("GET, POST, DELETE, OPTIONS")));
}

#[tokio::test]
async fn a_token_is_asked_for_before_the_body_is_read() {
    let world = World::with(|_| {}, Admission::default().token("alice", Token::of("secret"))).await;
    let mut link = Link::open(world.address).await;
    let host = world.address;
    // The body never comes.
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    );
    link.write(head.as_bytes()).await;
    let response = link.receive().await;
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(response.header("connection"), Some("close"));

    let echo = call(1, "initialize", "{}");
    let response = world.post(&[("Authorization", "Bearer wrong")], &echo).await;
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer error=\"invalid_token\"")));
    let response = world.post(&[("Authorization", "Bearer secret")], &echo).await;
    let session = response.header("mcp-session-id").unwrap().to_owned();
    let named = ("Mcp-Session-Id", session.as_str());
    let response = world.post(&[("Authorization", "Bearer secret"), named], &call(1, "echo", "{}")).await;
    assert!(response.json().await["result"]["headers"].as_str().unwrap().contains("biplane-principal=alice"));

    let response =
        Link::open(world.address).await.send("POST", "/mcp?access_token=secret", &[ACCEPT, JSON], &echo).await;
    assert_eq!(response.status, 400);
}

#[tokio::test]
async fn a_session_of_another_principal_is_unknown() {
    let both = Admission::default().token("alice", Token::of("a")).token("bob", Token::of("b"));
    let world = World::with(|_| {}, both).await;
    let opened = world.post(&[("Authorization", "Bearer a")], &call(1, "initialize", "{}")).await;
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let named = ("Mcp-Session-Id", session.as_str());
    for method in ["POST", "GET", "DELETE"] {
        let headers = [ACCEPT, JSON, ("Authorization", "Bearer b"), named];
        let response = Link::open(world.address).await.send(method, "/mcp", &headers, call(1, "echo", "{}")).await;
        assert_eq!(response.status, 404, "{method}");
    }
    assert_eq!(world.post(&[("Authorization", "Bearer a"), named], &call(1, "echo", "{}")).await.status, 200);
    // The rules are replaced under the listener.
    world.gate.replace(Admission::default().token("bob", Token::of("b")));
    assert_eq!(world.post(&[("Authorization", "Bearer a"), named], &call(1, "echo", "{}")).await.status, 401);
}
