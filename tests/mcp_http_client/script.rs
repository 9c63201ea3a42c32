// SPDX-License-Identifier: Apache-2.0
//! A server by script: it reads HTTP/1.1 requests, keeps them, and writes what a function of the request says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biplane::{Biplane, Connection, Event, Inbound, Message, Request, Result, Subject};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this does not end")
}

/// What a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) http: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The JSON-RPC method; of anything else the method of HTTP.
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or(&self.http)
    }

    /// A response with a result.
    pub(crate) fn result(&self, result: Value) -> Act {
        Act::json(200, &json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result}))
    }

    /// A response with an error.
    pub(crate) fn error(&self, status: u16, code: i64, data: Value) -> Act {
        let error = json!({"code": code, "message": "scripted", "data": data});
        Act::json(status, &json!({"jsonrpc": "2.0", "id": self.body["id"], "error": error}))
    }
}

/// What the server does.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    bytes: String,
    after: After,
}

#[derive(Clone, Copy, Debug)]
enum After {
    /// Takes the next request on the same link.
    Next,
    /// Ends the chunked body, takes the next.
    LastChunk,
    /// Closes in mid-answer.
    Close,
    /// Keeps the link open, and the answer.
    Hang,
}

impl Act {
    pub(crate) fn status(status: u16) -> Self {
        Self { bytes: format!("HTTP/1.1 {status} scripted\r\ncontent-length: 0\r\n\r\n"), after: After::Next }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", &body.to_string())
    }

    pub(crate) fn whole(status: u16, kind: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status} scripted\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        Self { bytes: format!("{head}\r\n{body}"), after: After::Next }
    }

    /// A stream of events, which ends.
    pub(crate) fn events(events: &[&str]) -> Self {
        let mut bytes =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for event in events.iter().filter(|event| !event.is_empty()) {
            bytes.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
        }
        Self { bytes, after: After::LastChunk }
    }

    /// The same, and the link is cut.
    pub(crate) fn cut(self) -> Self {
        Self { after: After::Close, ..self }
    }

    /// The same, and nothing more comes.
    pub(crate) fn hang(self) -> Self {
        Self { after: After::Hang, ..self }
    }

    /// Adds a header.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        Self { bytes: self.bytes.replacen("\r\n", &format!("\r\n{name}: {value}\r\n"), 1), ..self }
    }
}

type Script = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (told, count) = watch::channel(0);
        let (told, kept, script): (_, _, Script) = (Arc::new(told), asked.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), kept.clone(), told.clone()));
            }
        });
        Self { address, asked, count, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(crate) async fn connect(&self) -> Result<Arc<dyn Connection>> {
        soon(biplane().connect(&self.url())).await
    }

    /// Everything that was asked, up to now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The first that was asked with this method, once it is there.
    pub(crate) async fn seen(&self, method: &str) -> Asked {
        self.nth(method, 0).await
    }

    pub(crate) async fn nth(&self, method: &str, n: usize) -> Asked {
        let mut count = self.count.clone();
        soon(async {
            loop {
                let found = self.asked().into_iter().filter(|asked| asked.method() == method).nth(n);
                match found {
                    Some(asked) => return asked,
                    None => count.changed().await.unwrap(),
                }
            }
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, script: Script, kept: Arc<Mutex<Vec<Asked>>>, told: Arc<watch::Sender<usize>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await {
        kept.lock().unwrap().push(asked.clone());
        told.send_modify(|count| *count += 1);
        let act = script(&asked);
        if stream.write_all(act.bytes.as_bytes()).await.is_err() {
            return;
        }
        match act.after {
            After::Next => {}
            After::LastChunk => drop(stream.write_all(b"0\r\n\r\n").await),
            After::Close => return,
            // Until the client goes.
            After::Hang => drop(stream.read_u8().await),
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (http, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { http, path, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

pub(crate) fn biplane() -> Biplane {
    Biplane::builder().build().unwrap()
}

/// A legacy server with sessions: `rest` answers what is no handshake.
pub(crate) fn legacy(rest: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| match asked.method() {
        "server/discover" => asked.error(400, -32000, Value::Null),
        "initialize" => asked
            .result(json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s"}}))
            .with("mcp-session-id", "session-1"),
        "notifications/initialized" | "notifications/cancelled" => Act::status(202),
        "DELETE" => Act::status(200),
        _ => rest(asked),
    }
}

/// A modern server.
pub(crate) fn modern(rest: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| match asked.method() {
        "server/discover" => asked.result(json!({"supportedVersions": ["2026-07-28"], "capabilities": {}})),
        _ => rest(asked),
    }
}

/// One event with a message in it.
pub(crate) fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

pub(crate) fn request(method: &'static str, params: &Value) -> Request {
    Request::new(Subject::from_static(method), params.to_string())
}

/// The params of a modern request.
pub(crate) fn described(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}

/// A legacy session, opened.
pub(crate) async fn session(server: &Server) -> Arc<dyn Connection> {
    let connection = server.connect().await.unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t"}});
    soon(connection.request(request("initialize", &params))).await.unwrap();
    let initialized = Subject::from_static("notifications/initialized");
    soon(connection.notify(&initialized, Message::default())).await.unwrap();
    connection
}

pub(crate) fn parsed(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

/// The method and params of a notification.
pub(crate) fn notification(event: Event) -> (String, Value) {
    match event {
        Event::Inbound(Inbound::Notification(method, message)) => (method.to_string(), parsed(&message)),
        other => panic!("{other:?}"),
    }
}
