// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;

use serde_json::json;

use super::{Server, ask, column, down, is_ours};
use crate::merge::{Naming, merged};
use crate::view::Era;

fn read(uri: &str) -> String {
    json!({ "uri": uri }).to_string()
}

#[tokio::test]
async fn uris_stay_and_lead_to_who_listed_them() {
    let a = Arc::new(Server::legacy(&[]).with_resources(&["ui://app/a"]).with_templates(&["t://a/{x}"]));
    let b = Arc::new(
        Server::legacy(&[])
            .with_resources(&["ui://app/b"])
            .with_templates(&["t://b/{x}"])
            .with_readable(&["t://b/7", "hidden://b"]),
    );
    let view = || merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    let listed = ask(&view(), "resources/list", "").await.unwrap();
    assert_eq!(column(&listed, "resources", "uri"), ["ui://app/a", "ui://app/b"]);

    // Neither was listed by these: they look first, and ask only whose it is.
    for uri in ["ui://app/b", "t://b/7"] {
        let view = view();
        let before = a.asked("resources/read").len();
        assert_eq!(ask(&view, "resources/read", &read(uri)).await.unwrap(), json!({ "read": uri }));
        assert_eq!(a.asked("resources/read").len(), before, "{uri}");
    }
    // What nobody lists is asked for in order.
    let view = view();
    assert_eq!(ask(&view, "resources/read", &read("hidden://b")).await.unwrap(), json!({ "read": "hidden://b" }));
    assert_eq!(ask(&view, "resources/read", &read("no://such")).await.unwrap_err().0, -32002);
    assert_eq!(ask(&view, "resources/read", "{}").await.unwrap_err().0, -32602);
}

#[tokio::test]
async fn of_two_with_the_same_uri_both_can_be_read() {
    let a = Arc::new(Server::legacy(&[]).with_resources(&["file:///x"]));
    let b = Arc::new(Server::legacy(&[]).with_resources(&["file:///x"]));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Plain);
    let listed = ask(&view, "resources/list", "").await.unwrap();
    assert_eq!(column(&listed, "resources", "uri"), ["file:///x", "file:///x#biplane-upstream=b"]);
    ask(&view, "resources/read", &read("file:///x")).await.unwrap();
    ask(&view, "resources/read", &read("file:///x#biplane-upstream=b")).await.unwrap();
    assert_eq!(a.asked("resources/read"), [json!({"uri":"file:///x"})]);
    assert_eq!(b.asked("resources/read"), [json!({"uri":"file:///x"})]);

    ask(&view, "resources/subscribe", &read("file:///x#biplane-upstream=b")).await.unwrap();
    assert_eq!((a.asked("resources/subscribe").len(), b.asked("resources/subscribe").len()), (0, 1));
    b.say("notifications/resources/updated", r#"{"uri":"file:///x"}"#);
    let Some(biplane::Inbound::Notification(_, message)) = view.connection.receive().await.unwrap() else {
        panic!("no notification");
    };
    assert_eq!(message.text().unwrap(), r#"{"uri":"file:///x#biplane-upstream=b"}"#);
}

#[tokio::test]
async fn who_is_down_may_have_it() {
    let a = Arc::new(Server::legacy(&[]).with_resources(&["x://1"]));
    let view = merged(Era::Legacy, vec![a.part("a"), down("b")], Naming::Prefixed);
    ask(&view, "resources/read", &read("x://1")).await.unwrap();
    let (code, text) = ask(&view, "resources/read", &read("x://2")).await.unwrap_err();
    assert!(is_ours(code) && text.contains("\"b\""), "{code} {text}");
}

#[tokio::test]
async fn an_error_that_is_not_about_the_uri_is_the_answer() {
    let a = Arc::new(Server::legacy(&[]).with_resources(&["x://1"]).failing(&["resources/read"]));
    let b = Arc::new(Server::legacy(&[]).with_readable(&["x://1"]));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    assert_eq!(ask(&view, "resources/read", &read("x://1")).await.unwrap_err().0, -32603);
    assert!(b.asked("resources/read").is_empty());
}

#[tokio::test]
async fn methods_of_extensions_find_who_has_them() {
    let a = Arc::new(Server::new(Era::Legacy, &["tools"]).failing(&[]));
    let view = merged(Era::Legacy, vec![a.part("a"), down("b")], Naming::Prefixed);
    ask(&view, "own/method", "").await.unwrap();
    assert!(is_ours(ask(&view, "other/method", "").await.unwrap_err().0));
    let view = merged(Era::Modern, vec![a.part("a"), a.part("b")], Naming::Prefixed);
    assert_eq!(ask(&view, "ping", "").await.unwrap_err().0, -32601, "there is no ping in the modern era");
    let view = merged(Era::Legacy, vec![a.part("a"), a.part("b")], Naming::Prefixed);
    ask(&view, "ping", "").await.unwrap();
    assert!(a.asked("ping").len() == 2, "only the modern one went out");
}
