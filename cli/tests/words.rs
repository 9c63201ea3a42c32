// SPDX-License-Identifier: Apache-2.0
//! A service on two planes, called over each pair of planes, and by `curl`.

mod support;

use std::process::Command;

use support::{Running, World};

const WORDS: [&str; 3] = ["words", "--exec", r#"tr " " "\n""#];

#[test]
fn either_instance_answers_over_either_response_plane() {
    let world = World::new();
    let http = world.serve(&[&WORDS[..], &["--on", "http"]].concat());
    let tcp = world.serve_with(&WORDS, &[("DYN_REQUEST_PLANE", "tcp")]);
    for answers in ["tcp", "http", "uds"] {
        for worker in [&http, &tcp] {
            let call = ["call", "words", "to be or not", "--instance", &worker.instance().to_string()];
            let called = world.run_with(&call, &[("DYN_RESPONSE_PLANE", answers)]);
            assert_eq!((called.code, called.out.as_str()), (Some(0), "to\nbe\nor\nnot\n"), "{called:?}");
        }
        let called = world.run_with(&["call", "words", "to be or not"], &[("DYN_RESPONSE_PLANE", answers)]);
        assert_eq!((called.code, called.out.as_str()), (Some(0), "to\nbe\nor\nnot\n"), "{called:?}");
    }
}

#[test]
fn one_instance_serves_two_planes_at_once() {
    let world = World::new();
    let worker = world.serve(&[&WORDS[..], &["--on", "http,tcp"]].concat());
    let tcp = format!("tcp://{}", worker.address("tcp").replace("tcp://", ""));
    for url in [worker.address("http"), tcp] {
        let url = if url.ends_with("/words") { url } else { format!("{url}/words") };
        let called = world.run(&["call", &url, "to be"]);
        assert_eq!((called.code, called.out.as_str()), (Some(0), "to\nbe\n"), "{url}: {called:?}");
    }
}

#[test]
fn curl_shows_the_events_and_their_end() {
    let world = World::new();
    let worker = world.serve(&[&WORDS[..], &["--on", "http"]].concat());
    let is_there = Command::new("curl").arg("--version").output().is_ok();
    assert!(is_there, "curl is not installed; get it with: apt-get install curl");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-N", "-H", "Accept: text/event-stream", "-d", "to be or not", &worker.address("http")]);
    let shown = Running::start(curl).finish();
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let events: Vec<&str> = shown.out.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events, ["data: to", "data: be", "data: or", "data: not", "event: done\ndata: {}"], "{}", shown.out);
}

#[test]
fn json_says_what_came_and_how_it_ended() {
    let world = World::new();
    let worker = world.serve(&["bytes", "--exec", r"printf 'a\n\377\n'; exit 3"]);
    let called = world.run(&["call", "bytes", "x", "--json"]);
    let lines: Vec<serde_json::Value> = called.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["item"], &lines[1]["base64"]), (&"a".into(), &"/w==".into()));
    assert_eq!((&lines[2]["error"]["kind"], &lines[2]["error"]["data"]["exit_code"]), (&"peer".into(), &3.into()));
    assert_eq!((lines.len(), called.code), (3, Some(1)));
    drop(worker);

    let _worker = world.serve(&["echo", "--echo"]);
    let called = world.run(&["call", "echo", "x", "--json"]);
    assert_eq!(called.out, "{\"item\":\"x\"}\n{\"done\":true,\"items\":1}\n");
}

#[test]
fn tokens_are_counted_and_come_at_a_pace() {
    let world = World::new();
    let _worker = world.serve(&["llm", "--tokens", "3", "--rate", "100"]);
    let called = world.run(&["call", "llm", "x"]);
    assert_eq!((called.code, called.out.as_str()), (Some(0), "token 1 \ntoken 2 \ntoken 3 \n"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::new();
    let _worker = world.serve(&["llm", "--tokens", "1000000"]);
    let mut shell = Command::new("sh");
    let call = world.command(["call", "llm", "x"]);
    shell.args(["-c", "\"$0\" call llm x | head -n 1"]).arg(call.get_program());
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let ended = Running::start(shell).finish();
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "token 1 \n", ""));
}
