// SPDX-License-Identifier: Apache-2.0
//! Servers that die, hang, flood, fork and stay silent; gateways that are started anew; clients that vanish.

use std::thread;

use serde_json::json;

use crate::Test;
use crate::client::{Outcome, Session, initialize, modern};
use crate::place::{Gateway, free_port, is_alive, signal};
use crate::support::eventually;

pub(crate) const TESTS: &[Test] = &[
    ("chaos::a_server_that_crashes_is_started_again", a_server_that_crashes_is_started_again),
    ("chaos::a_hung_server_holds_nobody_who_gives_up", a_hung_server_holds_nobody_who_gives_up),
    ("chaos::a_flood_on_standard_error_stops_nothing", a_flood_on_standard_error_stops_nothing),
    ("chaos::grandchildren_end_with_their_server", grandchildren_end_with_their_server),
    ("chaos::nothing_outlives_the_gateway", nothing_outlives_the_gateway),
    ("chaos::a_server_that_never_answers_initialize_is_a_typed_failure", a_mute_server),
    ("chaos::a_gateway_that_was_restarted_tells_its_old_sessions", a_restarted_gateway),
    ("chaos::clients_that_vanish_leave_nothing", clients_that_vanish_leave_nothing),
    ("chaos::sessions_of_their_own_end_with_their_children", sessions_of_their_own_end_with_their_children),
];

fn a_server_that_crashes_is_started_again() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    for round in 0..3 {
        assert!(session.call(1, "crash", &json!({})).is_error(), "round {round}");
        assert_eq!(session.echo(2, "next"), Outcome::text("next"), "round {round}");
    }
    eventually("one server is left", || gateway.children().len() == 1);
}

fn a_hung_server_holds_nobody_who_gives_up() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let server: u32 = session.ask("pid").parse().unwrap();
    let before = gateway.descriptors();
    signal(server, "STOP");
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let session = session.clone();
            // Nothing comes, not even a head perhaps; the client goes by closing its connection.
            thread::spawn(move || session.post(&crate::client::call(number, "echo", &json!({}))).abandon(session.port))
        })
        .collect();
    calls.into_iter().for_each(|call| call.join().unwrap());
    eventually("the connections are let go", || gateway.descriptors() <= before);
    signal(server, "CONT");
    assert_eq!(session.echo(20, "awake"), Outcome::text("awake"));
}

fn a_flood_on_standard_error_stops_nothing() {
    let gateway = Gateway::before("floods");
    let session = Session::open(gateway.port);
    for number in 0..50 {
        assert_eq!(session.echo(number, "through"), Outcome::text("through"));
    }
}

fn grandchildren_end_with_their_server() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let grandchild: u32 = session.ask("fork").parse().unwrap();
    assert!(is_alive(grandchild));
    assert!(session.call(1, "crash", &json!({})).is_error());
    eventually("the grandchild is gone", || !is_alive(grandchild));
    assert_eq!(session.echo(2, "next"), Outcome::text("next"));
}

fn nothing_outlives_the_gateway() {
    let gateway = Gateway::start();
    let session = Session::open(gateway.port);
    let server: u32 = session.ask("pid").parse().unwrap();
    let grandchild: u32 = session.ask("fork").parse().unwrap();
    gateway.process.signal("TERM");
    eventually("server and grandchild are gone", || !is_alive(server) && !is_alive(grandchild));
}

fn a_mute_server() {
    let this = std::env::current_exe().unwrap();
    let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let upstream = format!("url = \"stdio:'{}' mcp-child mute\"\nstart_timeout = \"2s\"", this.display());
    std::fs::write(config.path(), format!("[[gateway.upstream]]\nname = \"mute\"\n{upstream}\n")).unwrap();
    let gateway = Gateway::with(free_port(), &["--config", &config.path().display().to_string()]);
    let answer = modern(gateway.port, &json!(1), "echo", &json!({"message": "hi"})).json();
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    let answer = initialize(gateway.port, &json!({}));
    assert!(answer.header("mcp-session-id").is_none(), "there is no session that could have a name");
    assert!(answer.status >= 400 || answer.json()["error"]["code"].is_i64());
}

fn a_restarted_gateway() {
    let port = free_port();
    let old = {
        let gateway = Gateway::on(port, "");
        let session = Session::open(gateway.port);
        assert_eq!(session.echo(1, "before"), Outcome::text("before"));
        session
    };
    let gateway = Gateway::on(port, "");
    // Without a common key the new one cannot know the session: the client is told to open another.
    assert_eq!(old.send(2, "echo", &json!({"message": "after"})).status, 404);
    assert_eq!(Session::open(gateway.port).echo(1, "anew"), Outcome::text("anew"));
}

fn clients_that_vanish_leave_nothing() {
    let gateway = Gateway::start();
    let first = Session::open(gateway.port);
    assert_eq!(first.echo(1, "warm"), Outcome::text("warm"));
    let (children, descriptors) = (gateway.children().len(), gateway.descriptors());
    for number in 0..20 {
        let session = Session::open(gateway.port);
        let stream = session.request("GET").send(gateway.port);
        assert_eq!(stream.status, 200);
        session.post(&crate::client::call(number, "never", &json!({}))).abandon(gateway.port);
        stream.vanish();
        modern_abandoned(gateway.port, number);
    }
    eventually("files and sockets are as before", || gateway.descriptors() <= descriptors);
    eventually("servers are as before", || gateway.children().len() == children);
    assert_eq!(first.echo(2, "still here"), Outcome::text("still here"));
}

fn modern_abandoned(port: u16, number: u64) {
    let body = crate::client::modern_call(&json!(number), "never", &json!({}));
    let request = crate::http::Request::post(body).header("MCP-Protocol-Version", "2026-07-28");
    request.header("Mcp-Method", "tools/call").header("Mcp-Name", "never").abandon(port);
}

fn sessions_of_their_own_end_with_their_children() {
    let gateway = Gateway::start();
    let plain = Session::open(gateway.port);
    let shared = plain.ask("pid");
    // Who can be asked something gets a server of its own: a shared one could not say whom it means.
    let asked = Session::open_with(gateway.port, &json!({"sampling": {}, "elicitation": {}}));
    let own = asked.ask("pid");
    assert_ne!(shared, own);
    assert_eq!(Session::open(gateway.port).ask("pid"), shared, "plain sessions share");
    assert!((200..300).contains(&asked.delete()));
    let own: u32 = own.parse().unwrap();
    eventually("its server has ended", || !is_alive(own));
    assert_eq!(plain.ask("pid"), shared);
}
