// SPDX-License-Identifier: Apache-2.0
//! What a gateway meets at its edges: requests of strangers, of the confused, and of those who reuse their ids.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Test;
use crate::client::{Outcome, Session, VERSION, call, initialize, modern};
use crate::http::{Answer, Request};
use crate::place::Gateway;
use crate::support::eventually;

pub(crate) const TESTS: &[Test] = &[
    ("edges::a_foreign_origin_is_forbidden", a_foreign_origin_is_forbidden),
    ("edges::a_foreign_host_is_forbidden", a_foreign_host_is_forbidden),
    ("edges::an_unknown_session_is_not_found", an_unknown_session_is_not_found),
    ("edges::a_request_without_its_session_is_bad", a_request_without_its_session_is_bad),
    ("edges::an_unknown_version_is_bad", an_unknown_version_is_bad),
    ("edges::malformed_json_is_a_parse_error", malformed_json_is_a_parse_error),
    ("edges::a_batch_is_refused", a_batch_is_refused),
    ("edges::a_megabyte_goes_both_ways", a_megabyte_goes_both_ways),
    ("edges::a_body_over_the_limit_is_too_large", a_body_over_the_limit_is_too_large),
    ("edges::many_first_sessions_at_once_share_one_server", many_first_sessions_at_once),
    ("edges::sessions_may_use_the_same_id", sessions_may_use_the_same_id),
    ("edges::one_id_eight_times_at_once_never_gets_anothers_answer", one_id_eight_times_at_once),
    ("edges::modern_clients_may_use_the_same_id", modern_clients_may_use_the_same_id),
    ("edges::a_deleted_session_is_not_found", a_deleted_session_is_not_found),
    ("edges::an_idle_stream_is_kept_alive", an_idle_stream_is_kept_alive),
    ("edges::a_killed_server_fails_its_calls_and_the_next_one_works", a_killed_server),
    ("edges::session_ids_are_long_and_differ", session_ids_are_long_and_differ),
];

fn a_foreign_origin_is_forbidden() {
    let gateway = Gateway::start();
    let from = |origin: &str| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"},
        }});
        Request::post(body.to_string()).header("Origin", origin).send(gateway.port).status
    };
    assert_eq!(from("http://evil.example"), 403);
    assert_eq!(from("null"), 403);
    assert_eq!(from(&format!("http://localhost:{}", gateway.port)), 200);
    for method in ["GET", "DELETE"] {
        let session = Session::open(gateway.port);
        let answer = session.request(method).header("Origin", "http://evil.example").send(gateway.port);
        assert_eq!(answer.status, 403, "{method}");
    }
}

fn a_foreign_host_is_forbidden() {
    let gateway = Gateway::start();
    let answer = Request::post(call(1, "echo", &json!({}))).header("Host", "evil.example").send(gateway.port);
    assert_eq!(answer.status, 403);
    let answer = Request::new("GET").header("Host", "evil.example").send(gateway.port);
    assert_eq!(answer.status, 403);
}

fn an_unknown_session_is_not_found() {
    let gateway = Gateway::start();
    let mut stranger = Session::open(gateway.port);
    stranger.id = "0123456789abcdef0123456789abcdef".to_owned();
    let answer = stranger.send(1, "echo", &json!({"message": "hi"}));
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"]["code"].is_i64(), "the refusal says why");
    assert_eq!(stranger.request("GET").send(gateway.port).status, 404);
    assert_eq!(stranger.delete(), 404);
}

fn a_request_without_its_session_is_bad() {
    let gateway = Gateway::start();
    let answer = Request::post(call(1, "echo", &json!({}))).header("MCP-Protocol-Version", VERSION).send(gateway.port);
    assert_eq!(answer.status, 400);
}

fn an_unknown_version_is_bad() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let request = Request::post(call(1, "echo", &json!({}))).header("Mcp-Session-Id", &session.id);
    assert_eq!(request.header("MCP-Protocol-Version", "1999-01-01").send(gateway.port).status, 400);
}

fn malformed_json_is_a_parse_error() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    for body in ["{\"jsonrpc\":", "not json", ""] {
        for request in [Request::post(body), session.post(body)] {
            let answer = request.send(gateway.port);
            assert_eq!(answer.status, 400, "{body:?}");
            assert_eq!(answer.json()["error"]["code"], -32700, "{body:?}");
        }
    }
    assert_eq!(session.echo(2, "still here"), Outcome::text("still here"));
}

fn a_batch_is_refused() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let batch = format!("[{},{}]", call(1, "echo", &json!({})), call(2, "echo", &json!({})));
    let answer = session.post(&batch).send(gateway.port);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], -32600, "batches are no part of {VERSION}");
}

fn a_megabyte_goes_both_ways() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let message = "m".repeat(1 << 20);
    assert_eq!(session.echo(1, &message), Outcome::text(&message));
    assert_eq!(modern_text(modern(gateway.port, &json!(1), "echo", &json!({"message": message}))), message);
}

fn a_body_over_the_limit_is_too_large() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let body = call(1, "echo", &json!({"message": "m".repeat(20 << 20)}));
    assert_eq!(session.post(&body).send(gateway.port).status, 413);
    // By its announcement alone, before the body is sent.
    let announced = session.post("").header("Content-Length", "999999999999").send(gateway.port);
    assert_eq!(announced.status, 413);
    assert_eq!(session.echo(2, "still here"), Outcome::text("still here"));
}

/// Each of them finds no server for legacy sessions yet, because the one that is there was asked in the modern era.
fn many_first_sessions_at_once() {
    let starts = tempfile::NamedTempFile::new().unwrap();
    let gateway = Gateway::before(&format!("dual marks={}", starts.path().display()));
    let port = gateway.port;
    let is_up = || modern(port, &json!(1), "echo", &json!({"message": "hi"})).json()["result"].is_object();
    eventually("the server is up", is_up);
    let open = || thread::spawn(move || Session::open(port).ask("pid"));
    let sessions: Vec<_> = std::iter::repeat_with(open).take(32).collect();
    let servers: HashSet<_> = sessions.into_iter().map(|session| session.join().expect("it opens")).collect();
    assert_eq!(servers.len(), 1, "plain sessions share: {servers:?}");
    // One for each era; the others would have been started to be thrown away.
    assert!(starts.as_file().metadata().unwrap().len() <= 2, "too many servers were started");
}

fn sessions_may_use_the_same_id() {
    let gateway = Gateway::start();
    let port = gateway.port;
    let sessions: Vec<_> = (0..24).map(|_| Session::open(port)).collect();
    thread::scope(|scope| {
        for (number, session) in sessions.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..5 {
                    let message = format!("{number} in round {round}");
                    assert_eq!(session.echo(1, &message), Outcome::text(&message));
                }
            });
        }
    });
}

fn one_id_eight_times_at_once() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let right = thread::scope(|scope| {
        let call = |number: u64| {
            let session = session.clone();
            scope.spawn(move || {
                let message = format!("number {number}");
                // The later ones are done earlier: answers that go by order would be swapped.
                let arguments = json!({"message": message, "ms": 400 - 40 * number});
                match session.call(5, "slow", &arguments) {
                    Outcome::Text(text) => {
                        assert_eq!(text, message, "another caller's answer");
                        1
                    }
                    Outcome::Error(_) => 0,
                }
            })
        };
        let calls: Vec<_> = (0..8).map(call).collect();
        calls.into_iter().map(|call| call.join().expect("an answer of its own")).sum::<usize>()
    });
    assert!(right > 0, "at least the first has a right to the id");
    assert_eq!(session.echo(5, "free again"), Outcome::text("free again"));
}

fn modern_clients_may_use_the_same_id() {
    let gateway = Gateway::start();
    let port = gateway.port;
    thread::scope(|scope| {
        for number in 0..8_u64 {
            scope.spawn(move || {
                let message = format!("number {number}");
                let arguments = json!({"message": message, "ms": 400 - 40 * number});
                assert_eq!(modern_text(modern(port, &json!("same"), "slow", &arguments)), message);
            });
        }
    });
}

fn a_deleted_session_is_not_found() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    assert_eq!(session.echo(1, "hi"), Outcome::text("hi"));
    let status = session.delete();
    assert!((200..300).contains(&status), "{status}");
    assert_eq!(session.send(2, "echo", &json!({"message": "hi"})).status, 404);
    assert_eq!(session.delete(), 404);
}

fn an_idle_stream_is_kept_alive() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let answer = session.request("GET").send(gateway.port);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    // A comment, so that whatever stands between sees that the stream is in use.
    assert!(answer.lines().any(|line| line.starts_with(':')), "the stream ended without a word");
}

fn a_killed_server() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let server = session.ask("pid").parse().unwrap();
    let calling = session.clone();
    let waiting = thread::spawn(move || (calling.call(9, "never", &json!({})), Instant::now()));
    // Nothing tells from outside when the call has reached the server; killed before, the next server would get it.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(session.echo(10, "later"), Outcome::text("later"));
    let killed = Instant::now();
    crate::place::signal(server, "KILL");
    let (outcome, failed) = waiting.join().unwrap();
    // A figure to read, not to judge: the machine may be busy.
    println!("the call failed {:.1} ms after its server was killed", (failed - killed).as_secs_f64() * 1e3);
    let Outcome::Error(error) = &outcome else { panic!("a server that is dead answers nothing: {outcome:?}") };
    assert!(error.contains("SIGKILL"), "{error}");
    assert_eq!(session.echo(11, "the next one"), Outcome::text("the next one"));
    assert_eq!(Session::open(gateway.port).echo(1, "a new session"), Outcome::text("a new session"));
    assert_ne!(session.ask("pid").parse(), Ok(server));
}

fn session_ids_are_long_and_differ() {
    let gateway = Gateway::start();
    let ids: HashSet<String> = (0..50)
        .map(|_| initialize(gateway.port, &json!({})).header("mcp-session-id").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ids.len(), 50);
    // 128 bits take 22 characters of base64 and 32 of hexadecimal.
    assert!(ids.iter().all(|id| id.len() >= 22 && id.bytes().all(|byte| byte.is_ascii_graphic())), "{ids:?}");
}

fn modern_text(answer: Answer) -> String {
    let status = answer.status;
    let answer = answer.json();
    let text: &Value = &answer["result"]["content"][0]["text"];
    text.as_str().unwrap_or_else(|| panic!("{status}: {answer}")).to_owned()
}
