// SPDX-License-Identifier: Apache-2.0
//! A modern client over a legacy server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use biplane::{Connection, ControlMessage, Message, Request, Subject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::down::facts;
use super::peer::{Call, Peer, Seen, outcome, plain, request};
use crate::era::{LegacySessions, Limits, up_within};
use crate::view::{Client, Era, View};

const STATE_ERROR: i64 = -32602;

/// Sessions with one scripted server.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) peer: Mutex<Arc<Peer>>,
    pub(super) capabilities: Value,
    /// Who was given an exclusive session.
    pub(super) leased: Mutex<Vec<Client>>,
    pub(super) shared: AtomicUsize,
}

impl Sessions {
    pub(super) fn of(peer: &Arc<Peer>, capabilities: Value) -> Arc<Self> {
        let peer = Mutex::new(peer.clone());
        Arc::new(Self { peer, capabilities, leased: Mutex::default(), shared: AtomicUsize::new(0) })
    }

    fn view(&self) -> View {
        let connection = self.peer.lock().clone();
        View { connection, facts: facts(Era::Legacy, "2025-11-25", &self.capabilities) }
    }
}

#[async_trait]
impl LegacySessions for Sessions {
    async fn shared(&self, _client: &Client) -> biplane::Result<View> {
        self.shared.fetch_add(1, Ordering::SeqCst);
        Ok(self.view())
    }

    async fn exclusive(&self, client: &Client) -> biplane::Result<View> {
        self.leased.lock().push(client.clone());
        Ok(self.view())
    }
}

pub(super) fn server(peer: &Arc<Peer>, capabilities: &Value) -> (Arc<dyn Connection>, Arc<Sessions>) {
    server_within(peer, capabilities, Limits::default())
}

fn server_within(peer: &Arc<Peer>, capabilities: &Value, limits: Limits) -> (Arc<dyn Connection>, Arc<Sessions>) {
    let sessions = Sessions::of(peer, capabilities.clone());
    let facts = facts(Era::Legacy, "2025-11-25", capabilities);
    (up_within(sessions.clone(), &facts, limits).connection, sessions)
}

/// The params of a modern request.
pub(super) fn modern(mut params: Value, capabilities: &Value) -> Value {
    let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "new", "version": "1"});
    meta["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
    params
}

fn everything() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

async fn ask(connection: &Arc<dyn Connection>, params: Value) -> Seen {
    plain(connection, "tools/call", modern(params, &everything())).await
}

fn accept(content: &Value) -> Value {
    json!({"action": "accept", "content": content})
}

/// Asks for a name, on the call's stream, and greets.
async fn greeter(call: Call) {
    let asked = json!({"message": "who?", "requestedSchema": {"type": "object"}, "elicitationId": "x",
        "_meta": {"biplane/inputKey": "user_name"}});
    match call.ask("elicitation/create", &asked).await {
        Ok(answer) => call.give(json!({"content": [{"type": "text", "text": answer["content"]["name"]}]})).await,
        Err((code, message)) => call.give(json!({"isError": true, "content": [], "why": [code, message]})).await,
    }
}

#[tokio::test]
async fn discover_is_answered_from_the_facts() {
    let peer = Peer::new(|call: Call| async move { call.give(json!({})).await });
    let (connection, _) = server(&peer, &json!({"tools": {"listChanged": true}, "tasks": {}}));
    let seen = plain(&connection, "server/discover", modern(json!({}), &json!({}))).await;
    assert_eq!(
        seen.result(),
        &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {"listChanged": true}}, "ttlMs": 0, "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "2"}}})
    );
    assert!(peer.asked().is_empty());
}

#[tokio::test]
async fn a_request_that_does_not_describe_itself_is_refused() {
    let peer = Peer::new(|call: Call| async move { call.give(json!({})).await });
    let (connection, _) = server(&peer, &json!({}));
    let without = |key: &str| {
        let mut params = modern(json!({}), &json!({}));
        params["_meta"].as_object_mut().unwrap().remove(key);
        params
    };
    for params in [
        json!({}),
        json!({"_meta": 1}),
        without("io.modelcontextprotocol/protocolVersion"),
        without("io.modelcontextprotocol/clientCapabilities"),
        modern(json!({"_meta": {"io.modelcontextprotocol/logLevel": "loud"}}), &json!({})),
    ] {
        assert_eq!(plain(&connection, "tools/list", params).await.code(), -32602);
    }
    assert!(plain(&connection, "tools/list", without("io.modelcontextprotocol/clientInfo")).await.outcome.is_ok());
    let mut strange = modern(json!({}), &json!({}));
    strange["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("v999.0.0");
    let mut stream = connection.open(request("tools/list", &strange)).unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    let error = error.peer().unwrap();
    assert_eq!(error.code, -32022);
    let data: Value = serde_json::from_slice(&error.data).unwrap();
    assert_eq!(data, json!({"supported": ["2026-07-28"], "requested": "v999.0.0"}));
}

#[tokio::test]
async fn methods_that_the_modern_era_dropped_are_unknown() {
    let peer = Peer::new(|call: Call| async move { call.fail(-32601, "what?", &json!(null)) });
    let (connection, _) = server(&peer, &json!({}));
    for method in
        ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/get"]
    {
        assert_eq!(plain(&connection, method, modern(json!({}), &json!({}))).await.code(), -32601);
    }
    assert!(peer.asked().is_empty());
    assert_eq!(plain(&connection, "unknown/method", modern(json!({}), &json!({}))).await.code(), -32601);
}

#[tokio::test]
async fn a_plain_request_goes_to_the_shared_session_without_what_is_modern_in_it() {
    let peer = Peer::new(|call: Call| async move {
        call.tell("notifications/progress", &json!({"progressToken": 1, "progress": 1})).await;
        call.tell("notifications/message", &json!({"level": "error", "data": 1})).await;
        call.give(json!({"tools": [], "ttlMs": 9})).await;
    });
    let (connection, sessions) = server(&peer, &json!({}));
    let params = json!({"cursor": "c", "_meta": {"progressToken": 1}});
    let seen = plain(&connection, "tools/list", modern(params.clone(), &everything())).await;
    assert_eq!(peer.asked(), [("tools/list".to_owned(), params)]);
    assert_eq!(seen.told(), ["notifications/progress"], "no logs for who did not ask for them");
    let result = seen.result();
    assert_eq!(
        (&result["resultType"], &result["ttlMs"], &result["cacheScope"]),
        (&json!("complete"), &json!(9), &json!("private"))
    );
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "s");
    plain(&connection, "tools/call", modern(json!({"name": "x"}), &json!({}))).await;
    assert!(sessions.leased.lock().is_empty());
}

#[tokio::test]
async fn a_missing_resource_has_the_modern_code_and_its_name() {
    let peer = Peer::new(|call: Call| async move { call.reply.fail(biplane::PeerError::new(-32002, "not found")) });
    let (connection, _) = server(&peer, &json!({}));
    let params = modern(json!({"uri": "a:1"}), &json!({}));
    let mut stream = connection.open(request("resources/read", &params)).unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    let error = error.peer().unwrap().clone();
    assert_eq!((error.code, &error.data[..]), (-32602, &br#"{"uri":"a:1"}"#[..]));
}

#[tokio::test]
async fn a_question_becomes_a_result_and_the_retry_its_answer() {
    let peer = Peer::new(greeter);
    let (connection, sessions) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"name": "t", "arguments": {"a": 1, "b": 2}})).await;
    let result = first.result();
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(
        result["inputRequests"],
        json!({"user_name": {"method": "elicitation/create",
        "params": {"message": "who?", "requestedSchema": {"type": "object"}}}})
    );
    assert_eq!(sessions.leased.lock()[0].capabilities, everything().to_string());
    let retry = json!({"name": "t", "arguments": {"b": 2, "a": 1}, "requestState": result["requestState"],
        "inputResponses": {"user_name": accept(&json!({"name": "Ann"})), "extra": {"x": 1}}});
    let second = ask(&connection, retry.clone()).await;
    assert_eq!(second.result()["content"][0]["text"], "Ann");
    assert_eq!(second.result()["resultType"], "complete");
    assert_eq!(peer.asked().len(), 1, "the call was held open");
    assert_eq!(ask(&connection, retry).await.code(), STATE_ERROR, "a state is good once");
}

#[tokio::test]
async fn a_state_is_good_for_its_own_request_only() {
    let peer = Peer::new(greeter);
    let (connection, _) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"name": "t"})).await;
    let state = first.result()["requestState"].as_str().unwrap().to_owned();
    let responses = json!({"user_name": accept(&json!({"name": "Ann"}))});
    let retry = |name: &str, state: &str| json!({"name": name, "requestState": state, "inputResponses": responses});
    let mut other = state.clone().into_bytes();
    other[63] ^= 1;
    for params in [
        retry("t", &format!("{state}-TAMPERED")),
        retry("t", &String::from_utf8(other).unwrap()),
        retry("t", ""),
        retry("another", &state),
        json!({"name": "t", "requestState": 7, "inputResponses": responses}),
    ] {
        assert_eq!(ask(&connection, params).await.code(), STATE_ERROR);
    }
    let stolen = modern(retry("t", &state), &everything()).to_string();
    let stolen = Message::new(stolen).with_header("biplane-principal", "mallory");
    let mut stream = connection.open(Request::new(Subject::from_static("tools/call"), stolen)).unwrap();
    assert!(stream.next().await.unwrap().is_err());
    let second = ask(&connection, retry("t", &state)).await;
    assert_eq!(second.result()["content"][0]["text"], "Ann", "none of these used it up");
}

#[tokio::test]
async fn answers_of_no_shape_are_refused_and_the_call_stays_held() {
    let peer = Peer::new(greeter);
    let (connection, _) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"name": "t"})).await;
    let state = &first.result()["requestState"];
    for responses in [json!(null), json!([1]), json!({"user_name": 12345}), json!({"user_name": {"action": "dance"}})] {
        let retry = json!({"name": "t", "requestState": state, "inputResponses": responses});
        assert_eq!(ask(&connection, retry).await.code(), -32602, "{responses}");
    }
    let empty = ask(&connection, json!({"name": "t", "requestState": state, "inputResponses": {"wrong": {}}})).await;
    assert_eq!(empty.result()["resultType"], "input_required", "what is missing is asked again");
    assert!(empty.result()["inputRequests"].get("user_name").is_some());
    assert_ne!(&empty.result()["requestState"], state);
    let state = &empty.result()["requestState"];
    let retry = json!({"name": "t", "requestState": state, "inputResponses": {"user_name": {"action": "decline"}}});
    assert!(ask(&connection, retry).await.outcome.is_ok());
}

#[tokio::test]
async fn answers_that_come_with_the_first_request_are_used() {
    let peer = Peer::new(greeter);
    let (connection, _) = server(&peer, &json!({}));
    let given = json!({"name": "t", "inputResponses": {"user_name": accept(&json!({"name": "Ann"})), "x": {}}});
    assert_eq!(ask(&connection, given).await.result()["content"][0]["text"], "Ann");
    let wrong = ask(&connection, json!({"name": "t", "inputResponses": {"wrong": {"action": "accept"}}})).await;
    assert_eq!(wrong.result()["resultType"], "input_required");
    let bad = ask(&connection, json!({"name": "t", "inputResponses": {"user_name": 12345}})).await;
    assert_eq!(bad.code(), -32602);
}

/// Asks three things at once, off the call's stream as a server on one byte stream does, then a fourth.
fn inquisitor(peer: Arc<Mutex<Option<Arc<Peer>>>>) -> Arc<Peer> {
    Peer::new(move |call: Call| {
        let peer = peer.clone();
        async move {
            let peer = peer.lock().clone().unwrap();
            let name = json!({"message": "who?"});
            let sample = json!({"messages": [], "maxTokens": 1});
            let nothing = json!({});
            let (a, b, c) = tokio::join!(
                peer.ask("elicitation/create", &name),
                peer.ask("sampling/createMessage", &sample),
                peer.ask("roots/list", &nothing),
            );
            let d = call.ask("elicitation/create", &name).await;
            call.give(json!({"content": [], "got": [a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()]})).await;
        }
    })
}

fn answers_of(requests: &Value) -> Value {
    let answers = requests.as_object().unwrap().iter().map(|(key, request)| {
        let answer = match request["method"].as_str().unwrap() {
            "elicitation/create" => accept(&json!({"key": key})),
            "sampling/createMessage" => {
                json!({"role": "assistant", "content": {"type": "text", "text": "t"}, "model": "m"})
            }
            _ => json!({"roots": []}),
        };
        (key.clone(), answer)
    });
    Value::Object(answers.collect())
}

#[tokio::test]
async fn what_is_asked_at_once_is_one_round_and_what_comes_later_another() {
    let own = Arc::new(Mutex::new(None));
    let peer = inquisitor(own.clone());
    *own.lock() = Some(peer.clone());
    let (connection, _) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"name": "t"})).await;
    let mut keys: Vec<_> = first.result()["inputRequests"].as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["elicitation-1", "roots-1", "sampling-1"]);
    let retry = |round: &Seen| {
        json!({"name": "t", "requestState": round.result()["requestState"],
            "inputResponses": answers_of(&round.result()["inputRequests"])})
    };
    let second = ask(&connection, retry(&first)).await;
    assert_eq!(second.result()["inputRequests"].as_object().unwrap().keys().collect::<Vec<_>>(), ["elicitation-2"]);
    assert_ne!(second.result()["requestState"], first.result()["requestState"]);
    let third = ask(&connection, retry(&second)).await;
    assert_eq!(third.result()["got"][0]["content"]["key"], "elicitation-1");
    assert_eq!(third.result()["got"][1]["model"], "m");
    assert_eq!(third.result()["got"][3]["content"]["key"], "elicitation-2");
    own.lock().take();
}

#[tokio::test]
async fn a_client_is_asked_only_what_it_declared() {
    let peer = Peer::new(greeter);
    let (connection, sessions) = server(&peer, &json!({}));
    for capabilities in [json!({}), json!({"sampling": {}})] {
        let params = modern(json!({"name": "t"}), &capabilities);
        let mut stream = connection.open(request("tools/call", &params)).unwrap();
        let error = stream.next().await.unwrap().unwrap_err();
        let error = error.peer().unwrap().clone();
        assert_eq!(error.code, -32021);
        let data: Value = serde_json::from_slice(&error.data).unwrap();
        assert_eq!(data, json!({"requiredCapabilities": {"elicitation": {}}}));
    }
    assert_eq!(sessions.leased.lock().len(), 1);
}

#[tokio::test]
async fn a_server_that_does_without_what_it_cannot_ask_succeeds() {
    let peer = Peer::new(|call: Call| async move {
        let refused = call.ask("roots/list", &json!({})).await.is_err();
        let pong = call.ask("ping", &json!({})).await.unwrap();
        call.give(json!({"content": [], "refused": refused, "pong": pong})).await;
    });
    let (connection, _) = server(&peer, &json!({}));
    let seen = plain(&connection, "tools/call", modern(json!({}), &json!({}))).await;
    assert_eq!((&seen.result()["refused"], &seen.result()["pong"]), (&json!(true), &json!({})));
}

#[tokio::test]
async fn urls_that_must_be_opened_first_are_asked_for_and_the_call_made_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let peer = Peer::new(move |call: Call| {
        let tries = tries.clone();
        async move {
            match tries.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => call.fail(
                    -32042,
                    "sign in first",
                    &json!({"elicitations": [
                    {"mode": "url", "message": "m", "url": "https://x", "elicitationId": "e"}]}),
                ),
                _ => call.give(json!({"content": []})).await,
            }
        }
    });
    let (connection, _) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"name": "t"})).await;
    let question =
        json!({"method": "elicitation/create", "params": {"message": "m", "mode": "url", "url": "https://x"}});
    assert_eq!(first.result()["inputRequests"], json!({"elicitation-1": question}));
    let retry = |action: &str, state: &Value| json!({"name": "t", "requestState": state, "inputResponses": {"elicitation-1": {"action": action}}});
    let second = ask(&connection, retry("accept", &first.result()["requestState"])).await;
    assert_eq!(second.result()["content"], json!([]));
    let first = ask(&connection, json!({"name": "t"})).await;
    assert_eq!(ask(&connection, retry("decline", &first.result()["requestState"])).await.code(), -32603);
    let unable = plain(&connection, "tools/call", modern(json!({}), &json!({"elicitation": {}}))).await;
    assert!(unable.outcome.is_ok());
    let unable = plain(&connection, "tools/call", modern(json!({}), &json!({"elicitation": {}}))).await;
    assert_eq!(unable.code(), -32021);
}

#[tokio::test(start_paused = true)]
async fn a_held_call_ends_when_its_client_does_not_come_back() {
    let ended = Arc::new(Notify::new());
    let heard = ended.clone();
    let peer = Peer::new(move |call: Call| {
        let ended = ended.clone();
        async move {
            let answer = outcome(call.put("elicitation/create", &json!({"message": "who?"})).await).await;
            assert!(answer.unwrap_err().1.contains("in time"));
            assert_eq!(call.reply.stopped().await, ControlMessage::Kill);
            ended.notify_one();
        }
    });
    let (connection, _) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"name": "t"})).await;
    heard.notified().await;
    let retry = json!({"name": "t", "requestState": first.result()["requestState"], "inputResponses": {}});
    assert_eq!(ask(&connection, retry).await.code(), STATE_ERROR);
}

#[tokio::test]
async fn held_calls_are_bounded() {
    let peer = Peer::new(greeter);
    let (connection, _) = server_within(&peer, &json!({}), Limits { held_each: 1, ..Limits::default() });
    assert!(ask(&connection, json!({"name": "t"})).await.outcome.is_ok());
    let (_, message) = ask(&connection, json!({"name": "t"})).await.outcome.unwrap_err();
    assert!(message.contains("wait for its answers"), "{message}");
}

#[tokio::test]
async fn dropping_the_stream_cancels_the_call() {
    let stopped = Arc::new(Notify::new());
    let heard = stopped.clone();
    let peer = Peer::new(move |call: Call| {
        let stopped = stopped.clone();
        async move {
            call.reply.stopped().await;
            stopped.notify_one();
        }
    });
    let (connection, _) = server(&peer, &json!({}));
    let mut stream = connection.open(request("tools/call", &modern(json!({}), &everything()))).unwrap();
    tokio::select! {
        _ = peer.saw("tools/call", 1) => {}
        _ = stream.next_event() => unreachable!(),
    }
    drop(stream);
    heard.notified().await;
}

/// Logs off the call's stream, at two levels, and answers at once.
fn logger(own: Arc<Mutex<Option<Arc<Peer>>>>) -> Arc<Peer> {
    Peer::new(move |call: Call| {
        let own = own.clone();
        async move {
            if call.method == "tools/call" {
                let peer = own.lock().clone().unwrap();
                peer.tell("notifications/message", &json!({"level": "debug", "data": 0}));
                peer.tell("notifications/message", &json!({"level": "warning", "data": 1}));
                call.tell("notifications/message", &json!({"level": "error", "data": 2})).await;
            }
            call.give(json!({"content": []})).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn log_messages_go_to_the_call_that_wants_them() {
    let wanting = |level: &str| json!({"_meta": {"io.modelcontextprotocol/logLevel": level}});
    for capabilities in [json!({}), everything()] {
        let own = Arc::new(Mutex::new(None));
        let peer = logger(own.clone());
        *own.lock() = Some(peer.clone());
        let (connection, _) = server(&peer, &json!({"logging": {}}));
        for _ in 0..50 {
            let seen = plain(&connection, "tools/call", modern(wanting("info"), &capabilities)).await;
            let mut logged: Vec<_> = seen.told.iter().map(|(_, params)| params["data"].as_i64().unwrap()).collect();
            logged.sort_unstable();
            assert_eq!(logged, [1, 2]);
        }
        assert_eq!(peer.asked_for("logging/setLevel")[0], json!({"level": "info"}));
        let seen = plain(&connection, "tools/call", modern(json!({}), &capabilities)).await;
        assert!(seen.told.is_empty());
        own.lock().take();
    }
}

#[tokio::test]
async fn two_calls_that_want_logs_do_not_share_a_session() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let peer = Peer::new(move |call: Call| {
        let wait = wait.clone();
        async move {
            if call.params["name"] == "slow" {
                wait.notified().await;
            }
            call.give(json!({})).await;
        }
    });
    let (connection, sessions) = server(&peer, &json!({"logging": {}}));
    let wanting =
        |name: &str| modern(json!({"name": name, "_meta": {"io.modelcontextprotocol/logLevel": "info"}}), &json!({}));
    let slow = tokio::spawn({
        let (connection, params) = (connection.clone(), wanting("slow"));
        async move { plain(&connection, "tools/call", params).await }
    });
    peer.saw("tools/call", 1).await;
    assert!(plain(&connection, "tools/call", wanting("fast")).await.outcome.is_ok());
    assert_eq!(sessions.leased.lock().len(), 1);
    go.notify_one();
    assert!(slow.await.unwrap().outcome.is_ok());
    plain(&connection, "tools/call", wanting("fast")).await;
    assert_eq!(sessions.leased.lock().len(), 1, "the place is free again");
}

#[tokio::test]
async fn progress_carries_the_token_of_the_request_that_is_answered() {
    let peer = Peer::new(|call: Call| async move {
        let token = &call.params["_meta"]["progressToken"].clone();
        call.tell("notifications/progress", &json!({"progressToken": token, "progress": 1})).await;
        drop(call.ask("roots/list", &json!({})).await);
        call.tell("notifications/progress", &json!({"progressToken": token, "progress": 2})).await;
        call.give(json!({})).await;
    });
    let (connection, _) = server(&peer, &json!({}));
    let first = ask(&connection, json!({"_meta": {"progressToken": "a"}})).await;
    assert_eq!(first.told[0].1["progressToken"], "a");
    let retry = json!({"requestState": first.result()["requestState"], "inputResponses": {"roots-1": {"roots": []}},
        "_meta": {"progressToken": "b"}});
    let second = ask(&connection, retry).await;
    assert_eq!(second.told, [("notifications/progress".to_owned(), json!({"progressToken": "b", "progress": 2}))]);
}

#[tokio::test]
async fn a_call_that_did_not_run_is_made_once_more_on_another_session() {
    let tries = Arc::new(AtomicUsize::new(0));
    let lost_for = |most: usize| {
        let tries = tries.clone();
        Peer::new(move |call: Call| {
            let tries = tries.clone();
            async move {
                if tries.fetch_add(1, Ordering::SeqCst) < most {
                    let lost = biplane::Error::closed("the session is unknown").with_retry(biplane::Retry::Safe);
                    return call.reply.refuse(lost);
                }
                call.give(json!({})).await;
            }
        })
    };
    let (connection, sessions) = server(&lost_for(1), &json!({}));
    assert!(plain(&connection, "tools/list", modern(json!({}), &json!({}))).await.outcome.is_ok());
    assert_eq!(sessions.shared.load(Ordering::SeqCst), 2);
    tries.store(0, Ordering::SeqCst);
    let (connection, _) = server(&lost_for(2), &json!({}));
    assert!(plain(&connection, "tools/list", modern(json!({}), &json!({}))).await.outcome.is_err());
}
