// SPDX-License-Identifier: Apache-2.0
//! Both bridges, one behind the other, and real links of messages between them: what goes in comes out.

use std::sync::Arc;

use async_trait::async_trait;
use biplane::testing::rpc_pair;
use biplane::{Connection, Event, Inbound, PeerError};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::down::{client, facts};
use super::peer::{Call, Peer, call, plain, received, request, told};
use super::up::{Sessions, modern, server};
use crate::era::{LegacySessions, down, up};
use crate::view::{Client, Era, View};

/// Serves `behind` at one end of a link, and gives the other: what a listener and a dialer do.
fn linked(behind: Arc<dyn Connection>) -> Arc<dyn Connection> {
    let (near, far) = rpc_pair();
    tokio::spawn({
        let (far, behind) = (far.clone(), behind.clone());
        async move {
            while let Ok(Some(inbound)) = behind.receive().await {
                match inbound {
                    Inbound::Notification(subject, message) => drop(far.notify(&subject, message).await),
                    Inbound::Request(request, reply) => drop(tokio::spawn(relay(far.open(request).unwrap(), reply))),
                }
            }
        }
    });
    tokio::spawn(async move {
        while let Ok(Some(inbound)) = far.receive().await {
            match inbound {
                Inbound::Notification(subject, message) => drop(behind.notify(&subject, message).await),
                Inbound::Request(request, reply) => match behind.open(request) {
                    Ok(stream) => drop(tokio::spawn(relay(stream, reply))),
                    Err(error) => reply.fail(PeerError::from(error)),
                },
            }
        }
    });
    near
}

async fn relay(mut stream: biplane::ResponseStream, reply: biplane::ResponseSender) {
    loop {
        let event = tokio::select! {
            event = stream.next_event() => event,
            _ = reply.stopped() => return,
        };
        match event {
            Some(Ok(Event::Item(item))) => drop(reply.send(item).await),
            Some(Ok(Event::Inbound(inbound))) => drop(reply.send_inbound(inbound).await),
            Some(Err(error)) => return reply.fail(PeerError::from(error)),
            None => return reply.close(),
        }
    }
}

/// A legacy client, a modern link, and a legacy server.
fn legacy_to_legacy(peer: &Arc<Peer>, client: Client, capabilities: &Value) -> View {
    let (modern, _) = server(peer, capabilities);
    down(View { connection: linked(modern), facts: facts(Era::Modern, "2026-07-28", capabilities) }, client)
}

/// Every session goes down to the same modern server, over a link of its own.
#[derive(Debug)]
struct Downs(Arc<Peer>, Value, Mutex<Option<View>>);

impl Downs {
    fn session(&self, client: &Client) -> View {
        let modern = View { connection: linked(self.0.clone()), facts: facts(Era::Modern, "2026-07-28", &self.1) };
        let legacy = down(modern, client.clone());
        View { connection: linked(legacy.connection), facts: legacy.facts }
    }
}

#[async_trait]
impl LegacySessions for Downs {
    async fn shared(&self, client: &Client) -> biplane::Result<View> {
        let plain = Client { capabilities: "{}".into(), ..client.clone() };
        Ok(self.2.lock().get_or_insert_with(|| self.session(&plain)).clone())
    }

    async fn exclusive(&self, client: &Client) -> biplane::Result<View> {
        Ok(self.session(client))
    }
}

fn modern_to_modern(peer: &Arc<Peer>, capabilities: &Value) -> Arc<dyn Connection> {
    let sessions = Arc::new(Downs(peer.clone(), capabilities.clone(), Mutex::default()));
    linked(up(sessions, facts(Era::Legacy, "2025-11-25", capabilities)).connection)
}

async fn legacy_tool(call: Call) {
    match call.params["name"].as_str() {
        Some("ask") => {
            let one = json!({"message": "who?", "requestedSchema": {"type": "object"}});
            let two =
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 3});
            call.tell(
                "notifications/progress",
                &json!({"progressToken": call.params["_meta"]["progressToken"], "progress": 1}),
            )
            .await;
            let name = call.ask("elicitation/create", &one).await;
            let sampled = call.ask("sampling/createMessage", &two).await;
            match (name, sampled) {
                (Ok(name), Ok(sampled)) => call.give(json!({"content": [], "name": name, "sampled": sampled})).await,
                _ => call.fail(1, "no answer", &json!(null)),
            }
        }
        Some("fail") => call.fail(-32002, "not there", &json!({"uri": "a:1", "more": 1.50})),
        _ => call.give(json!({"content": [{"type": "text", "text": "\u{e9}"}], "structuredContent": {"n": 1e3}})).await,
    }
}

fn answer(method: &str, _params: &Value) -> super::peer::Outcome {
    Ok(match method {
        "elicitation/create" => json!({"action": "accept", "content": {"name": "Ann"}}),
        "sampling/createMessage" => {
            json!({"role": "assistant", "content": {"type": "text", "text": "yes"}, "model": "m", "stopReason": "endTurn"})
        }
        _ => json!({"roots": []}),
    })
}

#[tokio::test]
async fn a_legacy_client_sees_its_legacy_server_through_both() {
    let peer = Peer::new(legacy_tool);
    let all = json!({"elicitation": {}, "sampling": {}, "roots": {}});
    let view = legacy_to_legacy(&peer, client(&all), &json!({"tools": {}}));
    let plain_result = plain(&view.connection, "tools/call", json!({"name": "x", "arguments": {"a": [1, {}]}})).await;
    let expected = json!({"content": [{"type": "text", "text": "\u{e9}"}], "structuredContent": {"n": 1e3}});
    assert_eq!(plain_result.result(), &expected);
    assert_eq!(peer.asked()[0].1, json!({"name": "x", "arguments": {"a": [1, {}]}}));
    let params = json!({"name": "ask", "_meta": {"progressToken": "mine"}});
    let seen = call(&view.connection, "tools/call", params, answer).await;
    assert_eq!(seen.result()["name"], json!({"action": "accept", "content": {"name": "Ann"}}));
    assert_eq!(seen.result()["sampled"]["content"]["text"], "yes");
    assert_eq!(seen.told, [("notifications/progress".to_owned(), json!({"progressToken": "mine", "progress": 1}))]);
    assert_eq!(peer.asked_for("tools/call").len(), 2, "the server saw one call, however many rounds it took");
    assert_eq!(plain(&view.connection, "resources/read", json!({"name": "fail", "uri": "a:1"})).await.code(), -32002);
}

#[tokio::test]
async fn a_legacy_client_hears_of_changes_through_both() {
    let peer = Peer::new(|call: Call| async move { call.give(json!({})).await });
    let capabilities = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}});
    let view = legacy_to_legacy(&peer, client(&json!({})), &capabilities);
    assert_eq!(plain(&view.connection, "resources/subscribe", json!({"uri": "a:1"})).await.result(), &json!({}));
    peer.tell("notifications/resources/updated", &json!({"uri": "a:1", "x": 1}));
    assert_eq!(
        received(&view.connection).await,
        ("notifications/resources/updated".to_owned(), json!({"uri": "a:1", "x": 1}))
    );
    peer.tell("notifications/tools/list_changed", &json!({}));
    assert_eq!(received(&view.connection).await.0, "notifications/tools/list_changed");
    plain(&view.connection, "resources/unsubscribe", json!({"uri": "a:1"})).await;
    assert_eq!(peer.saw("resources/unsubscribe", 1).await, [json!({"uri": "a:1"})]);
}

async fn modern_tool(call: Call) {
    const KEYS: [&str; 2] = ["user_name", "capital"];
    match (call.method.as_str(), call.params.get("inputResponses"), call.params["requestState"].as_str()) {
        ("subscriptions/listen", ..) => {
            let notifications = call.params["notifications"].clone();
            call.tell("notifications/subscriptions/acknowledged", &json!({"notifications": notifications})).await;
            call.tell("notifications/prompts/list_changed", &json!({"n": 1})).await;
            call.reply.stopped().await;
        }
        (_, None, _) if call.params["name"] == "ask" => {
            call.give(json!({"resultType": "input_required", "requestState": "s", "inputRequests": {
                KEYS[0]: {"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {"type": "object"}}},
                KEYS[1]: {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 3}}}}))
                .await;
        }
        (_, Some(responses), Some("s")) => {
            let got = responses.clone();
            call.give(json!({"resultType": "complete", "content": [], "got": got})).await;
        }
        _ => call.give(json!({"resultType": "complete", "content": []})).await,
    }
}

#[tokio::test]
async fn a_modern_client_sees_its_modern_server_through_both() {
    let peer = Peer::new(modern_tool);
    let connection = modern_to_modern(&peer, &json!({"tools": {}}));
    let all = json!({"elicitation": {}, "sampling": {}});
    let first = plain(&connection, "tools/call", modern(json!({"name": "ask"}), &all)).await;
    let requests = &first.result()["inputRequests"];
    assert_eq!(requests["user_name"]["params"], json!({"message": "who?", "requestedSchema": {"type": "object"}}));
    assert_eq!(requests["capital"]["method"], "sampling/createMessage");
    let responses = json!({"user_name": answer("elicitation/create", &json!({})).unwrap(),
        "capital": answer("sampling/createMessage", &json!({})).unwrap()});
    let retry = json!({"name": "ask", "requestState": first.result()["requestState"], "inputResponses": responses});
    let second = plain(&connection, "tools/call", modern(retry, &all)).await;
    assert_eq!(second.result()["got"], responses);
    assert_eq!(second.result()["resultType"], "complete");
    let meta = &peer.asked()[0].1["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], all);
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "new");
}

#[tokio::test]
async fn a_modern_client_listens_through_both() {
    let peer = Peer::new(modern_tool);
    let connection = modern_to_modern(&peer, &json!({"prompts": {"listChanged": true}}));
    let filter = json!({"notifications": {"promptsListChanged": true, "toolsListChanged": true}});
    let mut stream = connection.open(request("subscriptions/listen", &modern(filter, &json!({})))).unwrap();
    let (method, params) = told(&mut stream).await;
    assert_eq!(
        (method.as_str(), &params["notifications"]),
        ("notifications/subscriptions/acknowledged", &json!({"promptsListChanged": true}))
    );
    let (method, params) = told(&mut stream).await;
    assert_eq!((method.as_str(), &params["n"]), ("notifications/prompts/list_changed", &json!(1)));
}

#[tokio::test]
async fn a_held_call_is_cancelled_at_the_far_end() {
    let peer = Peer::new(legacy_tool);
    let sessions = Sessions::of(&peer, json!({}));
    let connection = up(sessions, facts(Era::Legacy, "2025-11-25", &json!({}))).connection;
    let params = modern(json!({"name": "ask"}), &json!({"elicitation": {}}));
    let seen = plain(&connection, "tools/call", params).await;
    assert_eq!(seen.result()["resultType"], "input_required");
    drop(connection);
    // The question fails, with it the tool, and its task ends without having been answered.
    peer.idle().await;
}
