// SPDX-License-Identifier: Apache-2.0
//! A modern client that listens to a legacy server.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::peer::{Call, Peer, plain, request, told};
use super::up::{modern, server};

fn quiet() -> Arc<Peer> {
    Peer::new(|call: Call| async move {
        match call.params["uri"].as_str() {
            Some("bad:1") => call.fail(-32602, "no such resource", &json!(null)),
            _ => call.give(json!({})).await,
        }
    })
}

#[tokio::test]
async fn a_listener_hears_what_it_asked_for_and_nothing_else() {
    let peer = quiet();
    let (connection, _) = server(&peer, &json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}}));
    let filter = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true,
        "resourceSubscriptions": ["a:1", "bad:1"]}});
    let mut stream = connection.open(request("subscriptions/listen", &modern(filter, &json!({})))).unwrap();
    let (method, params) = told(&mut stream).await;
    assert_eq!(method, "notifications/subscriptions/acknowledged");
    assert_eq!(params["notifications"], json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1"]}));
    for (method, params) in [
        ("notifications/prompts/list_changed", json!({})),
        ("notifications/resources/updated", json!({"uri": "b:1"})),
        ("notifications/message", json!({"level": "error", "data": 1})),
        ("notifications/tools/list_changed", json!({"n": 1})),
        ("notifications/resources/updated", json!({"uri": "a:1"})),
    ] {
        peer.tell(method, &params);
    }
    assert_eq!(told(&mut stream).await, ("notifications/tools/list_changed".to_owned(), json!({"n": 1})));
    assert_eq!(told(&mut stream).await, ("notifications/resources/updated".to_owned(), json!({"uri": "a:1"})));
    connection.close(Duration::ZERO).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().body, r#"{"resultType":"complete"}"#);
    assert!(stream.next().await.is_none());
    assert!(connection.receive().await.unwrap().is_none());
}

#[tokio::test]
async fn subscriptions_of_a_session_are_counted() {
    let peer = quiet();
    let (connection, _) = server(&peer, &json!({"resources": {"subscribe": true}}));
    let listen = || {
        let filter = json!({"notifications": {"resourceSubscriptions": ["a:1"]}});
        connection.open(request("subscriptions/listen", &modern(filter, &json!({})))).unwrap()
    };
    let (mut one, mut two) = (listen(), listen());
    told(&mut one).await;
    told(&mut two).await;
    assert_eq!(peer.asked_for("resources/subscribe").len(), 1);
    drop(one);
    peer.tell("notifications/resources/updated", &json!({"uri": "a:1"}));
    assert_eq!(told(&mut two).await.1["uri"], "a:1");
    assert!(peer.asked_for("resources/unsubscribe").is_empty());
    drop(two);
    assert_eq!(peer.saw("resources/unsubscribe", 1).await, [json!({"uri": "a:1"})]);
    let bad = modern(json!({"notifications": {"toolsListChanged": "yes"}}), &json!({}));
    assert_eq!(plain(&connection, "subscriptions/listen", bad).await.code(), -32602);
}

#[tokio::test(start_paused = true)]
async fn a_listener_outlives_the_session() {
    let peer = quiet();
    let (connection, sessions) = server(&peer, &json!({"tools": {"listChanged": true}}));
    let filter = modern(json!({"notifications": {"toolsListChanged": true}}), &json!({}));
    let mut stream = connection.open(request("subscriptions/listen", &filter)).unwrap();
    assert_eq!(told(&mut stream).await.0, "notifications/subscriptions/acknowledged");
    let next = quiet();
    *sessions.peer.lock() = next.clone();
    peer.hang_up();
    assert_eq!(told(&mut stream).await.0, "notifications/tools/list_changed", "it may have been missed");
    next.tell("notifications/tools/list_changed", &json!({"n": 2}));
    assert_eq!(told(&mut stream).await.1["n"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_shared_session_that_nobody_uses_is_given_back() {
    let peer = quiet();
    let (connection, _) = server(&peer, &json!({}));
    plain(&connection, "tools/list", modern(json!({}), &json!({}))).await;
    let sessions_hold = 2; // the test and its table of sessions
    assert!(Arc::strong_count(&peer) > sessions_hold);
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(Arc::strong_count(&peer), sessions_hold);
}
