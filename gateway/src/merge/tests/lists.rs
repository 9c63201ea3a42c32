// SPDX-License-Identifier: Apache-2.0

use std::sync::Arc;

use serde_json::json;

use super::{Server, ask, column, down, is_ours};
use crate::merge::{Naming, merged};
use crate::view::{Era, View};

/// All pages, as a client reads them that stops at an empty page or at the end.
async fn all(view: &View, method: &'static str, list: &str, key: &str) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut params) = (Vec::new(), 0, "{}".to_owned());
    loop {
        let page = ask(view, method, &params).await.unwrap();
        let part = column(&page, list, key);
        pages += 1;
        assert!(pages < 100 && (!part.is_empty() || page.get("nextCursor").is_none()), "an empty page in the middle");
        names.extend(part.into_iter().map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { return (names, pages) };
        params = json!({ "cursor": next }).to_string();
    }
}

#[tokio::test]
async fn pages_of_all_come_side_by_side() {
    let a = Arc::new(Server::legacy(&["1", "2", "3", "4", "5"]).with_page(2));
    let b = Arc::new(Server::legacy(&["1"]));
    let c = Arc::new(Server::legacy(&["1", "2", "3"]).with_page(1));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b"), c.part("c")], Naming::Prefixed);
    let (names, pages) = all(&view, "tools/list", "tools", "name").await;
    assert_eq!(names, ["a_1", "a_2", "b_1", "c_1", "a_3", "a_4", "c_2", "a_5", "c_3"]);
    assert_eq!(pages, 3);
    assert_eq!(b.asked("tools/list").len(), 1);
}

#[tokio::test]
async fn plain_names_are_the_same_on_every_page_and_every_replica() {
    let a = Arc::new(Server::legacy(&["1", "2", "x"]).with_page(1));
    let b = Arc::new(Server::legacy(&["x", "y"]).with_page(1));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Plain);
    let (names, _) = all(&view, "tools/list", "tools", "name").await;
    assert_eq!(names, ["1", "b_x", "2", "y", "x"]);
    // The second page, by a replica that has seen nothing.
    let first = ask(&view, "tools/list", "").await.unwrap();
    let replica = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Plain);
    let params = json!({ "cursor": first["nextCursor"] }).to_string();
    let second = ask(&replica, "tools/list", &params).await.unwrap();
    assert_eq!(column(&second, "tools", "name"), ["2", "y"]);
}

#[tokio::test]
async fn empty_pages_of_an_upstream_do_not_end_the_list() {
    let a = Arc::new(Server::legacy(&["1", "2", "3", "4"]).with_page(0));
    let view = merged(Era::Legacy, vec![a.part("a")], Naming::Prefixed);
    let (names, _) = all(&view, "tools/list", "tools", "name").await;
    assert_eq!(names, ["a_3", "a_4"], "what the script gives on its pages that are not empty");
}

#[tokio::test]
async fn a_bad_cursor_is_invalid_params() {
    let a = Arc::new(Server::legacy(&["1", "2"]).with_page(1));
    let view = merged(Era::Legacy, vec![a.part("a"), down("b")], Naming::Prefixed);
    let foreign = crate::merge::cursor::write([("nobody", "at 1")]);
    let stale = crate::merge::cursor::write([("a", "gone")]);
    for cursor in ["\"abc\"", "7", &format!("\"{foreign}\""), &format!("\"{stale}\"")] {
        let (code, _) = ask(&view, "tools/list", &format!(r#"{{"cursor":{cursor}}}"#)).await.unwrap_err();
        assert_eq!(code, -32602, "{cursor}");
    }
}

#[tokio::test]
async fn one_bad_upstream_is_told_and_hides_nobody() {
    let a = Arc::new(Server::legacy(&["x"]));
    let broken = Arc::new(Server::legacy(&["y"]).failing(&["tools/list"]));
    let view = merged(Era::Legacy, vec![a.part("a"), down("b"), broken.part("c")], Naming::Prefixed);
    let tools = ask(&view, "tools/list", "").await.unwrap();
    assert_eq!(column(&tools, "tools", "name"), ["a_x"]);
    let told = &tools["_meta"]["dev.biplane/upstreams"];
    assert!(is_ours(told["b"]["error"]["code"].as_i64().unwrap()), "{told}");
    assert!(told["b"]["error"]["message"].as_str().unwrap().contains("nobody listens"));
    assert_eq!(told["c"]["error"]["code"], -32603);
    assert!(told.get("a").is_none());
    // A healthy list says nothing of upstreams.
    let prompts = merged(Era::Legacy, vec![a.part("a")], Naming::Prefixed);
    assert!(ask(&prompts, "prompts/list", "").await.unwrap().get("_meta").is_none());
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_keeps_nobody_waiting_for_long() {
    let a = Arc::new(Server::legacy(&["x"]));
    let b = Arc::new(Server::legacy(&["y"]).hanging(&["tools/list", "logging/setLevel"]));
    for naming in [Naming::Prefixed, Naming::Plain] {
        let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], naming);
        let tools = ask(&view, "tools/list", "").await.unwrap();
        assert_eq!(column(&tools, "tools", "name").len(), 1);
        let code = tools["_meta"]["dev.biplane/upstreams"]["b"]["error"]["code"].as_i64().unwrap();
        assert!(is_ours(code), "{tools}");
        ask(&view, "logging/setLevel", r#"{"level":"info"}"#).await.unwrap();
        let name = if naming == Naming::Prefixed { "b_y" } else { "x" };
        ask(&view, "tools/call", &json!({ "name": name }).to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_list_without_anyone_is_an_error_and_no_empty_list() {
    let broken = Arc::new(Server::legacy(&["y"]).failing(&["tools/list"]));
    let view = merged(Era::Legacy, vec![down("a"), down("b")], Naming::Prefixed);
    let (code, text) = ask(&view, "tools/list", "").await.unwrap_err();
    assert!(is_ours(code) && text.contains("\"a\"") && text.contains("\"b\""), "{code} {text}");
    let view = merged(Era::Legacy, vec![broken.part("a")], Naming::Prefixed);
    assert_eq!(ask(&view, "tools/list", "").await.unwrap_err(), (-32603, "broken".to_owned()));
}

#[tokio::test]
async fn who_claims_no_such_list_is_not_asked() {
    let a = Arc::new(Server::new(Era::Legacy, &["tools"]).with_tools(&["x"]));
    let b = Arc::new(Server::new(Era::Legacy, &["prompts"]).with_prompts(&["p"]));
    let view = merged(Era::Legacy, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    ask(&view, "tools/list", "").await.unwrap();
    ask(&view, "prompts/list", "").await.unwrap();
    assert_eq!((a.asked("prompts/list").len(), b.asked("tools/list").len()), (0, 0));
    assert_eq!(ask(&view, "resources/list", "").await.unwrap_err().0, -32601);
    assert_eq!(ask(&view, "logging/setLevel", r#"{"level":"info"}"#).await.unwrap_err().0, -32601);
}

#[tokio::test]
async fn cache_hints_are_the_strictest() {
    let server = |ttl: u64, scope: &str| {
        let extra = json!({ "ttlMs": ttl, "cacheScope": scope, "resultType": "complete", "x": ttl });
        Arc::new(Server::new(Era::Modern, &["tools"]).with_tools(&["t"]).with_extra(extra))
    };
    let (a, b, c) = (server(5000, "public"), server(100, "public"), server(7000, "private"));
    let view = merged(Era::Modern, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    let tools = ask(&view, "tools/list", r#"{"_meta":{}}"#).await.unwrap();
    assert_eq!((&tools["ttlMs"], &tools["cacheScope"], &tools["x"]), (&json!(100), &json!("public"), &json!(5000)));
    assert_eq!(tools["resultType"], "complete");
    let view = merged(Era::Modern, vec![a.part("a"), c.part("c"), down("d")], Naming::Prefixed);
    let tools = ask(&view, "tools/list", r#"{"_meta":{}}"#).await.unwrap();
    assert_eq!((&tools["ttlMs"], &tools["cacheScope"]), (&json!(0), &json!("private")), "incomplete: not to be kept");
}

#[tokio::test]
async fn discover_is_joined() {
    let server = |versions: &[&str], capabilities: serde_json::Value, says: &str| {
        let extra = json!({
            "resultType": "complete", "supportedVersions": versions, "capabilities": capabilities,
            "instructions": says, "ttlMs": 1000, "cacheScope": "public",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": says, "version": "1" } },
        });
        Arc::new(Server::new(Era::Modern, &["tools"]).with_extra(extra))
    };
    let a = server(&["2026-07-28", "2025-11-25"], json!({"tools":{}}), "use a");
    let b = server(&["2026-07-28"], json!({"resources":{"subscribe":true}}), "use b");
    let view = merged(Era::Modern, vec![a.part("a"), b.part("b")], Naming::Prefixed);
    let found = ask(&view, "server/discover", r#"{"_meta":{}}"#).await.unwrap();
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["capabilities"], json!({"tools":{},"resources":{"subscribe":true}}));
    assert_eq!(found["instructions"], "# a\n\nuse a\n\n# b\n\nuse b");
    assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "biplane-gateway");
    assert_eq!(found["ttlMs"], 1000);
    let view = merged(Era::Modern, vec![down("a"), down("b")], Naming::Prefixed);
    assert!(is_ours(ask(&view, "server/discover", "{}").await.unwrap_err().0));
}
