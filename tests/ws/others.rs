// SPDX-License-Identifier: Apache-2.0
//! Peers that others wrote: Node's own client against our listener, Python's `websockets` against our dialler. Where they
//! are not installed, a line says so.

use std::process::Stdio;

use biplane::{Request, Subject};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::world::{echo, plain, within};

const NODE: &str = r#"
const socket = new WebSocket(process.argv[1], ["mcp"]);
const text = "x".repeat(300000) + "é";
socket.onopen = () => socket.send(JSON.stringify({ jsonrpc: "2.0", id: "a", method: "echo", params: { text } }));
socket.onmessage = (event) => {
    const answer = JSON.parse(event.data);
    console.log(socket.protocol, answer.id, answer.result.text === text);
    socket.close(1000);
};
socket.onclose = (event) => { console.log(event.code, event.wasClean); };
socket.onerror = (event) => { console.log("error", event.message); };
"#;

#[tokio::test]
async fn the_client_of_node() {
    let node = std::env::var("BIPLANE_NODE").unwrap_or_else(|_| "node".to_owned());
    let has_it = ["-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"];
    if !Command::new(&node).args(has_it).status().await.is_ok_and(|status| status.success()) {
        return println!("skipped: {node} is not there or older than Node 22; BIPLANE_NODE names another");
    }
    let server = plain();
    let url = echo(&server, "ws://127.0.0.1:0/mcp").await;
    let output = within(Command::new(&node).args(["-e", NODE, &url]).output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mcp a true\n1000 true\n", "{output:?}");
}

const PYTHON: &str = r#"
import asyncio, json, websockets
async def serve(socket):
    async for text in socket:
        call = json.loads(text)
        await socket.ping()
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": call["params"]}))
async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["mcp"], max_size=2**24) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"#;

#[tokio::test]
async fn the_server_of_python() {
    let python = std::env::var("BIPLANE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut import = Command::new(&python);
    import.args(["-c", "import websockets"]).stderr(Stdio::null());
    if !import.status().await.is_ok_and(|status| status.success()) {
        return println!("skipped: {python} has no package websockets (apt-get install python3-websockets)");
    }
    let mut server =
        Command::new(&python).args(["-c", PYTHON]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = within(lines.next_line()).await.unwrap().unwrap();
    let connection = within(plain().connect(&format!("ws://127.0.0.1:{port}/"))).await.unwrap();
    for size in [1, 100, 70_000, 3_000_000] {
        // As Python writes it.
        let params = format!("{{\"text\": \"{}\"}}", "x".repeat(size));
        let request = Request::new(Subject::from_static("echo"), params.clone());
        assert!(within(connection.request(request)).await.unwrap().body == params.as_bytes(), "{size}");
    }
    within(connection.close(std::time::Duration::from_secs(5))).await.unwrap();
    server.kill().await.unwrap();
}
