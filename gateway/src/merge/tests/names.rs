// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;

use biplane::{Event, Request, Subject};
use serde_json::json;

use super::{Server, ask, column, down, is_ours};
use crate::merge::{Naming, ToolFilter, merged};
use crate::view::Era;

#[tokio::test]
async fn a_prefix_leads_to_its_upstream_and_comes_off() {
    let (a, b) = (Arc::new(Server::legacy(&["echo"])), Arc::new(Server::legacy(&["echo", "_odd_name"])));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["a_echo", "b_echo", "b__odd_name"]);
    for (name, own) in [("b_echo", "echo"), ("b__odd_name", "_odd_name")] {
        let params = format!(r#"{{"name":"{name}","arguments":{{"n":1.50}},"_meta":{{"progressToken":"7"}}}}"#);
        assert_eq!(ask(&view, "tools/call", &params).await.unwrap(), json!({ "called": own }));
    }
    assert_eq!(b.asked("tools/call")[0], json!({"name":"echo","arguments":{"n":1.50},"_meta":{"progressToken":"7"}}));
    assert!(a.asked("tools/call").is_empty());
    for unknown in ["echo", "c_echo", "a_", ""] {
        let (code, _) = ask(&view, "tools/call", &format!(r#"{{"name":"{unknown}"}}"#)).await.unwrap_err();
        assert_eq!(code, -32602, "{unknown}");
    }
    assert_eq!(ask(&view, "tools/call", "{}").await.unwrap_err().0, -32602);
}

#[tokio::test]
async fn what_comes_before_the_answer_comes_through() {
    let a = Arc::new(Server::legacy(&["echo"]));
    let view = merged(Era::Legacy, vec![a.part("a"), down("b")], Naming::Prefixed);
    let request = Request::new(Subject::from_static("tools/call"), r#"{"name":"a_echo"}"#);
    let mut stream = view.connection.open(request).unwrap();
    assert!(matches!(stream.next_event().await, Some(Ok(Event::Inbound(_)))));
    assert!(matches!(stream.next_event().await, Some(Ok(Event::Item(_)))));
    assert!(stream.next_event().await.is_none());
}

#[tokio::test]
async fn plain_names_go_to_the_first_that_has_them_and_the_others_keep_a_prefixed_one() {
    let (a, b) = (Arc::new(Server::legacy(&["x", "only_a"])), Arc::new(Server::legacy(&["x", "y"])));
    let parts = || vec![a.part("a"), b.part("b")];
    let view = merged(Era::Legacy, parts(), Naming::Plain);
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["x", "only_a", "b_x", "y"]);

    // Another replica, or another session: nothing was listed, and the lists are read only as far as it takes.
    for (name, of_b, own) in [("x", false, "x"), ("b_x", true, "x"), ("y", true, "y"), ("only_a", false, "only_a")] {
        let fresh = merged(Era::Legacy, parts(), Naming::Plain);
        let (at_a, at_b) = (a.asked("tools/call").len(), b.asked("tools/call").len());
        let params = format!(r#"{{"name":"{name}"}}"#);
        assert_eq!(ask(&fresh, "tools/call", &params).await.unwrap(), json!({ "called": own }), "{name}");
        let (now_a, now_b) = (a.asked("tools/call").len(), b.asked("tools/call").len());
        assert_eq!((now_a - at_a, now_b - at_b), (usize::from(!of_b), usize::from(of_b)), "{name}");
    }
    assert_eq!(ask(&view, "tools/call", r#"{"name":"z"}"#).await.unwrap_err().0, -32602);
}

#[tokio::test]
async fn a_known_plain_name_costs_no_list() {
    let (a, b) = (Arc::new(Server::legacy(&["x"])), Arc::new(Server::legacy(&["y"])));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Plain);
    ask(&view, "tools/list", "").await.unwrap();
    for _ in 0..3 {
        ask(&view, "tools/call", r#"{"name":"y"}"#).await.unwrap();
    }
    assert_eq!((a.asked("tools/list").len(), b.asked("tools/list").len()), (1, 1));
    // Nor does an unknown one, while the lists are new.
    ask(&view, "tools/call", r#"{"name":"z"}"#).await.unwrap_err();
    assert_eq!((a.asked("tools/list").len(), b.asked("tools/list").len()), (1, 1));
}

#[tokio::test]
async fn shortened_names_find_their_tool_without_memory() {
    let (one, two) = (format!("{}1", "t".repeat(140)), format!("{}2", "t".repeat(140)));
    let a = Arc::new(Server::legacy(&[&one, &two, "short"]).with_page(1));
    let parts = || vec![a.part("a"), down("b")];
    let view = merged(Era::Legacy, parts(), Naming::Prefixed);
    let mut names = Vec::new();
    let mut params = String::new();
    loop {
        let page = ask(&view, "tools/list", &params).await.unwrap();
        names.extend(column(&page, "tools", "name").into_iter().map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { break };
        params = format!(r#"{{"cursor":"{next}"}}"#);
    }
    assert!(names.len() == 3 && names.iter().all(|name| name.len() <= 128), "{names:?}");
    for (name, own) in names.iter().zip([&one, &two]) {
        let replica = merged(Era::Legacy, parts(), Naming::Prefixed);
        let params = format!(r#"{{"name":"{name}"}}"#);
        for _ in 0..2 {
            assert_eq!(ask(&replica, "tools/call", &params).await.unwrap(), json!({ "called": own }));
        }
    }
}

#[tokio::test]
async fn a_call_to_an_upstream_that_is_down_says_which_and_why() {
    let a = Arc::new(Server::legacy(&["x"]));
    for naming in [Naming::Prefixed, Naming::Plain] {
        let view = merged(Era::Legacy, vec![a.part("a"), down("b")], naming);
        let (code, text) = ask(&view, "tools/call", r#"{"name":"b_x"}"#).await.unwrap_err();
        assert!(is_ours(code) && text.contains("\"b\"") && text.contains("nobody listens"), "{code} {text}");
    }
    // Whether the one that is down has it, nobody can say.
    let view = merged(Era::Legacy, vec![a.part("a"), down("b")], Naming::Plain);
    let (code, text) = ask(&view, "tools/call", r#"{"name":"z"}"#).await.unwrap_err();
    assert!(is_ours(code) && text.contains("\"b\""), "{code} {text}");
}

#[tokio::test]
async fn what_is_filtered_is_neither_seen_nor_called() {
    let a = Arc::new(Server::legacy(&["get", "put", "drop"]));
    let filter = ToolFilter::new(vec!["*".to_owned()], vec!["drop".to_owned()]);
    let view = merged(Era::Legacy, vec![a.part("a").with_filter(filter)], Naming::Plain);
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["get", "put"]);
    ask(&view, "tools/call", r#"{"name":"put"}"#).await.unwrap();
    assert_eq!(ask(&view, "tools/call", r#"{"name":"drop"}"#).await.unwrap_err().0, -32602);
    assert_eq!(a.asked("tools/call").len(), 1);
}

#[tokio::test]
async fn completions_follow_their_reference() {
    let a = Arc::new(Server::legacy(&[]).with_prompts(&["p"]).with_templates(&["a://{id}"]));
    let b = Arc::new(Server::legacy(&[]).with_prompts(&["p"]).with_templates(&["b://{id}"]));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    let params = r#"{"ref":{"type":"ref/prompt","name":"b_p"},"argument":{"name":"x","value":"1"}}"#;
    let answer = ask(&view, "completion/complete", params).await.unwrap();
    assert_eq!(answer["of"], json!({"type":"ref/prompt","name":"p"}));
    let params = r#"{"ref":{"type":"ref/resource","uri":"b://{id}"},"argument":{"name":"id","value":"1"}}"#;
    ask(&view, "completion/complete", params).await.unwrap();
    assert_eq!((a.asked("completion/complete").len(), b.asked("completion/complete").len()), (0, 2));
    assert_eq!(ask(&view, "completion/complete", r#"{"ref":{"type":"?"}}"#).await.unwrap_err().0, -32602);
}

#[tokio::test]
async fn a_single_plain_upstream_is_handed_through() {
    let a = Arc::new(Server::legacy(&["x"]));
    let view = merged(Era::Legacy, vec![a.part("a")], Naming::Plain);
    assert_eq!(view.connection.info().transport.as_str(), "mock");
    assert_eq!(view.facts.server_info, a.view().facts.server_info);
    let prefixed = merged(Era::Legacy, vec![a.part("a")], Naming::Prefixed);
    assert_eq!(prefixed.connection.info().transport.as_str(), "merge");
}
