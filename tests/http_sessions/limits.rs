// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use biplane::io::admission::Admission;
use biplane::transport::http::ListenSettings;

use super::client::{ACCEPT, JSON, Link};
use super::world::{World, call};

/// What a message may have beside its params.
const ENVELOPE: usize = 8 << 10;

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let world = World::with(|settings| settings.sessions.max_message_size = 1000, Admission::default()).await;
    let session = world.session("2025-11-25").await;
    let body = |size: usize| {
        let empty = call(1, "echo", r#"{"x":""}"#).len();
        call(1, "echo", &format!(r#"{{"x":"{}"}}"#, "a".repeat(size - empty)))
    };
    let named = ("Mcp-Session-Id", session.as_str());
    assert_eq!(world.post(&[named], &body(1001 + ENVELOPE)).await.status, 413);
    assert_eq!(world.post(&[named], &body(5_000_000)).await.status, 413);
    assert_eq!(world.post(&[named], &body(1000 + ENVELOPE)).await.status, 200);
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let world = World::new().await;
    let long = "a".repeat(40 << 10);
    assert_eq!(world.post(&[("X-Long", &long)], "").await.status, 431);
    let many: Vec<(String, &str)> = (0..150).map(|n| (format!("X-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(world.post(&many, "").await.status, 431);
}

#[tokio::test]
async fn sessions_are_counted() {
    let world = World::with(|settings| settings.sessions.max_sessions = 1, Admission::default()).await;
    let session = world.session("2025-11-25").await;
    let response = world.post(&[], &call(1, "initialize", "{}")).await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    world.request("DELETE", &[("Mcp-Session-Id", &session)]).await;
    world.session("2025-11-25").await;
}

#[tokio::test]
async fn requests_at_once_are_counted() {
    let world = World::with(|settings| settings.sessions.max_running = 1, Admission::default()).await;
    let session = world.session("2025-11-25").await;
    let _first = world.within(&session, &call(1, "wait", "{}")).await;
    assert_eq!(world.saw().await, "waiting");
    let response = world.within(&session, &call(2, "echo", "{}")).await;
    assert_eq!((response.status, response.header("retry-after")), (429, Some("1")));
}

#[tokio::test]
async fn an_idle_session_ends() {
    let world =
        World::with(|settings| settings.sessions.idle_ttl = Duration::from_millis(20), Admission::default()).await;
    let session = world.session("2025-11-25").await;
    assert_eq!(world.saw().await, "closed");
    assert_eq!(world.within(&session, &call(1, "echo", "{}")).await.status, 404);
}

#[tokio::test]
async fn a_link_serves_many_requests() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let mut link = Link::open(world.address).await;
    for n in 0..20 {
        let response =
            link.send("POST", "/mcp", &[ACCEPT, JSON, ("Mcp-Session-Id", &session)], call(n, "echo", "{}")).await;
        assert_eq!(response.status, 200);
        link = response.whole().await.1;
    }
    // Closing lets nobody wait.
    world.listener.close(Duration::ZERO).await.unwrap();
    assert!(link.is_closed().await);
    assert!(world.listener.accept().await.unwrap().is_none());
    let _ = &world.biplane;
}

#[tokio::test]
async fn a_stream_outlives_its_buffers_and_its_link_a_stream() {
    let often = |settings: &mut ListenSettings| settings.keep_alive = Duration::from_millis(20);
    let world = World::with(often, Admission::default()).await;
    for connection in ["keep-alive", "close"] {
        let session = world.session("2025-06-18").await;
        let headers = [ACCEPT, ("Mcp-Session-Id", session.as_str()), ("Connection", connection)];
        let mut stream = world.request("GET", &headers).await;
        // Long enough for the listener to write it by hand.
        for _ in 0..40 {
            stream.body.sign_of_life().await;
        }
        for n in 0..3 {
            world.within(&session, &call(n, "tell", "{}")).await;
            assert!(stream.body.event().await.unwrap().data.contains(r#"{"n":1}"#));
        }
        world.request("DELETE", &[("Mcp-Session-Id", &session)]).await;
        assert!(stream.body.event().await.is_none());
        let mut link = stream.body.into_link();
        if connection == "close" {
            assert!(link.is_closed().await);
        } else {
            assert_eq!(link.send("POST", "/mcp", &[ACCEPT, JSON], call(1, "initialize", "{}")).await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_long_stream_is_noticed() {
    let often = |settings: &mut ListenSettings| {
        settings.keep_alive = Duration::from_millis(20);
        settings.patience = Duration::ZERO;
    };
    let world = World::with(often, Admission::default()).await;
    let meta = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#;
    let headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "slow")];
    let mut stream = world.post(&headers, &call(1, "slow", meta)).await;
    for _ in 0..40 {
        stream.body.sign_of_life().await;
    }
    drop(stream);
    assert_eq!(world.saw().await, "waiting");
    assert_eq!(world.saw().await, "stopped");
}

#[tokio::test]
async fn a_link_at_rest_takes_the_next_request() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let headers = [ACCEPT, JSON, ("Mcp-Session-Id", session.as_str())];
    let mut link = Link::open(world.address).await;
    for n in 0..3 {
        let response = link.send("POST", "/mcp", &headers, call(n, "echo", "{}")).await;
        assert_eq!(response.status, 200);
        link = response.whole().await.1;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    // Two requests at once, the second in two parts around the answer to the first.
    let one = |body: &str| {
        let host = world.address;
        let length = body.len();
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nMcp-Session-Id: {session}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let second = one(&call(8, "echo", "{}"));
    let (begin, rest) = second.split_at(20);
    link.write(format!("{}{begin}", one(&call(7, "echo", "{}"))).as_bytes()).await;
    let (text, mut link) = link.receive().await.whole().await;
    assert!(text.contains(r#""id":7"#));
    tokio::time::sleep(Duration::from_millis(400)).await;
    link.write(rest.as_bytes()).await;
    assert!(link.receive().await.whole().await.0.contains(r#""id":8"#));
}
