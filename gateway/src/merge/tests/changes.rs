// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;

use biplane::{Error, Inbound, Message, Subject};
use tokio::sync::watch;

use super::{Server, ask, column, is_ours};
use crate::merge::{Naming, Part, State, merged};
use crate::view::{Era, View};

async fn next(view: &View) -> String {
    match view.connection.receive().await.unwrap() {
        Some(Inbound::Notification(method, _)) => method.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_upstream_that_comes_up_brings_its_lists() {
    let a = Arc::new(Server::new(Era::Legacy, &["tools"]).with_tools(&["x"]));
    let b = Arc::new(Server::new(Era::Legacy, &["tools", "logging", "resources"]).with_tools(&["y"]));
    let (state, watched) = watch::channel(State::down(Error::connect("not yet")));
    let view = merged(Era::Legacy, vec![a.part("a"), Part::new("b", watched)], Naming::Prefixed);
    let claimed: serde_json::Value = serde_json::from_slice(&view.facts.capabilities).unwrap();
    assert_eq!(claimed["prompts"]["listChanged"], true, "it may bring some");
    assert!(is_ours(ask(&view, "tools/call", r#"{"name":"b_y"}"#).await.unwrap_err().0));
    let _ = ask(&view, "logging/setLevel", r#"{"level":"info"}"#).await;

    state.send_replace(State::Up(b.view()));
    assert_eq!(next(&view).await, "notifications/tools/list_changed");
    assert_eq!(next(&view).await, "notifications/resources/list_changed");
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["a_x", "b_y"]);
    ask(&view, "tools/call", r#"{"name":"b_y"}"#).await.unwrap();
    b.say("own/news", "{}");
    assert_eq!(next(&view).await, "own/news");
    assert_eq!(b.asked("logging/setLevel"), [serde_json::json!({"level":"info"})], "what was said before it was there");

    state.send_replace(State::down(Error::closed("died")));
    assert_eq!(next(&view).await, "notifications/tools/list_changed");
    assert_eq!(next(&view).await, "notifications/resources/list_changed");
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["a_x"]);
    let (code, text) = ask(&view, "tools/call", r#"{"name":"b_y"}"#).await.unwrap_err();
    assert!(is_ours(code) && text.contains("died"), "{code} {text}");
}

#[tokio::test]
async fn a_plain_name_does_not_change_hands_while_its_upstream_is_down() {
    let (a, b) = (Arc::new(Server::legacy(&["x"])), Arc::new(Server::legacy(&["x"])));
    let (state, watched) = watch::channel(State::Up(a.view()));
    let view = merged(Era::Legacy, vec![Part::new("a", watched), b.part("b")], Naming::Plain);
    ask(&view, "tools/list", "").await.unwrap();
    state.send_replace(State::down(Error::closed("died")));
    let (code, text) = ask(&view, "tools/call", r#"{"name":"x"}"#).await.unwrap_err();
    assert!(is_ours(code) && text.contains("\"a\""), "{code} {text}");
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["b_x"]);
    assert!(b.asked("tools/call").is_empty());
}

#[tokio::test]
async fn subscriptions_are_made_again_with_an_upstream_that_was_started_anew() {
    let a = Arc::new(Server::legacy(&[]).with_resources(&["x://1", "x://2"]));
    let again = Arc::new(Server::legacy(&[]).with_resources(&["x://1", "x://2"]));
    let (state, watched) = watch::channel(State::Up(a.view()));
    let view = merged(Era::Legacy, vec![Part::new("a", watched)], Naming::Prefixed);
    for uri in ["x://1", "x://2"] {
        ask(&view, "resources/subscribe", &format!(r#"{{"uri":"{uri}"}}"#)).await.unwrap();
    }
    ask(&view, "resources/unsubscribe", r#"{"uri":"x://1"}"#).await.unwrap();
    state.send_replace(State::Up(again.view()));
    again.say("own/news", "{}");
    while next(&view).await != "own/news" {}
    assert_eq!(again.asked("resources/subscribe"), [serde_json::json!({"uri":"x://2"})]);
}

#[tokio::test]
async fn a_changed_list_is_forwarded_and_read_again() {
    let (a, b) = (Arc::new(Server::legacy(&["x"])), Arc::new(Server::legacy(&["y"])));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Plain);
    ask(&view, "tools/list", "").await.unwrap();
    b.set_tools(&["z"]);
    b.say("notifications/tools/list_changed", "");
    assert_eq!(next(&view).await, "notifications/tools/list_changed");
    ask(&view, "tools/call", r#"{"name":"z"}"#).await.unwrap();
    assert_eq!((a.asked("tools/list").len(), b.asked("tools/list").len()), (1, 2));
}

#[tokio::test]
async fn what_a_client_says_unasked_goes_to_all_but_its_greeting() {
    let (a, b) = (Arc::new(Server::legacy(&[])), Arc::new(Server::legacy(&[])));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Plain);
    for method in ["notifications/initialized", "notifications/roots/list_changed"] {
        view.connection.notify(&Subject::from_static(method), Message::default()).await.unwrap();
    }
    assert_eq!(a.told(), ["notifications/roots/list_changed"]);
    assert_eq!(b.told(), ["notifications/roots/list_changed"]);
    ask(&view, "logging/setLevel", r#"{"level":"info"}"#).await.unwrap();
    assert_eq!((a.asked("logging/setLevel").len(), b.asked("logging/setLevel").len()), (1, 1));
}
