// SPDX-License-Identifier: Apache-2.0
//! A worker that is killed: the call ends with a typed error, over every pair of planes, before and in mid-answer.

mod support;

use biplane_nats::testing::NatsServer;
use support::World;

const REQUESTS: [&str; 3] = ["tcp", "http", "uds"];
const RESPONSES: [&str; 3] = ["tcp", "http", "uds"];

/// A worker with `command`, a call, and `kill -9` once the call has come as far as it should.
fn killed(world: &World, request: &str, response: &str, command: &str, first_item: Option<&str>) {
    let mark = world.directory().join(format!("{request}-{response}-{}", first_item.is_some()));
    let command = format!("touch {}; {command}", mark.display());
    let worker = world.serve_with(&["victim", "--exec", &command], &[("DYN_REQUEST_PLANE", request)]);
    let variables = [("DYN_REQUEST_PLANE", request), ("DYN_RESPONSE_PLANE", response)];
    let call = world.start_with(&["call", "victim", "x"], &variables);
    match first_item {
        Some(item) => call.wait_for_output(item),
        // Acknowledged: the command runs.
        None => support::eventually("the command runs", || mark.exists()),
    }
    worker.kill_9();
    let called = call.finish();
    let pair = format!("{request}+{response}: {called:?}");
    assert_eq!(called.code, Some(4), "{pair}");
    assert_eq!(called.out, first_item.map(|item| format!("{item}\n")).unwrap_or_default(), "{pair}");
    assert_eq!(called.err.lines().count(), 1, "{pair}");
    assert!(called.err.starts_with("error: "), "{pair}");
}

fn every_pair(requests: &[&str], world: &World) {
    for request in requests {
        for response in RESPONSES {
            killed(world, request, response, "echo one; exec sleep 30", Some("one"));
        }
        for response in RESPONSES {
            killed(world, request, response, "exec sleep 30", None);
        }
    }
}

#[test]
fn over_tcp() {
    every_pair(&REQUESTS[..1], &World::new());
}

#[test]
fn over_http() {
    every_pair(&REQUESTS[1..2], &World::new());
}

#[test]
fn over_uds() {
    every_pair(&REQUESTS[2..], &World::new());
}

#[test]
fn over_nats() {
    let Some(server) = NatsServer::start() else { return };
    every_pair(&["nats"], &World::new().with("NATS_SERVER", server.url()));
}
