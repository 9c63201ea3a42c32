// SPDX-License-Identifier: Apache-2.0
//! `gateway` and `serve --upstream` as processes: a server of a shell script, workers that are killed, signals, reload.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use biplane::{Biplane, Connection};
use serde_json::{Value, json};
use support::{Running, World, eventually};

/// A legacy server of one tool, which says which process it is.
const SERVER: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) r='"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"tools/call"'*) r="\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$$\"}]}" ;;
    *'"tools/list"'*) r='"result":{"tools":[{"name":"who","inputSchema":{"type":"object"}}]}' ;;
    *) r='"error":{"code":-32601,"message":"no such method"}' ;;
  esac
  [ -n "$id" ] && printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$r"
done
"#;

fn script(world: &World) -> PathBuf {
    let path = world.directory().join("server.sh");
    std::fs::write(&path, SERVER).unwrap();
    path
}

fn upstream(world: &World) -> String {
    format!("stdio:sh {}", script(world).display())
}

/// Starts a gateway and waits until it says where it listens.
fn gateway(world: &World, arguments: &[&str]) -> (Running, String) {
    let arguments: Vec<&str> =
        ["gateway", "--listen", "http://127.0.0.1:0/mcp"].iter().chain(arguments).copied().collect();
    let running = world.start_with(&arguments, &[]);
    running.wait_for("\n  try ");
    let said = running.said("\n  listening  ", "\n");
    (running, said)
}

/// A client in a process of its own would see no more than this one.
struct Client {
    tokio: tokio::runtime::Runtime,
    connection: Arc<dyn Connection>,
}

impl Client {
    fn new(url: &str) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connection = tokio.block_on(async {
            let server = Biplane::builder().build().unwrap().connect(url).await.unwrap();
            let client = json!({"name": "test", "version": "1"});
            let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
            let _: Value = server.request_json("initialize", hello).await.unwrap();
            server.notify_json("notifications/initialized", json!({})).await.unwrap();
            server
        });
        Self { tokio, connection }
    }

    /// The process that answered, or what went wrong.
    fn who(&self) -> Result<u32, biplane::Error> {
        let call = json!({"name": "who", "arguments": {}});
        let answer: Value = self.tokio.block_on(self.connection.request_json("tools/call", call))?;
        Ok(answer["content"][0]["text"].as_str().unwrap().parse().unwrap())
    }

    fn tools(&self) -> Vec<String> {
        let listed: Value = self.tokio.block_on(self.connection.request_json("tools/list", json!({}))).unwrap();
        listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_worker_is_killed_and_calls_go_on() {
    let world = World::new();
    let first = world.serve(&["tools.calc", "--upstream", &upstream(&world)]);
    let (_gateway, url) = gateway(&world, &["--upstream", "rpc:tools.calc"]);
    let client = Client::new(&url);
    let served_by = client.who().unwrap();
    let second = world.serve(&["tools.calc", "--upstream", &upstream(&world)]);
    assert_eq!(world.services().len(), 2);
    first.kill_9();
    // One call may be under way when the worker dies, or meet a link whose end is not known yet: it fails, typed. Then calls
    // go on, in the same session.
    eventually("calls go on", || client.who().is_ok_and(|who| who != served_by));
    for _ in 0..10 {
        assert_ne!(client.who().unwrap(), served_by);
    }
    drop(second);
}

#[test]
fn a_signal_drains_and_leaves_no_child() {
    let world = World::new();
    let (gateway, url) = gateway(&world, &["--upstream", &upstream(&world)]);
    let client = Client::new(&url);
    let child = client.who().unwrap();
    gateway.signal("TERM");
    let ended = gateway.finish();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    eventually("the child ends", || !std::path::Path::new(&format!("/proc/{child}")).exists());
    assert!(ended.out.is_empty(), "standard output belongs to clients: {ended:?}");
}

#[test]
fn another_file_is_taken_without_a_restart() {
    let world = World::new();
    let file = world.directory().join("gateway.toml");
    let one = format!("[[gateway.upstream]]\nname = 'one'\nurl = '{}'\n", upstream(&world));
    std::fs::write(&file, &one).unwrap();
    let (gateway, url) = gateway(&world, &["--config", file.to_str().unwrap()]);
    let before = Client::new(&url);
    let child = before.who().unwrap();

    std::fs::write(&file, "[gateway]\nlisten = 7\n").unwrap();
    gateway.signal("HUP");
    gateway.wait_for("what held before still holds");
    assert_eq!(before.who().unwrap(), child);

    std::fs::write(&file, format!("{one}[[gateway.upstream]]\nname = 'two'\nurl = '{}'\n", upstream(&world))).unwrap();
    gateway.signal("HUP");
    gateway.wait_for("configuration: ");
    assert_eq!(before.who().unwrap(), child, "a session that the change does not concern goes on");
    eventually("both are there", || Client::new(&url).tools() == ["one_who", "two_who"]);
}

#[test]
fn a_local_client_takes_the_gateway_along() {
    let world = World::new();
    let mut command = world.command(["gateway", "--listen", "stdio:", "--upstream", &upstream(&world)]);
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    // At once, as a client that knows what it wants may: what follows `initialize` waits for it.
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "who", "arguments": {}}});
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    write!(input, "{hello}\n{call}\n").unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        output.read_line(&mut said).unwrap();
    }
    assert!(said.contains("protocolVersion") && said.contains("content"), "{said}");
    drop(input);
    output.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for line in said.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0", "nothing but messages: {line}");
    }
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let world = World::new();
    for (arguments, variables, part) in [
        (&["gateway"][..], &[][..], "--upstream"),
        (&["gateway", "--upstream", "stdio:x"], &[("MCP_TRANSPORT", "tls")][..], "MCP_TRANSPORT"),
        (&["gateway", "--upstream", "stdio:x", "--listen", "http://0.0.0.0:0/mcp"], &[], "is refused"),
        (&["gateway", "--upstream", "a=stdio:x", "--upstream", "a=stdio:y"], &[], "two upstreams"),
        (&["serve", "a.b.c.d", "--upstream", "stdio:x"], &[], "service name"),
    ] {
        let ended = world.run_with(arguments, variables);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(part), "{arguments:?}: {ended:?}");
    }
}
