// SPDX-License-Identifier: Apache-2.0
//! A legacy client over a modern server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use biplane::ControlMessage;
use serde_json::{Value, json};

use super::peer::{Call, Peer, call, plain, received, request};
use crate::era::down;
use crate::view::{Client, Era, Facts, View};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";

pub(super) fn client(capabilities: &Value) -> Client {
    Client {
        version: "2025-06-18".to_owned(),
        info: r#"{"name":"old","version":"1"}"#.into(),
        capabilities: capabilities.to_string().into(),
        principal: String::new(),
    }
}

pub(super) fn facts(era: Era, version: &str, capabilities: &Value) -> Arc<Facts> {
    Arc::new(Facts {
        era,
        version: version.to_owned(),
        server_info: r#"{"name":"s","version":"2"}"#.into(),
        capabilities: capabilities.to_string().into(),
        instructions: None,
    })
}

fn session(peer: &Arc<Peer>, client: Client, capabilities: &Value) -> View {
    down(View { connection: peer.clone(), facts: facts(Era::Modern, "2026-07-28", capabilities) }, client)
}

#[tokio::test]
async fn a_request_is_made_to_describe_itself_and_its_result_is_a_legacy_one() {
    let peer = Peer::new(|call: Call| async move {
        call.tell("notifications/progress", &json!({"progressToken": 7, "progress": 1})).await;
        call.give(json!({"resultType": "complete", "ttlMs": 5, "cacheScope": "public", "tools": [{"name": "a"}],
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s"}, "mine": 1}}))
            .await;
    });
    let view = session(&peer, client(&json!({"roots": {}, "tasks": {}})), &json!({"logging": {}}));
    assert_eq!((view.facts.era, view.facts.version.as_str()), (Era::Legacy, "2025-06-18"));
    let params = json!({"cursor": "c", "_meta": {"progressToken": 7, "traceparent": "t"}});
    let seen = plain(&view.connection, "tools/list", params).await;
    assert_eq!(seen.result(), &json!({"tools": [{"name": "a"}], "_meta": {"mine": 1}}));
    assert_eq!(seen.told(), ["notifications/progress"]);
    let meta = &peer.asked()[0].1["_meta"];
    assert_eq!(
        (&meta[VERSION], &meta["progressToken"], &meta["traceparent"]),
        (&json!("2026-07-28"), &json!(7), &json!("t"))
    );
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "old");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"roots": {}}));
    assert_eq!(meta[LEVEL], "info");
    assert_eq!(peer.asked()[0].1["cursor"], "c");
}

#[tokio::test]
async fn what_is_gone_from_the_modern_era_is_answered_here() {
    let peer = Peer::new(|call: Call| async move { call.give(json!({"resultType": "complete"})).await });
    let view = session(&peer, client(&json!({})), &json!({"logging": {}}));
    assert_eq!(plain(&view.connection, "ping", json!({})).await.result(), &json!({}));
    assert_eq!(plain(&view.connection, "logging/setLevel", json!({"level": "error"})).await.result(), &json!({}));
    assert_eq!(plain(&view.connection, "logging/setLevel", json!({"level": "loud"})).await.code(), -32602);
    assert_eq!(plain(&view.connection, "tasks/list", json!({})).await.code(), -32601);
    assert_eq!(plain(&view.connection, "subscriptions/listen", json!({})).await.code(), -32601);
    for method in ["notifications/initialized", "notifications/roots/list_changed"] {
        view.connection.notify(&biplane::Subject::from_static(method), "".into()).await.unwrap();
    }
    assert!(peer.asked().is_empty() && peer.notified().is_empty());
    plain(&view.connection, "tools/list", json!({})).await;
    assert_eq!(peer.asked()[0].1["_meta"][LEVEL], "error");
}

#[tokio::test]
async fn input_that_is_required_is_asked_of_the_client_all_at_once() {
    const STATE: &str = "opaque \u{e9} \"state\"";
    let peer = Peer::new(|call: Call| async move {
        match call.params.get("inputResponses") {
            None => call.give(json!({"resultType": "input_required", "requestState": STATE, "inputRequests": {
                "name": {"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {"type": "object"}}},
                "capital": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
                "roots": {"method": "roots/list"}}}))
                .await,
            Some(_) => call.give(json!({"resultType": "complete", "content": []})).await,
        }
    });
    let view = session(&peer, client(&json!({"elicitation": {}, "sampling": {}, "roots": {}})), &json!({}));
    let seen = call(&view.connection, "tools/call", json!({"name": "t", "arguments": {"x": 1}}), |method, _| {
        Ok(match method {
            "elicitation/create" => json!({"action": "accept", "content": {"name": "Ann"}}),
            "sampling/createMessage" => {
                json!({"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"})
            }
            _ => json!({"roots": []}),
        })
    })
    .await;
    assert_eq!(seen.result(), &json!({"content": []}));
    assert_eq!(seen.questions.len(), 3);
    assert!(
        seen.questions.iter().any(|(method, params)| method == "elicitation/create" && params["message"] == "who?")
    );
    let retry = &peer.asked()[1].1;
    assert_eq!(
        (&retry["requestState"], &retry["name"], &retry["arguments"]),
        (&json!(STATE), &json!("t"), &json!({"x": 1}))
    );
    assert_eq!(retry["inputResponses"]["name"]["content"]["name"], "Ann");
    assert_eq!(retry["inputResponses"]["capital"]["model"], "m");
    assert_eq!(retry["inputResponses"]["roots"], json!({"roots": []}));
    assert_eq!(retry["_meta"][VERSION], "2026-07-28");
}

#[tokio::test]
async fn rounds_follow_each_other_and_one_of_state_alone_is_retried() {
    let peer = Peer::new(|call: Call| async move {
        let asks = |key: &str, state: &str| {
            json!({"resultType": "input_required", "requestState": state,
                "inputRequests": {key: {"method": "elicitation/create", "params": {"message": key}}}})
        };
        let next = match call.params["requestState"].as_str() {
            None => asks("one", "s1"),
            Some("s1") => json!({"resultType": "input_required", "requestState": "s2"}),
            Some("s2") if call.params.get("inputResponses").is_none() => asks("two", "s3"),
            _ => json!({"resultType": "complete", "got": call.params["inputResponses"]}),
        };
        call.give(next).await;
    });
    let view = session(&peer, client(&json!({"elicitation": {}})), &json!({}));
    let seen = call(&view.connection, "prompts/get", json!({"name": "p"}), |_, params| {
        Ok(json!({"action": "accept", "content": {"said": params["message"]}}))
    })
    .await;
    assert_eq!(seen.result()["got"], json!({"two": {"action": "accept", "content": {"said": "two"}}}));
    assert_eq!(peer.asked().len(), 4);
}

#[tokio::test]
async fn rounds_are_bounded() {
    let peer = Peer::new(|call: Call| async move {
        call.give(json!({"resultType": "input_required",
            "inputRequests": {"q": {"method": "roots/list"}}}))
            .await;
    });
    let view = session(&peer, client(&json!({"roots": {}})), &json!({}));
    let seen = call(&view.connection, "tools/call", json!({}), |_, _| Ok(json!({"roots": []}))).await;
    assert!(seen.outcome.unwrap_err().1.contains("17 times"));
}

#[tokio::test]
async fn a_client_is_not_asked_what_it_did_not_declare() {
    let peer = Peer::new(|call: Call| async move {
        call.give(json!({"resultType": "input_required",
            "inputRequests": {"q": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x"}}}}))
            .await;
    });
    let view = session(&peer, client(&json!({"elicitation": {}})), &json!({}));
    let seen = plain(&view.connection, "tools/call", json!({})).await;
    assert!(seen.outcome.unwrap_err().1.contains("did not declare"));
}

#[tokio::test]
async fn a_url_is_elicited_with_an_id_whose_end_is_told() {
    let peer = Peer::new(|call: Call| async move {
        match call.params.get("inputResponses") {
            None => call.give(json!({"resultType": "input_required", "inputRequests":
                {"q": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}}}}))
                .await,
            Some(_) => call.give(json!({"resultType": "complete"})).await,
        }
    });
    let view = session(&peer, client(&json!({"elicitation": {"url": {}}})), &json!({}));
    let seen = call(&view.connection, "tools/call", json!({}), |_, _| Ok(json!({"action": "accept"}))).await;
    let id = seen.questions[0].1["elicitationId"].as_str().unwrap().to_owned();
    assert_eq!(seen.told, [("notifications/elicitation/complete".to_owned(), json!({"elicitationId": id}))]);
}

#[tokio::test]
async fn a_client_that_fails_to_answer_calls_off_an_elicitation_and_ends_the_rest() {
    let peer = Peer::new(|call: Call| async move {
        let method = call.params["arguments"]["ask"].clone();
        match call.params.get("inputResponses").cloned() {
            None => {
                call.give(json!({"resultType": "input_required",
                "inputRequests": {"q": {"method": method, "params": {}}}}))
                    .await
            }
            Some(responses) => call.give(json!({"resultType": "complete", "got": responses})).await,
        }
    });
    let view = session(&peer, client(&json!({"elicitation": {}, "sampling": {}})), &json!({}));
    let refuse = |_: &str, _: &Value| Err((-1, "the user said no".to_owned()));
    let ask = |method: &str| json!({"arguments": {"ask": method}});
    let seen = call(&view.connection, "tools/call", ask("elicitation/create"), refuse).await;
    assert_eq!(seen.result()["got"]["q"], json!({"action": "cancel"}));
    let seen = call(&view.connection, "tools/call", ask("sampling/createMessage"), refuse).await;
    assert_eq!(seen.outcome.unwrap_err(), (-1, "the user said no".to_owned()));
}

#[tokio::test]
async fn a_missing_resource_has_the_legacy_code() {
    let peer = Peer::new(|call: Call| async move {
        let data = call.params.get("uri").map_or(json!(null), |uri| json!({"uri": uri}));
        call.fail(-32602, "not found", &data);
    });
    let view = session(&peer, client(&json!({})), &json!({}));
    assert_eq!(plain(&view.connection, "resources/read", json!({"uri": "a:1"})).await.code(), -32002);
    assert_eq!(plain(&view.connection, "resources/read", json!({})).await.code(), -32602);
    assert_eq!(plain(&view.connection, "tools/call", json!({"uri": "a:1"})).await.code(), -32602);
}

#[tokio::test]
async fn dropping_the_call_cancels_it_and_the_question_to_the_client() {
    let stopped = Arc::new(tokio::sync::Notify::new());
    let heard = stopped.clone();
    let peer = Peer::new(move |call: Call| {
        let stopped = stopped.clone();
        async move {
            assert_eq!(call.reply.stopped().await, ControlMessage::Kill);
            stopped.notify_one();
        }
    });
    let view = session(&peer, client(&json!({})), &json!({}));
    let mut stream = view.connection.open(request("tools/call", &json!({}))).unwrap();
    tokio::select! {
        _ = peer.saw("tools/call", 1) => {}
        _ = stream.next_event() => unreachable!(),
    }
    drop(stream);
    heard.notified().await;
}

/// Acknowledges everything, then says `notes`, and ends when `end` is notified.
fn listening(rounds: Arc<AtomicUsize>, end: Arc<tokio::sync::Notify>) -> Arc<Peer> {
    Peer::new(move |call: Call| {
        let (rounds, end) = (rounds.clone(), end.clone());
        async move {
            let round = rounds.fetch_add(1, Ordering::SeqCst);
            let tag = json!({"io.modelcontextprotocol/subscriptionId": round});
            let filter = call.params["notifications"].clone();
            call.tell("notifications/subscriptions/acknowledged", &json!({"_meta": tag, "notifications": filter}))
                .await;
            if filter["toolsListChanged"] == true {
                call.tell("notifications/tools/list_changed", &json!({"_meta": tag})).await;
            }
            for uri in filter["resourceSubscriptions"].as_array().into_iter().flatten() {
                call.tell("notifications/resources/updated", &json!({"_meta": tag, "uri": uri})).await;
            }
            tokio::select! {
                () = end.notified() => call.give(json!({"resultType": "complete"})).await,
                _ = call.reply.stopped() => {}
            }
        }
    })
}

#[tokio::test]
async fn subscriptions_and_changes_of_lists_come_on_one_stream() {
    let peer = listening(Arc::default(), Arc::default());
    let capabilities = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}});
    let view = session(&peer, client(&json!({})), &capabilities);
    assert_eq!(received(&view.connection).await, ("notifications/tools/list_changed".to_owned(), json!({})));
    assert_eq!(plain(&view.connection, "resources/subscribe", json!({"uri": "a:1"})).await.result(), &json!({}));
    assert_eq!(received(&view.connection).await.0, "notifications/tools/list_changed");
    assert_eq!(received(&view.connection).await, ("notifications/resources/updated".to_owned(), json!({"uri": "a:1"})));
    plain(&view.connection, "resources/unsubscribe", json!({"uri": "a:1"})).await;
    let filters: Vec<_> =
        peer.asked_for("subscriptions/listen").iter().map(|params| params["notifications"].clone()).collect();
    let lists = json!({"toolsListChanged": true});
    assert_eq!(filters, [lists.clone(), json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1"]}), lists]);
    view.connection.close(std::time::Duration::ZERO).await.unwrap();
    assert!(view.connection.receive().await.unwrap().is_none());
    assert!(view.connection.open(request("ping", &json!({}))).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_broke_is_opened_again_and_what_may_be_missed_is_told() {
    let end = Arc::new(tokio::sync::Notify::new());
    let peer = listening(Arc::default(), end.clone());
    let view = session(&peer, client(&json!({})), &json!({"resources": {"subscribe": true}}));
    plain(&view.connection, "resources/subscribe", json!({"uri": "a:1"})).await;
    assert_eq!(received(&view.connection).await.1["uri"], "a:1");
    end.notify_one();
    for _ in 0..2 {
        assert_eq!(received(&view.connection).await.1["uri"], "a:1");
    }
    assert_eq!(peer.asked().len(), 2);
}

#[tokio::test]
async fn a_subscription_that_the_server_does_not_honour_fails() {
    let peer = Peer::new(|call: Call| async move {
        call.tell("notifications/subscriptions/acknowledged", &json!({"notifications": {}})).await;
        call.reply.stopped().await;
    });
    let view = session(&peer, client(&json!({})), &json!({"resources": {"subscribe": true}}));
    assert_eq!(plain(&view.connection, "resources/subscribe", json!({"uri": "a:1"})).await.code(), -32602);
    assert_eq!(plain(&view.connection, "resources/subscribe", json!({})).await.code(), -32602);
    let none = session(&peer, client(&json!({})), &json!({"resources": {}}));
    assert_eq!(plain(&none.connection, "resources/subscribe", json!({"uri": "a:1"})).await.code(), -32601);
}
