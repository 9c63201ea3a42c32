// SPDX-License-Identifier: Apache-2.0
//! Other people's clients and servers, as `cargo xtask test` installs them into `target/peers`. What is not installed is
//! said and passed over, except in CI.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Test;
use crate::client::{Outcome, Session, initialize};
use crate::place::{Gateway, free_port, is_alive, signal};
use crate::support::{PATIENCE, Running, World, children_of, eventually};

pub(crate) const TESTS: &[Test] = &[
    ("bystanders::python_in_both_eras", python_in_both_eras),
    ("bystanders::python_over_stdio", python_over_stdio),
    ("bystanders::typescript_in_both_eras", typescript_in_both_eras),
    ("bystanders::the_old_typescript_sdk", the_old_typescript_sdk),
    ("bystanders::the_inspector_in_both_eras", the_inspector_in_both_eras),
    ("bystanders::server_everything_over_stdio_http_and_sse", server_everything),
    ("bystanders::server_everything_on_the_planes_outlives_a_worker", server_everything_on_the_planes),
];

const MODERN: &str = "2026-07-28";

fn python_in_both_eras() {
    let Some(python) = installed("python/bin/python") else { return };
    before_each_era(|url| {
        for version in ["legacy", MODERN] {
            let mut client = Command::new(&python);
            client.arg(clients().join("python.py")).args([url, version]);
            check(&json_of(client), version);
        }
    });
}

fn python_over_stdio() {
    let (Some(python), Some(fixture)) = (installed("python/bin/python"), fixture()) else { return };
    let world = World::new();
    for era in ["legacy", "modern"] {
        let upstream = format!("stdio:{} --stdio --era {era}", fixture.display());
        let gateway = world.command(["gateway", "--listen", "stdio:", "--upstream", &upstream]);
        let words: Vec<_> = std::iter::once(gateway.get_program()).chain(gateway.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let mut client = Command::new(&python);
        client.arg(clients().join("python.py")).args([&json!(words).to_string(), "legacy"]);
        check(&json_of(client), "legacy");
    }
}

fn typescript_in_both_eras() {
    let Some(_) = installed("npm/node_modules/@modelcontextprotocol/client") else { return };
    before_each_era(|url| {
        for version in ["legacy", MODERN] {
            check(&json_of(node_script("modern.mjs", &[url, version])), version);
        }
    });
}

fn the_old_typescript_sdk() {
    let Some(_) = installed("npm/node_modules/@modelcontextprotocol/sdk") else { return };
    before_each_era(|url| check(&json_of(node_script("legacy.mjs", &[url])), "legacy"));
}

fn the_inspector_in_both_eras() {
    let launcher = "npm/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let Some(inspector) = installed(launcher) else { return };
    before_each_era(|url| {
        for era in ["legacy", "modern"] {
            let mut client = node();
            client.arg(&inspector).args(["--cli", url, "--transport", "http", "--protocol-era", era]);
            client.args(["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"]);
            assert_eq!(json_of(client)["content"][0]["text"], "hi", "{era}");
        }
    });
}

fn server_everything() {
    let Some(server) = everything() else { return };
    let gateway = Gateway::with_upstream(free_port(), &stdio(&server, "stdio"));
    assert_eq!(Session::open(gateway.port).echo(1, "hi"), Outcome::text("Echo: hi"));
    drop(gateway);
    for (word, place) in [("streamableHttp", "http://127.0.0.1:PORT/mcp"), ("sse", "sse+http://127.0.0.1:PORT/sse")] {
        let port = free_port();
        let mut command = node();
        command.arg(&server).arg(word).env("PORT", port.to_string());
        let _server = Running::start(command);
        eventually("the server listens", || std::net::TcpStream::connect(("localhost", port)).is_ok());
        let gateway = Gateway::with_upstream(free_port(), &place.replace("PORT", &port.to_string()));
        let session = Session::open(gateway.port);
        for number in 0..10 {
            assert_eq!(session.echo(number, "hi"), Outcome::text("Echo: hi"), "{word}");
        }
    }
}

/// The three-process form: a worker that hosts the server, a gateway that finds it, a client; and then a second worker.
fn server_everything_on_the_planes() {
    let Some(server) = everything() else { return };
    let gateway = Gateway::with_upstream(free_port(), "rpc:tools.everything");
    let world = gateway.world();
    let host = || world.serve(&["tools.everything", "--upstream", &stdio(&server, "stdio")]);
    let first = host();
    // The gateway was there before the worker, and looks again after a while.
    eventually("the worker is found", || initialize(gateway.port, &json!({})).json()["result"].is_object());
    let session = Session::open(gateway.port);
    assert_eq!(session.echo(1, "hi"), Outcome::text("Echo: hi"));
    let second = host();
    let hosted = children_of(first.0.id());
    signal(first.0.id(), "KILL");
    // The session is opened anew at the other worker, without its client.
    eventually("calls go on in the session", || session.echo(2, "hi") == Outcome::text("Echo: hi"));
    for number in 3..20 {
        assert_eq!(session.echo(number, "hi"), Outcome::text("Echo: hi"));
        assert_eq!(Session::open(gateway.port).echo(1, "hi"), Outcome::text("Echo: hi"));
    }
    eventually("what it hosted has ended with it", || !hosted.iter().any(|child| is_alive(*child)));
    drop((first, second));
}

/// What a client got from the fixture.
fn check(got: &Value, version: &str) {
    let wanted = if version == "legacy" { "2025-11-25" } else { version };
    assert_eq!(got["version"], wanted, "{got}");
    assert_eq!(got["echo"], "hi", "{got}");
    assert!(got["tools"].as_u64().is_some_and(|tools| tools > 20), "{got}");
    let says = |name: &str, what: &str| got[name].as_str().is_some_and(|text| text.contains(what));
    assert!(says("elicited", "action=accept") && says("elicited", "ada@example.com"), "{got}");
    assert!(
        says("sampled", "as you like") && says("resource", "static text") && says("prompt", "simple prompt"),
        "{got}"
    );
    let numbers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(got["at_once"], json!(numbers), "{got}");
    let progress: Vec<_> = got["progress"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    assert_eq!(progress, [0.0, 50.0, 100.0], "{got}");
}

/// Does `with` to the URL of a gateway before a fixture that knows one era only, for each.
fn before_each_era(with: impl Fn(&str)) {
    let Some(fixture) = fixture() else { return };
    for era in ["legacy", "modern"] {
        let upstream = format!("stdio:{} --stdio --era {era}", fixture.display());
        let gateway = Gateway::with_upstream(free_port(), &upstream);
        with(&format!("http://127.0.0.1:{}/mcp", gateway.port));
    }
}

fn stdio(server: &Path, word: &str) -> String {
    format!("stdio:{} {} {word}", peers().join("npm/node_modules/node/bin/node").display(), server.display())
}

fn everything() -> Option<PathBuf> {
    installed("npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}

fn fixture() -> Option<PathBuf> {
    installed("build/debug/mcp-fixture")
}

fn node() -> Command {
    Command::new(peers().join("npm/node_modules/node/bin/node"))
}

/// A script of ours, which finds its packages where they are installed and not where it is.
fn node_script(name: &str, words: &[&str]) -> Command {
    let mut command = node();
    let script = std::fs::File::open(clients().join(name)).unwrap();
    command.args(["--input-type=module", "-"]).args(words).current_dir(peers().join("npm")).stdin(script);
    command
}

/// The JSON that a program prints.
fn json_of(mut command: Command) -> Value {
    command.env("NO_PROXY", "127.0.0.1,localhost").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = child.id();
    let (ended, has_ended) = std::sync::mpsc::channel::<()>();
    // Whatever hangs is ended, and fails for its output.
    std::thread::spawn(move || {
        if has_ended.recv_timeout(PATIENCE).is_err() {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = ended.send(());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}; {}: {out}\n{err}", output.status))
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/clients")
}

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

/// A file of what was installed. Without it a test cannot be: in CI that is a failure, elsewhere a line.
fn installed(name: &str) -> Option<PathBuf> {
    let path = peers().join(name);
    if path.exists() {
        return path.canonicalize().ok().filter(|_| !name.ends_with("python")).or(Some(path));
    }
    let missing = format!("{name} is not in target/peers, so this stays untested; get it with: cargo xtask peers");
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1"), "{missing}");
    println!("{missing}");
    None
}
