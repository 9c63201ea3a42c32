// SPDX-License-Identifier: Apache-2.0
//! The client of the library, in either era: against a script, and against real servers of the npm registry where there is
//! Node.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biplane::mcp::{Client, Era, Identity};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::script::*;

#[tokio::test]
async fn a_legacy_server_gets_a_session_and_its_questions_answered() {
    let server = Server::start(legacy(|asked| match asked.method() {
        "GET" => Act::events(&[&event(&json!({"jsonrpc": "2.0", "id": 5, "method": "ping"}))]).hang(),
        "POST" => Act::status(202),
        _ => {
            let question =
                json!({"jsonrpc": "2.0", "id": 6, "method": "elicitation/create", "params": {"message": "?"}});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}});
            let answer = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"done": true}});
            Act::events(&[&event(&log), &event(&question), &event(&answer)])
        }
    }))
    .await;
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hearing = heard.clone();
    let identity = Identity::new("test", "1")
        .answering(json!({"elicitation": {}}), |method, params| Ok(json!({"to": method, "of": params["message"]})))
        .hearing(move |method, _| hearing.lock().unwrap().push(method.to_owned()));
    let client = soon(Client::over(server.connect().await.unwrap(), identity)).await.unwrap();
    assert_eq!((client.server().era, client.server().version.as_str()), (Era::Legacy, "2025-11-25"));
    let initialize = server.seen("initialize").await;
    assert_eq!(initialize.body["params"]["capabilities"], json!({"elicitation": {}}));
    let result = soon(client.request_json("tools/call", &json!({"name": "t"}))).await.unwrap();
    assert_eq!(result, json!({"done": true}));
    assert_eq!(*heard.lock().unwrap(), ["notifications/message"]);
    let mut answers = [server.nth("POST", 0).await.body, server.nth("POST", 1).await.body];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers[0]["result"], json!({}), "a ping is answered by itself");
    assert_eq!(answers[1]["result"], json!({"to": "elicitation/create", "of": "?"}));
}

#[tokio::test]
async fn a_modern_server_gets_what_it_requires_and_its_rounds() {
    let server = Server::start(modern(|asked| match asked.body["params"]["inputResponses"]["a"].as_object() {
        None => asked.result(json!({"resultType": "input_required", "requestState": "opaque",
            "inputRequests": {"a": {"method": "elicitation/create", "params": {"message": "?"}}}})),
        Some(_) => asked.result(json!({"resultType": "complete", "state": asked.body["params"]["requestState"]})),
    }))
    .await;
    let identity =
        Identity::new("test", "1").answering(json!({"elicitation": {}}), |_, _| Ok(json!({"action": "accept"})));
    let client = soon(Client::over(server.connect().await.unwrap(), identity)).await.unwrap();
    assert_eq!((client.server().era, client.server().version.as_str()), (Era::Modern, "2026-07-28"));
    let result = soon(client.request_json("tools/call", &json!({"name": "t", "_meta": {"own": 1}}))).await.unwrap();
    assert_eq!(result, json!({"resultType": "complete", "state": "opaque"}));
    let (first, second) = (server.nth("tools/call", 0).await, server.nth("tools/call", 1).await);
    assert_ne!(first.body["id"], second.body["id"]);
    for asked in [first, second] {
        let meta = &asked.body["params"]["_meta"];
        assert_eq!(meta["own"], 1);
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "test");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"elicitation": {}}));
    }
}

const SERVER: &str = "@modelcontextprotocol/server-everything@2026.8.31";

/// Where the server is installed, once for all runs; `None` without Node or a registry, which is said aloud.
async fn installed() -> Option<PathBuf> {
    static ONCE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _once = ONCE.lock().await;
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm/server-everything");
    let entry = cache.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    if !entry.exists() {
        std::fs::create_dir_all(&cache).ok()?;
        let npm = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix", "."])
            .arg(SERVER)
            .current_dir(&cache)
            .stdin(Stdio::null())
            .status();
        let outcome = tokio::time::timeout(Duration::from_secs(120), npm).await;
        if !matches!(outcome, Ok(Ok(status)) if status.success()) {
            eprintln!("skipped: npm does not install {SERVER} here");
            return None;
        }
    }
    Some(entry)
}

/// A server of the real kind, at work.
async fn everything(kind: &str) -> Option<(Child, std::net::SocketAddr)> {
    let entry = installed().await?;
    let free = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
    let child = Command::new("node")
        .arg(entry)
        .arg(kind)
        .env("PORT", free.port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let up = async {
        while tokio::net::TcpStream::connect(free).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(up).await;
    Some((child, free))
}

async fn uses(url: &str, transport: &str) {
    let client = soon(Client::connect(&biplane(), url)).await.unwrap();
    assert_eq!((client.connection().info().transport.as_str(), client.server().era), (transport, Era::Legacy));
    let listed = soon(client.request_json("tools/list", &json!({}))).await.unwrap();
    assert!(listed["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "echo"));
    let echo = |n: usize| {
        let call = json!({"name": "echo", "arguments": {"message": n.to_string()}});
        let client = &client;
        async move {
            client.request_json("tools/call", &call).await.map(|answer: Value| answer["content"][0]["text"].clone())
        }
    };
    let answers = soon(futures_util::future::join_all((0..20).map(echo))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("Echo: {n}"));
    }
    let error = soon(client.request_json("no/such/method", &json!({}))).await.unwrap_err();
    assert_eq!(error.peer().unwrap().code, -32601);
    soon(client.close(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test]
async fn server_everything_over_streamable_http() {
    let Some((_server, address)) = everything("streamableHttp").await else { return };
    uses(&format!("http://{address}/mcp"), "http").await;
}

#[tokio::test]
async fn server_everything_over_the_older_transport() {
    let Some((_server, address)) = everything("sse").await else { return };
    uses(&format!("http://{address}/sse"), "sse").await;
}
