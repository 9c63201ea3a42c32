// SPDX-License-Identifier: Apache-2.0
//! What the exit codes say, each provoked.

mod support;

use support::World;

#[test]
fn ok_is_0_and_an_error_of_the_service_is_1() {
    let world = World::new();
    let _worker = world.serve(&["judge", "--exec", "exit $(cat)"]);
    for (body, code) in [("0", 0), ("3", 1)] {
        let called = world.run(&["call", "judge", body]);
        assert_eq!(called.code, Some(code), "{called:?}");
    }
}

#[test]
fn usage_and_configuration_are_2() {
    let world = World::new();
    for arguments in [
        &["call"][..],
        &["call", "words", "x", "--timeout", "soon"],
        &["call", "tcp://127.0.0.1:1/words", "x", "--instance", "1"],
        &["call", "no name", "x"],
        &["serve", "words"],
        &["serve", "words", "--echo", "--tokens", "3"],
        &["serve", "words", "--echo", "--weight", "101"],
        &["serve", "words", "--echo", "--rate", "3"],
        &["serve", "words", "--echo", "--on", "htpp"],
        &["explain", "words", "--need", "speed"],
        &["--config", "/nonexistent", "config", "--check"],
    ] {
        let ended = world.run(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.err.starts_with("error:"), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn no_such_service_or_transport_is_3() {
    let world = World::new();
    let _worker = world.serve(&["words", "--echo"]);
    let called = world.run(&["call", "wrods", "x"]);
    assert_eq!(called.code, Some(3), "{called:?}");
    assert!(called.err.contains("wrods") && called.err.contains("published are: words"), "{}", called.err);

    let called = world.run(&["call", "words", "x", "--instance", "1"]);
    assert_eq!(called.code, Some(3), "{called:?}");

    let called = world.run(&["call", "htpp://127.0.0.1:1/words", "x"]);
    assert_eq!(called.code, Some(3), "{called:?}");
    for part in ["did you mean `http`", "tcp", "uds (unix)"] {
        assert!(called.err.contains(part), "no {part:?} in {}", called.err);
    }
}

#[test]
fn a_failed_connect_is_4() {
    let world = World::new();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["tcp", "http"] {
        let called = world.run(&["call", &format!("{scheme}://127.0.0.1:{port}/words"), "x"]);
        assert_eq!(called.code, Some(4), "{called:?}");
    }
}

#[test]
fn a_deadline_is_5() {
    let world = World::new();
    let _worker = world.serve(&["slow", "--on", "http,tcp", "--tokens", "2", "--rate", "0.001"]);
    for request in ["tcp", "http"] {
        for response in ["tcp", "http"] {
            let planes = [("DYN_REQUEST_PLANE", request), ("DYN_RESPONSE_PLANE", response)];
            let called = world.run_with(&["call", "slow", "x", "--timeout", "300ms"], &planes);
            assert_eq!((called.code, called.out.as_str()), (Some(5), "token 1 \n"), "{request}+{response}: {called:?}");
        }
    }
}

#[test]
fn refused_for_its_size_is_6() {
    let world = World::new();
    let _worker = world.serve(&["echo", "--echo", "--on", "http,tcp"]);
    let body = "x".repeat(10_000);
    for request in ["tcp", "http"] {
        let small = [("BIPLANE_MAX_MESSAGE_SIZE", "1KiB"), ("DYN_REQUEST_PLANE", request)];
        let called = world.run_with(&["call", "echo", &body], &small);
        assert_eq!(called.code, Some(6), "{request}: {called:?}");
    }
}

#[test]
fn overload_is_6() {
    let world = World::new();
    let file = world.directory().join("one.toml");
    std::fs::write(&file, "[limits]\nmax_in_flight = 1\n").unwrap();
    let worker = ["--config", file.to_str().unwrap(), "serve", "busy", "--exec", "echo up; exec sleep 60"];
    let worker = world.start_with(&worker, &[]);
    worker.wait_for("\n  try ");
    let first = world.start_with(&["call", "busy", "x"], &[]);
    first.wait_for_output("up");
    let second = world.run(&["call", "busy", "x"]);
    assert_eq!(second.code, Some(6), "{second:?}");
}

#[test]
fn interrupted_is_130() {
    let world = World::new();
    let _worker = world.serve(&["slow", "--tokens", "2", "--rate", "0.001"]);
    let call = world.start_with(&["call", "slow", "x"], &[]);
    call.wait_for_output("token 1");
    call.signal("INT");
    assert_eq!(call.finish().code, Some(130));
}
