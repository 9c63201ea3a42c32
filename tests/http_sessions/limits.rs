// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use biplane::io::admission::Admission;

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
