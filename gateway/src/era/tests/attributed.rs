// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;

use biplane::{Message, Request, Subject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::peer::{Call, Peer, plain, request, told};
use crate::era::attributed;

fn wanting(client: &str, level: &str) -> Value {
    json!({"_meta": {"io.modelcontextprotocol/logLevel": level, "io.modelcontextprotocol/clientInfo": {"name": client}}})
}

/// The server itself, for its script to speak through; taken away at the end, since it holds the script.
type Own = Option<Arc<Peer>>;

/// Logs on the one channel, as a server on stdio does, and answers at once unless it is told to wait.
fn logger(go: Arc<Notify>) -> (Arc<Mutex<Own>>, Arc<Peer>) {
    let own: Arc<Mutex<Own>> = Arc::default();
    let shared = own.clone();
    let peer = Peer::new(move |call: Call| {
        let (own, go) = (shared.clone(), go.clone());
        async move {
            let peer = own.lock().clone().unwrap();
            for level in ["debug", "info", "error"] {
                peer.tell("notifications/message", &json!({"level": level, "data": 1}));
            }
            if call.method == "slow" {
                go.notified().await;
            }
            call.give(json!({})).await;
        }
    });
    *own.lock() = Some(peer.clone());
    (own, peer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_request_that_wants_log_messages_gets_them_before_its_result() {
    let (own, peer) = logger(Arc::default());
    let connection = attributed(peer);
    for _ in 0..200 {
        let seen = plain(&connection, "tools/call", wanting("a", "info")).await;
        let levels: Vec<_> = seen.told.iter().map(|(_, params)| params["level"].clone()).collect();
        assert_eq!(levels, ["info", "error"]);
        assert!(seen.outcome.is_ok());
    }
    assert!(plain(&connection, "tools/call", json!({})).await.told.is_empty());
    own.lock().take();
}

#[tokio::test]
async fn nobody_sees_what_may_be_of_another_client() {
    let go = Arc::new(Notify::new());
    let (own, peer) = logger(go.clone());
    let connection = attributed(peer);
    let mut slow = connection.open(request("slow", &wanting("a", "error"))).unwrap();
    assert_eq!(told(&mut slow).await.1["level"], "error");
    assert!(plain(&connection, "tools/call", wanting("b", "debug")).await.told.is_empty());
    let foreign = Message::new(wanting("a", "debug").to_string()).with_header("biplane-principal", "mallory");
    let mut foreign = connection.open(Request::new(Subject::from_static("tools/call"), foreign)).unwrap();
    assert!(matches!(foreign.next_event().await, Some(Ok(biplane::Event::Item(_)))));
    drop(foreign);
    let same = plain(&connection, "tools/call", wanting("a", "debug")).await;
    assert_eq!(same.told.len(), 2, "the oldest of the client's requests takes what it admits");
    go.notify_one();
    assert_eq!(told(&mut slow).await.1["level"], "error");
    assert!(slow.next().await.unwrap().is_ok());
    own.lock().take();
}
