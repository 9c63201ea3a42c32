// SPDX-License-Identifier: Apache-2.0
//! The server: MCP on standard input and output, of the legacy era unless asked for both, with tools for everything that a server should not do.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// How it misbehaves from the start.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// Never answers `initialize`.
    mute: bool,
    /// Fills standard error as fast as it is read.
    floods: bool,
    /// Speaks the modern era too.
    dual: bool,
}

pub(crate) fn run(words: &[String]) -> ExitCode {
    let has = |word: &str| words.iter().any(|one| one == word);
    let manners = Manners { mute: has("mute"), floods: has("floods"), dual: has("dual") };
    // Each start leaves a mark, so that a test can count them.
    if let Some(path) = words.iter().find_map(|word| word.strip_prefix("marks=")) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(b"."));
    }
    if manners.floods {
        std::thread::spawn(flood);
    }
    let server = Arc::new(Server { manners, output: Mutex::new(()) });
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        // Each in its own time: a server answers in the order in which it is done.
        let server = server.clone();
        let task = move || server.take(&message);
        std::thread::Builder::new().stack_size(128 * 1024).spawn(task).map(drop).unwrap_or_default();
    }
    ExitCode::SUCCESS
}

struct Server {
    manners: Manners,
    output: Mutex<()>,
}

impl Server {
    fn take(&self, message: &Value) {
        let (Some(method), Some(id)) = (message["method"].as_str(), message.get("id")) else { return };
        let params = &message["params"];
        let outcome = match method {
            "initialize" if self.manners.mute => return,
            "initialize" => Ok(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "mcp-child", "version": "1"},
            })),
            "server/discover" if self.manners.dual => Ok(json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28", "2025-11-25"],
                "capabilities": {"tools": {}},
                "ttlMs": 0,
                "cacheScope": "private",
            })),
            "ping" => Ok(json!({})),
            "tools/list" => {
                Ok(json!({"tools": TOOLS.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}))}))
            }
            "tools/call" => self.call(params),
            _ => Err((-32601, "Method not found")),
        };
        let answer = match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err((code, message)) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}),
        };
        let _whole = self.output.lock().unwrap();
        let mut output = std::io::stdout().lock();
        // Whoever does not want the answer has gone.
        let _ = writeln!(output, "{answer}").and_then(|()| output.flush());
    }

    fn call(&self, params: &Value) -> Result<Value, (i64, &'static str)> {
        let arguments = &params["arguments"];
        let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
        let text = match params["name"].as_str().unwrap_or_default() {
            "echo" => arguments["message"].as_str().unwrap_or_default().to_owned(),
            // Only now: what came later may be answered sooner.
            "slow" => {
                std::thread::sleep(Duration::from_millis(number("ms")));
                arguments["message"].as_str().unwrap_or_default().to_owned()
            }
            "never" => loop {
                std::thread::park();
            },
            "pid" => std::process::id().to_string(),
            "large" => "x".repeat(usize::try_from(number("bytes")).unwrap_or_default()),
            "crash" => std::process::exit(3),
            // Nobody's child any more once we are gone, unless the group is ended.
            "fork" => Command::new("sleep").arg("3600").spawn().map_err(|_| (-32603, "no sleep"))?.id().to_string(),
            _ => return Err((-32602, "there is no such tool")),
        };
        Ok(json!({"content": [{"type": "text", "text": text}]}))
    }
}

const TOOLS: [&str; 7] = ["echo", "slow", "never", "pid", "large", "crash", "fork"];

fn flood() {
    let line = [b'e'; 1023];
    let mut error = std::io::stderr().lock();
    while error.write_all(&line).and_then(|()| error.write_all(b"\n")).is_ok() {}
}
