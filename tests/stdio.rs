// SPDX-License-Identifier: Apache-2.0
//! `stdio:COMMAND`: what a child gets to see, what is told of its end, and that nothing of it remains.

#![cfg(unix)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use biplane::{Biplane, Connection, Detail, Error, ErrorKind, Message, Request, Subject};

/// Answers every request with `{}`, by means of a system's own tools.
const ANSWER: &str = r#"sed -u 's/.*"id":\([0-9]*\).*/{"jsonrpc":"2.0","id":\1,"result":{}}/'"#;

/// Against a hang; nothing that works takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime(settings: &[(&str, &str)]) -> Biplane {
    let ours = [("PATH", std::env::var("PATH").unwrap()), ("HOME", "/home/x".into()), ("SECRET_KEY", "s3cret".into())];
    let builder = Biplane::builder().env(ours).set("transport.stdio.start_rate", "100");
    settings.iter().fold(builder, |builder, (key, value)| builder.set(*key, value)).build().unwrap()
}

/// A child that runs `script` in a shell.
async fn shell(biplane: &Biplane, script: &str) -> Result<Arc<dyn Connection>, Error> {
    biplane.connect(&format!("stdio:sh -c '{}'", script.replace('\'', r"'\''"))).await
}

fn ping() -> Request {
    Request::new(Subject::from_static("ping"), "{}").with_timeout(PATIENCE)
}

fn pid(connection: &dyn Connection) -> u32 {
    let peer = &connection.info().peer;
    peer.rsplit_once("(pid ").unwrap().1.trim_end_matches(')').parse().unwrap()
}

/// Alive, or dead and not reaped.
fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn gone(pids: &[u32]) {
    let until = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| is_there(*pid)) {
        assert!(Instant::now() < until, "of {pids:?} some are still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first number in the file, once it is there.
async fn written(path: &Path) -> u32 {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(number) = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            return number;
        }
        assert!(Instant::now() < until, "{} was not written", path.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_answers_and_is_gone_after_close() {
    let biplane = runtime(&[]);
    let connection = shell(&biplane, ANSWER).await.unwrap();
    let child = pid(&*connection);
    assert!(is_there(child) && connection.info().peer.starts_with("sh -c sed -u"), "{:?}", connection.info());
    for _ in 0..100 {
        assert_eq!(connection.request(ping()).await.unwrap(), Message::new("{}"));
    }
    connection.close(PATIENCE).await.unwrap();
    assert!(!is_there(child), "close() returned before the child was reaped");
    assert_eq!(connection.request(ping()).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn the_status_and_the_last_words_of_a_child_are_told() {
    let biplane = runtime(&[]);
    let connection = shell(&biplane, "read line; echo first >&2; echo out of cheese >&2; exit 3").await.unwrap();
    let error = connection.request(ping()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(error.detail(), Some(&Detail::ChildExited { code: Some(3), signal: None }), "{error:?}");
    assert!(error.to_string().contains("exited with status 3; it last said: out of cheese"), "{error}");
    assert!(format!("{error:?}").contains("first\nout of cheese"), "{error:?}");
    // And to whoever comes later.
    let later = connection.request(ping()).await.unwrap_err();
    assert!(later.kind() == ErrorKind::Closed && later.to_string().contains("status 3"), "{later:?}");
    gone(&[pid(&*connection)]).await;
}

#[tokio::test]
async fn every_call_in_flight_fails_when_the_child_is_killed() {
    let biplane = runtime(&[]);
    let connection = shell(&biplane, "exec sleep 1000").await.unwrap();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.request(ping()).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let child = pid(&*connection);
    let killed = Instant::now();
    kill(child, "KILL");
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.detail(), Some(&Detail::ChildExited { code: None, signal: Some(9) }), "{error:?}");
    }
    eprintln!("ten calls failed {:?} after SIGKILL", killed.elapsed());
    gone(&[child]).await;
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipes_end_with_the_child() {
    let directory = tempfile::tempdir().unwrap();
    let noted = directory.path().join("pid");
    let biplane = runtime(&[]);
    for ends_by_itself in [true, false] {
        let _ = std::fs::remove_file(&noted);
        let then = if ends_by_itself { "read line; exit 4" } else { ANSWER };
        let script = format!("sleep 1000 & echo $! > {}; {then}", noted.display());
        let connection = shell(&biplane, &script).await.unwrap();
        let processes = [pid(&*connection), written(&noted).await];
        if ends_by_itself {
            let error = connection.request(ping()).await.unwrap_err();
            assert_eq!(error.detail(), Some(&Detail::ChildExited { code: Some(4), signal: None }), "{error:?}");
        } else {
            connection.request(ping()).await.unwrap();
            drop(connection);
        }
        gone(&processes).await;
    }
}

#[tokio::test]
async fn a_child_that_takes_its_pipes_to_another_session_is_noticed_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let noted = directory.path().join("pid");
    let biplane = runtime(&[]);
    let script = format!("setsid sh -c \"echo \\$\\$ > {}; exec sleep 1000\" & read line; exit 5", noted.display());
    let connection = shell(&biplane, &script).await.unwrap();
    let escaped = written(&noted).await;
    let error = connection.request(ping()).await.unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::ChildExited { code: Some(5), signal: None }), "{error:?}");
    gone(&[pid(&*connection)]).await;
    assert!(is_there(escaped), "it left the group, which nobody can help");
    kill(escaped, "KILL");
}

#[tokio::test]
async fn a_child_that_heeds_nothing_is_killed() {
    let biplane = runtime(&[("transport.stdio.stop_grace", "100ms")]);
    let connection = shell(&biplane, "trap \"\" TERM INT HUP; while :; do sleep 0.05; done").await.unwrap();
    let child = pid(&*connection);
    drop(connection);
    gone(&[child]).await;
}

#[tokio::test]
async fn a_flood_of_standard_error_stops_nobody_and_its_end_is_kept() {
    let biplane = runtime(&[]);
    let script = format!("(while :; do echo {} >&2; done) & {ANSWER}", "x".repeat(500));
    let connection = shell(&biplane, &script).await.unwrap();
    for _ in 0..50 {
        connection.request(ping()).await.unwrap();
    }
    kill(pid(&*connection), "KILL");
    let error = loop {
        if let Err(error) = connection.request(ping()).await {
            break error;
        }
    };
    assert!(format!("{error:?}").len() < 10_000, "{error:?}");
}

#[tokio::test]
async fn a_child_that_says_nothing_is_given_up_and_so_is_one_that_shuts_its_output() {
    let biplane = runtime(&[("transport.stdio.start_timeout", "100ms")]);
    let connection = shell(&biplane, "echo downloading >&2; exec sleep 1000").await.unwrap();
    let error = connection.request(ping()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("it last said: downloading"), "{error}");
    gone(&[pid(&*connection)]).await;

    let biplane = runtime(&[]);
    let connection = shell(&biplane, "exec sleep 1000 >&-").await.unwrap();
    let error = connection.request(ping()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Closed && error.to_string().contains("runs on"), "{error:?}");
    gone(&[pid(&*connection)]).await;
}

#[tokio::test]
async fn the_environment_is_an_allow_list() {
    let directory = tempfile::tempdir().unwrap();
    let cwd = directory.path().canonicalize().unwrap();
    let biplane = runtime(&[
        ("transport.stdio.env", "GREETING='good day' ABSENT"),
        ("transport.stdio.cwd", cwd.to_str().unwrap()),
    ]);
    let connection = biplane.connect("stdio:MINE=1 sh -c 'read line; env >&2; exit 1'").await.unwrap();
    let error = format!("{:?}", connection.request(ping()).await.unwrap_err());
    let expected =
        ["HOME=/home/x".to_owned(), "GREETING=good day".into(), "MINE=1".into(), format!("PWD={}", cwd.display())];
    for pair in expected {
        assert!(error.contains(&pair), "no {pair} in {error}");
    }
    assert!(!error.contains("s3cret") && !error.contains("CARGO"), "{error}");
    assert!(!connection.info().peer.contains("MINE"));

    let biplane = runtime(&[("transport.stdio.env", "SECRET_KEY")]);
    let connection = shell(&biplane, "read line; echo $SECRET_KEY >&2; exit 1").await.unwrap();
    assert!(connection.request(ping()).await.unwrap_err().to_string().contains("s3cret"));
}

#[tokio::test]
async fn one_child_too_many_waits_and_is_refused_and_a_place_is_given_back() {
    let biplane = runtime(&[("transport.stdio.max_children", "1"), ("limits.connect_timeout", "100ms")]);
    let first = shell(&biplane, ANSWER).await.unwrap();
    let error = shell(&biplane, ANSWER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains("BIPLANE_STDIO_MAX_CHILDREN"), "{error}");
    first.close(PATIENCE).await.unwrap();
    shell(&biplane, ANSWER).await.unwrap().request(ping()).await.unwrap();

    let biplane = runtime(&[("transport.stdio.start_rate", "2"), ("limits.connect_timeout", "100ms")]);
    let outcomes = futures_util::future::join_all((0..5).map(|_| shell(&biplane, ANSWER))).await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!((1..=3).contains(&refused.len()) && refused.iter().all(|error| error.kind() == ErrorKind::Overloaded));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let biplane = runtime(&[]);
    for (url, kind, said) in [
        ("stdio:no-such-program-anywhere -y", ErrorKind::Connect, "was not found"),
        ("stdio:/etc/passwd", ErrorKind::Connect, "executable bit"),
        ("stdio:a | b", ErrorKind::Config, "sh -c"),
        ("stdio:'a", ErrorKind::Config, "single quotes"),
        ("stdio:", ErrorKind::Config, "stdio:COMMAND"),
    ] {
        let error = biplane.connect(url).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(said), "{url}: {error:?}");
    }
    let bare = Biplane::builder().build().unwrap();
    let error = bare.connect("stdio:no-such-program-anywhere").await.unwrap_err();
    assert!(error.to_string().contains("from_env"), "{error}");
    let lost = runtime(&[("transport.stdio.cwd", "/no/such/directory")]);
    let error = shell(&lost, ANSWER).await.unwrap_err();
    assert!(error.to_string().contains("transport.stdio.cwd"), "{error}");
}

#[tokio::test]
async fn shutdown_ends_every_child_of_its_runtime_and_no_other() {
    let (one, other) = (runtime(&[]), runtime(&[]));
    let mut ours = Vec::new();
    for _ in 0..3 {
        ours.push(shell(&one, ANSWER).await.unwrap());
    }
    let theirs = shell(&other, ANSWER).await.unwrap();
    let pids: Vec<u32> = ours.iter().map(|connection| pid(&**connection)).collect();
    one.shutdown(PATIENCE).await;
    gone(&pids).await;
    theirs.request(ping()).await.unwrap();
    assert_eq!(ours[0].request(ping()).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_runtime_that_ends_takes_its_children_along_and_leaves_no_zombie() {
    let runtime_of_tokio = tokio::runtime::Runtime::new().unwrap();
    let biplane = runtime(&[]);
    let connection = runtime_of_tokio.block_on(shell(&biplane, "trap \"\" TERM; exec sleep 1000")).unwrap();
    let child = pid(&*connection);
    assert!(is_there(child));
    drop(runtime_of_tokio);
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    waiting.block_on(gone(&[child]));
}

fn kill(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
