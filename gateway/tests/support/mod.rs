// SPDX-License-Identifier: Apache-2.0
//! A legacy server of a few methods, in this process, and a client that speaks to the gateway.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biplane::{Biplane, Connection, Inbound, Message, PeerError, Request, ResponseSender, Subject};
use biplane_gateway::{Gateway, Running};
use serde_json::{Value, json};

pub(crate) const LOOPBACK: &str = "lines+tcp://127.0.0.1:0";

/// A server with its own listener. Dropping it cuts all its sessions.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) sessions: Arc<AtomicUsize>,
    connections: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
    task: tokio::task::JoinHandle<()>,
    _biplane: Biplane,
}

impl Server {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_at(name, LOOPBACK).await
    }

    pub(crate) async fn start_at(name: &'static str, url: &str) -> Self {
        let biplane = Biplane::builder().build().unwrap();
        let listener = biplane.listen(url).await.unwrap();
        let url = format!("lines+{}", listener.local_address().address);
        let sessions = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (count, all) = (sessions.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Some(connection) = listener.accept().await.unwrap() {
                count.fetch_add(1, Ordering::SeqCst);
                all.lock().unwrap().push(connection.clone());
                serving.spawn(serve(name, connection, count.clone()));
            }
        });
        Self { url, sessions, connections, task, _biplane: biplane }
    }

    /// Sessions that are open.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        for connection in self.connections.lock().unwrap().drain(..) {
            tokio::spawn(async move { connection.close(Duration::ZERO).await });
        }
    }
}

async fn serve(name: &'static str, connection: Arc<dyn Connection>, sessions: Arc<AtomicUsize>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        if let Inbound::Request(request, reply) = inbound {
            tokio::spawn(answer(name, connection.clone(), request, reply));
        }
    }
    sessions.fetch_sub(1, Ordering::SeqCst);
}

async fn answer(name: &'static str, connection: Arc<dyn Connection>, request: Request, reply: ResponseSender) {
    let params: Value = serde_json::from_slice(&request.message.body).unwrap_or_default();
    let result = match request.subject.as_str() {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": true}, "logging": {}, "resources": {"subscribe": true}},
            "serverInfo": {"name": name, "version": "1"},
        }),
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => match params["name"].as_str().unwrap() {
            "echo" => json!({"content": [{"type": "text", "text": params["arguments"]["text"]}]}),
            "ask" => {
                let answer = ask(&connection).await;
                json!({"content": [{"type": "text", "text": answer["model"]}]})
            }
            "changed" => {
                let method = Subject::from_static("notifications/tools/list_changed");
                connection.notify(&method, Message::default()).await.unwrap();
                json!({"content": []})
            }
            "log" => {
                let method = Subject::from_static("notifications/message");
                let params = json!({"level": "info", "data": params["arguments"]["text"]}).to_string();
                connection.notify(&method, Message::new(params)).await.unwrap();
                json!({"content": []})
            }
            "hang" => {
                reply.stopped().await;
                return;
            }
            other => return reply.fail(PeerError::new(-32602, format!("no tool {other}"))),
        },
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" | "ping" => json!({}),
        other => return reply.fail(PeerError::new(-32601, format!("no method {other}"))),
    };
    reply.send(result.to_string()).await.unwrap();
    reply.close();
}

async fn ask(connection: &Arc<dyn Connection>) -> Value {
    let request = Request::new(Subject::from_static("sampling/createMessage"), r#"{"messages":[],"maxTokens":1}"#);
    serde_json::from_slice(&connection.request(request).await.unwrap().body).unwrap()
}

/// A gateway with one listener.
pub(crate) async fn gateway(biplane: &Biplane, upstreams: &[(&str, &str)]) -> (Running, String) {
    let mut gateway = Gateway::builder(biplane).listen(LOOPBACK);
    for (name, url) in upstreams {
        gateway = gateway.upstream(name, url);
    }
    let running = gateway.start().await.unwrap();
    let url = format!("lines+{}", running.listeners()[0].address);
    (running, url)
}

/// A legacy client.
pub(crate) struct Client(pub(crate) Arc<dyn Connection>);

impl Client {
    pub(crate) async fn connect(biplane: &Biplane, url: &str, capabilities: Value) -> Self {
        let client = Self(biplane.connect(url).await.unwrap());
        let params = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        });
        client.request("initialize", params).await.unwrap();
        client.0.notify(&Subject::from_static("notifications/initialized"), Message::default()).await.unwrap();
        client
    }

    pub(crate) async fn request(&self, method: &'static str, params: Value) -> biplane::Result<Value> {
        let request = Request::new(Subject::from_static(method), params.to_string());
        let result = self.0.request(request.with_timeout(Duration::from_secs(20))).await?;
        Ok(serde_json::from_slice(&result.body).unwrap())
    }

    pub(crate) async fn call(&self, tool: &str, text: &str) -> biplane::Result<Value> {
        self.request("tools/call", json!({"name": tool, "arguments": {"text": text}})).await
    }

    pub(crate) async fn echo(&self, text: &str) -> biplane::Result<()> {
        let result = self.call("echo", text).await?;
        assert_eq!(result["content"][0]["text"], text);
        Ok(())
    }
}
