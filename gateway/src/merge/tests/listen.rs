// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;

use biplane::{Error, Event, Inbound, Message, Request, ResponseSender, ResponseStream, Subject};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Server, ask, down};
use crate::merge::{Naming, Part, State, merged};
use crate::view::{Era, View};

fn modern() -> Server {
    Server::new(Era::Modern, &["tools", "resources"])
}

fn listen(view: &View, filter: &Value) -> ResponseStream {
    let params = json!({ "notifications": filter, "_meta": {} }).to_string();
    view.connection.open(Request::new(Subject::from_static("subscriptions/listen"), params)).unwrap()
}

async fn say(sender: &ResponseSender, method: &'static str, params: Value) {
    let message = Message::new(params.to_string());
    sender.send_inbound(Inbound::Notification(Subject::from_static(method), message)).await.unwrap();
}

async fn acknowledge(sender: &ResponseSender, filter: Value) {
    say(sender, "notifications/subscriptions/acknowledged", json!({ "notifications": filter })).await;
}

async fn next(stream: &mut ResponseStream) -> (String, Value) {
    match stream.next_event().await {
        Some(Ok(Event::Inbound(Inbound::Notification(method, message)))) => {
            let params = serde_json::from_slice(&message.body).unwrap_or_default();
            (method.to_string(), params)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_acknowledgement_with_the_union_then_the_events_of_all() {
    let a = Arc::new(modern().with_resources(&["x://a"]));
    let b = Arc::new(modern().with_resources(&["x://b"]));
    let view = merged(Era::Modern, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    ask(&view, "resources/list", "{}").await.unwrap();
    let filter = json!({"toolsListChanged":true,"resourceSubscriptions":["x://a","x://b"]});
    let mut stream = listen(&view, &filter);
    let (of_a, of_b) = (a.listener(), b.listener());
    assert_eq!(a.asked("subscriptions/listen")[0]["notifications"]["resourceSubscriptions"], json!(["x://a"]));
    assert_eq!(b.asked("subscriptions/listen")[0]["notifications"]["resourceSubscriptions"], json!(["x://b"]));

    // News of one that has acknowledged wait for the other's word.
    acknowledge(&of_b, json!({"resourceSubscriptions":["x://b"]})).await;
    say(&of_b, "notifications/resources/updated", json!({"uri":"x://b"})).await;
    assert!(stream.next_event().now_or_never().is_none());
    acknowledge(&of_a, json!({"toolsListChanged":true})).await;
    let (method, params) = next(&mut stream).await;
    assert_eq!(method, "notifications/subscriptions/acknowledged");
    assert_eq!(params["notifications"], json!({"toolsListChanged":true,"resourceSubscriptions":["x://b"]}));
    assert_eq!(next(&mut stream).await, ("notifications/resources/updated".to_owned(), json!({"uri":"x://b"})));
    say(&of_a, "notifications/tools/list_changed", json!({})).await;
    assert_eq!(next(&mut stream).await.0, "notifications/tools/list_changed");

    // It ends when all have ended.
    of_a.send(r#"{"resultType":"complete"}"#).await.unwrap();
    of_a.close();
    assert!(stream.next_event().now_or_never().is_none());
    of_b.fail(Error::closed("died"));
    assert!(matches!(stream.next_event().await, Some(Ok(Event::Item(_)))));
    assert!(stream.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_does_not_hold_up_the_acknowledgement() {
    let (a, b) = (Arc::new(modern()), Arc::new(modern()));
    let view = merged(Era::Modern, vec![a.part("a"), b.part("b"), down("c")], Naming::Prefixed);
    let mut stream = listen(&view, &json!({"toolsListChanged":true}));
    let (of_a, _silent) = (a.listener(), b.listener());
    acknowledge(&of_a, json!({"toolsListChanged":true})).await;
    let (_, params) = next(&mut stream).await;
    assert_eq!(params["notifications"], json!({"toolsListChanged":true}));
}

#[tokio::test]
async fn one_that_comes_up_is_listened_to_and_told_of() {
    let (a, b) = (Arc::new(modern()), Arc::new(modern()));
    let (state, watched) = watch::channel(State::down(Error::connect("not yet")));
    let view = merged(Era::Modern, vec![a.part("a"), Part::new("b", watched)], Naming::Prefixed);
    let mut stream = listen(&view, &json!({"toolsListChanged":true}));
    acknowledge(&a.listener(), json!({})).await;
    let (_, params) = next(&mut stream).await;
    assert_eq!(params["notifications"], json!({"toolsListChanged":true}), "we tell of it ourselves");
    state.send_replace(State::Up(b.view()));
    assert_eq!(next(&mut stream).await.0, "notifications/tools/list_changed");
    let of_b = b.listener();
    acknowledge(&of_b, json!({"toolsListChanged":true})).await;
    say(&of_b, "notifications/tools/list_changed", json!({})).await;
    assert_eq!(next(&mut stream).await.0, "notifications/tools/list_changed", "and not acknowledged twice");
}

#[tokio::test]
async fn with_everyone_down_there_is_nothing_to_listen_to() {
    let view = merged(Era::Modern, vec![down("a"), down("b")], Naming::Prefixed);
    let mut stream = listen(&view, &json!({"toolsListChanged":true}));
    assert!(stream.next_event().await.unwrap().is_err());
    let bare = Request::new(Subject::from_static("subscriptions/listen"), "{}");
    let refused = view.connection.open(bare).unwrap_err();
    assert_eq!(refused.peer().unwrap().code, -32602);
}
