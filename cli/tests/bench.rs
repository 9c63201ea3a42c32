// SPDX-License-Identifier: Apache-2.0
//! `biplane bench` and `biplane demo` as their users run them: as processes that must leave nothing behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program, with temporary files in a directory of the test's own and without the test's environment.
fn biplane(tmp: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biplane"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["DYN_", "BIPLANE_", "NATS_", "MCP_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command.args(arguments).env("TMPDIR", tmp).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Value {
    let tmp = tempfile::tempdir().unwrap();
    let output = biplane(tmp.path(), arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    assert_nothing_is_left(&tmp);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn assert_nothing_is_left(tmp: &TempDir) {
    let left: Vec<_> = std::fs::read_dir(tmp).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[track_caller]
fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {pointer} in {report}"))
}

fn assert_figures(report: &Value) {
    assert_eq!(number(report, "/errors"), 0.0, "{report}");
    for rate in ["/requests_per_sec", "/items_per_sec", "/seconds"] {
        assert!(number(report, rate) > 0.0, "{rate}: {report}");
    }
    for times in ["/latency_us", "/first_item_us"] {
        let rising = ["p50", "p90", "p95", "p99", "p999", "max"].map(|at| number(report, &format!("{times}/{at}")));
        assert!(rising.is_sorted() && rising[0] > 0.0, "{times}: {report}");
    }
}

fn assert_resources(report: &Value) {
    for side in ["caller", "worker"] {
        assert!(number(report, &format!("/cpu_us_per_request/{side}")) > 0.0, "{report}");
        #[cfg(target_os = "linux")]
        assert!(number(report, &format!("/rss_kib/{side}")) > 0.0, "{report}");
    }
}

/// Links are shared: a handful is dialled, every other answer finds one there.
fn assert_reuse(report: &Value, requests: f64) {
    let (created, reused) = (number(report, "/pool/created"), number(report, "/pool/reused"));
    assert!((1.0..=4.0).contains(&created), "{report}");
    // What warmed up is counted too.
    assert!(created + reused >= requests, "{report}");
}

fn bench(request: &str, response: &str) -> Value {
    let planes = ["--request-plane", request, "--response-plane", response];
    let report = run(&[&["bench", "--requests", "200", "--concurrency", "8", "--json"], &planes[..]].concat());
    assert_eq!((&report["request_plane"], &report["response_plane"]), (&request.into(), &response.into()));
    assert_eq!((number(&report, "/requests"), number(&report, "/items")), (200.0, 200.0), "{report}");
    assert_figures(&report);
    assert_resources(&report);
    let instances = report["per_instance"].as_object().unwrap();
    assert_eq!(instances.values().map(|requests| requests.as_u64().unwrap()).sum::<u64>(), 200, "{report}");
    assert_eq!(instances.len(), 1, "{report}");
    report
}

#[test]
fn inline_answers_are_measured() {
    let report = bench("tcp", "tcp");
    assert_eq!(report["rendezvous"], "inline");
    assert_reuse(&report, 200.0);
}

#[test]
fn answers_that_call_home_share_links() {
    let report = bench("http", "tcp");
    assert_eq!(report["rendezvous"], "call-home");
    assert_reuse(&report, 200.0);
}

#[test]
fn every_item_of_every_answer_is_counted() {
    let report = run(&["bench", "-n", "20", "-c", "4", "--items", "7", "--item-size", "9", "--paced", "--json"]);
    assert_eq!((number(&report, "/requests"), number(&report, "/items")), (20.0, 140.0), "{report}");
}

#[test]
fn a_table_shows_the_same_to_people() {
    let tmp = tempfile::tempdir().unwrap();
    let output = biplane(tmp.path(), &["bench", "-n", "50"]).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", told(&output));
    for word in ["tcp + tcp", "50 in", "0 errors", "latency", "p99", "created"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Piped: no colours and no progress.
    assert!(!told(&output).contains('\x1b'), "{}", told(&output));
}

#[test]
fn the_matrix_has_every_pair_without_an_error() {
    let matrix = run(&["bench", "--matrix", "--requests", "30", "--concurrency", "4", "--json"]);
    let pairs = matrix["pairs"].as_array().unwrap();
    for request in ["tcp", "http", "uds"] {
        for response in ["tcp", "http", "uds"] {
            let is_it = |pair: &&Value| pair["request_plane"] == request && pair["response_plane"] == response;
            let pair = pairs.iter().find(is_it).unwrap_or_else(|| panic!("{request} + {response}: {matrix}"));
            assert_figures(pair);
            assert_eq!(number(pair, "/requests"), 30.0);
        }
    }
    // With a server to be had, `nats` runs; otherwise the reason is given.
    let has_nats = pairs.iter().any(|pair| pair["request_plane"] == "nats");
    let skipped = matrix["skipped"].as_array().unwrap();
    let reasons = |id: &str| skipped.iter().filter(|skipped| skipped["what"] == id).count();
    assert_eq!((reasons("nats"), reasons("mem")), (usize::from(!has_nats), 1), "{matrix}");
}

#[test]
fn the_demo_streams_and_echoes() {
    let demo = run(&["demo", "--seconds", "1", "--json"]);
    assert_eq!((&demo["request_plane"], &demo["response_plane"]), (&"tcp".into(), &"tcp".into()));
    assert_figures(&demo["streams"]);
    assert_figures(&demo["echo"]);
    assert_eq!(number(&demo, "/streams/items"), number(&demo, "/streams/requests") * 64.0);
    assert_resources(&demo);
    assert!(number(&demo, "/pool/created") >= 1.0, "{demo}");
}

#[test]
fn a_plane_that_nobody_knows_is_a_mistake_in_the_command() {
    let tmp = tempfile::tempdir().unwrap();
    let output = biplane(tmp.path(), &["bench", "--request-plane", "htp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("http"), "{}", told(&output));
    assert_nothing_is_left(&tmp);
}

#[test]
fn a_service_that_is_not_there_is_told_at_once() {
    let tmp = tempfile::tempdir().unwrap();
    let output = biplane(tmp.path(), &["bench", "nobody"]).env("DYN_FILE_KV", tmp.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(output.stdout.is_empty() && told(&output).contains("biplane serve nobody"), "{}", told(&output));
}

#[test]
fn an_interrupted_bench_takes_its_worker_and_its_files_along() {
    let tmp = tempfile::tempdir().unwrap();
    let mut bench = biplane(tmp.path(), &["bench", "--duration", "60"]).spawn().unwrap();
    // The record in the store says that the worker is up.
    wait_until(|| !files_below(tmp.path()).is_empty());
    let worker = child_of(bench.id());
    let id = rustix::process::Pid::from_child(&bench);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert_nothing_is_left(&tmp);
    wait_until(|| worker.is_none_or(|worker| !is_running(worker)));
}

#[test]
fn a_worker_does_not_outlive_a_bench_that_was_killed() {
    let tmp = tempfile::tempdir().unwrap();
    let mut bench = biplane(tmp.path(), &["bench", "--duration", "60"]).spawn().unwrap();
    wait_until(|| !files_below(tmp.path()).is_empty());
    let worker = child_of(bench.id());
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until(|| worker.is_none_or(|worker| !is_running(worker)));
}

/// Safety net only: nothing here takes seconds.
fn wait_until(condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < until, "it never came to that");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

/// The first child of a process, where the system tells.
fn child_of(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    // The thread that started it may be any.
    let all = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children.into_iter().chain(all).find_map(|children| children.split_whitespace().next()?.parse().ok())
}

/// A zombie has ended.
fn is_running(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}
