// SPDX-License-Identifier: Apache-2.0
//! `serve --exec`: what goes in, what comes out, and that nothing of it stays.

mod support;

use biplane::stream::pipe;
use biplane::{Biplane, ControlMessage, Request, ResponseStream, Subject};
use support::{PATIENCE, World, children_of, eventually, is_running};

#[test]
fn lines_are_items_and_only_the_newline_goes() {
    let world = World::new();
    let _worker = world.serve(&["lines", "--exec", r"printf 'a\r\n\n  b  \nlast'"]);
    let called = world.run(&["call", "lines", "x", "--json"]);
    let items: Vec<&str> = called.out.lines().collect();
    assert_eq!(
        items,
        [
            r#"{"item":"a\r"}"#,
            r#"{"item":""}"#,
            r#"{"item":"  b  "}"#,
            r#"{"item":"last"}"#,
            r#"{"done":true,"items":4}"#
        ]
    );
}

#[test]
fn a_status_other_than_zero_is_an_error_with_what_was_said() {
    let world = World::new();
    let _worker = world.serve(&["broken", "--exec", "cat; echo; echo out of cheese >&2; exit 7"]);
    let called = world.run(&["call", "broken", "x"]);
    assert_eq!((called.code, called.out.as_str()), (Some(1), "x\n"), "{called:?}");
    assert!(called.err.contains("status 7") && called.err.contains("out of cheese"), "{}", called.err);
}

#[test]
fn a_signal_is_an_error_that_names_it() {
    let world = World::new();
    let _worker = world.serve(&["killed", "--exec", "kill -s ABRT $$"]);
    let called = world.run(&["call", "killed", "x"]);
    assert_eq!(called.code, Some(1));
    assert!(called.err.contains("signal 6"), "{}", called.err);
}

#[test]
fn input_that_nobody_reads_is_no_error() {
    let world = World::new();
    let _worker = world.serve(&["deaf", "--exec", "echo heard nothing"]);
    let body = "x".repeat(100_000);
    let called = world.run(&["call", "deaf", &body]);
    assert_eq!((called.code, called.out.as_str()), (Some(0), "heard nothing\n"), "{called:?}");
}

#[test]
fn a_line_over_the_limit_is_refused_and_the_next_call_works() {
    let world = World::new().with("BIPLANE_MAX_MESSAGE_SIZE", "64KiB");
    let _worker = world.serve(&["long", "--exec", "read size; head -c $size /dev/zero"]);
    let called = world.run(&["call", "long", "1000000\n"]);
    assert_eq!(called.code, Some(6), "{called:?}");
    assert!(called.err.contains("limit"), "{}", called.err);
    let called = world.run(&["call", "long", "1000\n"]);
    assert_eq!(called.code, Some(0), "{called:?}");
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let world = World::new();
    let _worker = world.serve(&["litter", "--exec", "sleep 86411 & echo done"]);
    let called = world.run(&["call", "litter", "x"]);
    assert_eq!((called.code, called.out.as_str()), (Some(0), "done\n"), "{called:?}");
    eventually("the background process is gone", || !is_running("86411"));
}

/// A command of two processes that ignore nothing, told apart from those of other tests by how long they would sleep.
fn sleepers(seconds: &str) -> String {
    format!("echo up; sleep {seconds} | sleep {seconds}")
}

#[test]
fn the_group_ends_when_the_caller_goes_away() {
    for (seconds, request, response) in
        [("86421", "tcp", "tcp"), ("86422", "http", "tcp"), ("86423", "http", "http"), ("86424", "tcp", "http")]
    {
        let world = World::new().with("DYN_REQUEST_PLANE", request).with("DYN_RESPONSE_PLANE", response);
        let worker = world.serve(&["slow", "--exec", &sleepers(seconds)]);
        let call = world.start_with(&["call", "slow", "x"], &[]);
        call.wait_for_output("up");
        call.signal("INT");
        let called = call.finish();
        assert_eq!((called.code, called.out.as_str()), (Some(130), "up\n"), "{request}+{response}: {called:?}");
        eventually("the group is gone", || !is_running(seconds) && children_of(worker.0.id()).is_empty());
    }
}

#[test]
fn the_group_ends_when_the_caller_is_killed() {
    let world = World::new();
    let worker = world.serve(&["slow", "--exec", &sleepers("86431")]);
    let call = world.start_with(&["call", "slow", "x"], &[]);
    call.wait_for_output("up");
    call.signal("KILL");
    drop(call);
    eventually("the group is gone", || !is_running("86431") && children_of(worker.0.id()).is_empty());
}

#[test]
fn the_group_ends_at_the_deadline_even_if_it_ignores_the_first_signal() {
    let world = World::new();
    let worker = world.serve(&["stubborn", "--exec", "trap '' TERM; echo up; sleep 86441; sleep 86441"]);
    let called = world.run(&["call", "stubborn", "x", "--timeout", "1s"]);
    assert_eq!((called.code, called.out.as_str()), (Some(5), "up\n"), "{called:?}");
    eventually("the group is gone", || !is_running("86441") && children_of(worker.0.id()).is_empty());
}

#[test]
fn a_worker_that_is_asked_to_end_lets_the_command_finish() {
    let world = World::new();
    let gate = world.directory().join("gate");
    let command = format!("echo up; while [ ! -e {} ]; do sleep 0.05; done; echo finished", gate.display());
    let worker = world.serve(&["patient", "--exec", &command]);
    let call = world.start_with(&["call", "patient", "x"], &[]);
    call.wait_for_output("up");
    worker.0.signal("TERM");
    worker.0.wait_for("1 requests may finish");
    std::fs::write(&gate, "").unwrap();
    let called = call.finish();
    assert_eq!((called.code, called.out.as_str()), (Some(0), "up\nfinished\n"), "{called:?}");
    assert_eq!(worker.0.finish().code, Some(0));
}

#[test]
fn a_worker_that_is_told_twice_takes_its_commands_along() {
    let world = World::new();
    let worker = world.serve(&["slow", "--exec", &sleepers("86451")]);
    let call = world.start_with(&["call", "slow", "x"], &[]);
    call.wait_for_output("up");
    worker.0.signal("TERM");
    worker.0.wait_for("may finish");
    worker.0.signal("INT");
    assert_eq!(worker.0.finish().code, Some(130));
    assert!(!is_running("86451"));
    let called = call.finish();
    assert!(matches!(called.code, Some(1 | 4)), "{called:?}");
}

/// What the program cannot ask for, this process asks.
fn caller(world: &World) -> Biplane {
    Biplane::builder().env([("DYN_FILE_KV", world.directory().as_os_str())]).build().unwrap()
}

async fn next(answer: &mut ResponseStream) -> Option<String> {
    let item = tokio::time::timeout(PATIENCE, answer.next()).await.expect("hangs")?;
    Some(item.unwrap().text().unwrap().to_owned())
}

#[tokio::test]
async fn the_items_of_a_streaming_request_are_lines_as_they_come() {
    let world = World::new();
    let _worker = world.serve(&["cat", "--exec", "while read line; do echo \"<$line>\"; done"]);
    let (items, stream) = pipe(1024, 1024);
    let request = Request::streaming(Subject::from_static("cat"), "one", stream);
    let mut answer = caller(&world).call_with("cat", request).await.unwrap();
    assert_eq!(next(&mut answer).await.as_deref(), Some("<one>"));
    items.send("two").await.unwrap();
    assert_eq!(next(&mut answer).await.as_deref(), Some("<two>"));
    items.close();
    assert_eq!(next(&mut answer).await, None);
}

#[tokio::test]
async fn stop_is_the_first_signal_and_what_follows_it_arrives() {
    let world = World::new();
    let command = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let _worker = world.serve(&["polite", "--exec", command]);
    let mut answer = caller(&world).call("polite", "x").await.unwrap();
    assert_eq!(next(&mut answer).await.as_deref(), Some("up"));
    answer.control(ControlMessage::Stop);
    assert_eq!(next(&mut answer).await.as_deref(), Some("bye"));
    // That it ends otherwise than it would have is what it was asked for.
    assert_eq!(next(&mut answer).await, None);
}
