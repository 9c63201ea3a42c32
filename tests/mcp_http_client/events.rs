// SPDX-License-Identifier: Apache-2.0
//! Answers that are streams of events: what comes before them, what breaks them, how they are resumed and given up.

use std::time::{Duration, Instant};

use biplane::{ErrorKind, Event, Inbound, Retry};
use serde_json::{Value, json};

use crate::script::*;

fn answer(asked: &Asked, result: Value) -> String {
    event(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result}))
}

fn only(asked: &Asked, act: impl FnOnce(&Asked) -> Act) -> Act {
    if asked.http == "GET" && asked.header("last-event-id").is_none() { Act::status(405) } else { act(asked) }
}

#[tokio::test]
async fn what_belongs_to_a_request_comes_on_its_stream_in_order_and_by_its_own_names() {
    let server = Server::start(legacy(|asked| {
        only(asked, |asked| {
            if asked.method() == "POST" {
                return Act::status(202);
            }
            let token = &asked.body["params"]["_meta"]["progressToken"];
            assert_ne!(token, "mine", "tokens are the link's own");
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}});
            let question = json!({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {}});
            let texts = [": comment\n\n".to_owned(), event(&progress), event(&log), event(&question)];
            let all = [texts.concat(), answer(asked, json!({"x": 1.50}))].concat();
            // Cut where it hurts.
            let (one, two) = all.split_at(all.len() / 3);
            Act::events(&[one, two])
        })
    }))
    .await;
    let connection = session(&server).await;
    let params = json!({"name": "t", "_meta": {"progressToken": "mine"}});
    let mut stream = connection.open(request("tools/call", &params)).unwrap();
    let (method, told) = notification(soon(stream.next_event()).await.unwrap().unwrap());
    assert_eq!((method.as_str(), &told["progressToken"]), ("notifications/progress", &json!("mine")));
    assert_eq!(notification(soon(stream.next_event()).await.unwrap().unwrap()).0, "notifications/message");
    let Some(Ok(Event::Inbound(Inbound::Request(_, reply)))) = soon(stream.next_event()).await else { panic!() };
    reply.send("{}").await.unwrap();
    let Some(Ok(Event::Item(item))) = soon(stream.next_event()).await else { panic!() };
    assert_eq!(parsed(&item), json!({"x": 1.5}));
    assert!(soon(stream.next_event()).await.is_none());
    assert_eq!(server.seen("POST").await.body["id"], 7);
    // Over and done: nobody is told to stop.
    drop(stream);
    soon(connection.close(Duration::from_secs(1))).await.unwrap();
    server.seen("DELETE").await;
    assert!(server.asked().iter().all(|asked| asked.method() != "notifications/cancelled"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_may_have_run() {
    for cut in [true, false] {
        let server = Server::start(legacy(move |asked| {
            only(asked, |_| {
                let act = Act::events(&["data: \n\n", ": more\n\n"]);
                if cut { act.cut() } else { act }
            })
        }))
        .await;
        let connection = session(&server).await;
        let error = soon(connection.request(request("tools/call", &json!({})))).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Never), "{error:?}");
    }
}

#[tokio::test]
async fn a_marked_stream_is_resumed_when_the_server_asked_for_it() {
    for cut in [true, false] {
        let server = Server::start(legacy(move |asked| {
            only(asked, |asked| match asked.header("last-event-id") {
                Some("a-1") => {
                    let answer = json!({"jsonrpc": "2.0", "id": 2, "result": {"resumed": true}});
                    Act::events(&[&format!("id: a-2\ndata: {answer}\n\n")])
                }
                _ => {
                    let act = Act::events(&["id: a-1\nretry: 300\ndata: \n\n"]);
                    if cut { act.cut() } else { act }
                }
            })
        }))
        .await;
        let connection = session(&server).await;
        // The link's second request, after the handshake's.
        let started = Instant::now();
        let result = soon(connection.request(request("tools/call", &json!({})))).await.unwrap();
        assert_eq!(parsed(&result), json!({"resumed": true}));
        assert!(started.elapsed() >= Duration::from_millis(300), "it came back too early");
        assert_eq!(server.nth("GET", 1).await.header("mcp-session-id"), Some("session-1"));
    }
}

#[tokio::test]
async fn a_server_that_will_not_resume_ends_the_request() {
    let server = Server::start(legacy(|asked| match asked.method() {
        "GET" => Act::status(405),
        _ => Act::events(&["id: a-1\nretry: 1\ndata: \n\n"]),
    }))
    .await;
    let connection = session(&server).await;
    let error = soon(connection.request(request("tools/call", &json!({})))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Never), "{error:?}");
}

#[tokio::test]
async fn giving_up_tells_a_legacy_server_by_a_notification() {
    let server = Server::start(legacy(|asked| only(asked, |_| Act::events(&["data: \n\n"]).hang()))).await;
    let connection = session(&server).await;
    let mut stream = connection.open(request("tools/call", &json!({}))).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), stream.next()).await.is_err());
    let id = server.seen("tools/call").await.body["id"].clone();
    drop(stream);
    let told = server.seen("notifications/cancelled").await;
    assert_eq!(told.body["params"]["requestId"], id);
    assert_eq!(told.header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn a_deadline_gives_up_too() {
    let server = Server::start(legacy(|asked| only(asked, |_| Act::events(&[": still here\n\n"]).hang()))).await;
    let connection = session(&server).await;
    let late = request("tools/call", &json!({})).with_timeout(Duration::from_millis(100));
    assert_eq!(soon(connection.request(late)).await.unwrap_err().kind(), ErrorKind::Timeout);
    server.seen("notifications/cancelled").await;
}

#[tokio::test]
async fn many_streams_that_wait_do_not_keep_an_answer_from_its_server() {
    // More than the pool has links: each holds one, and waits for the answer to its question.
    const STREAMS: usize = 120;
    let server = Server::start(legacy(|asked| {
        only(asked, |asked| match asked.method() {
            "POST" => Act::status(202),
            _ => {
                let id = &asked.body["id"];
                Act::events(&[&event(&json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}))]).hang()
            }
        })
    }))
    .await;
    let connection = session(&server).await;
    let mut streams: Vec<_> =
        (0..STREAMS).map(|_| connection.open(request("tools/call", &json!({}))).unwrap()).collect();
    // A hundred of them have a link.
    for stream in &mut streams[..100] {
        let Some(Ok(Event::Inbound(Inbound::Request(_, reply)))) = soon(stream.next_event()).await else { panic!() };
        reply.send("{}").await.unwrap();
    }
    server.nth("POST", 99).await;
}
