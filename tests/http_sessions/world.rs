// SPDX-License-Identifier: Apache-2.0
//! A listener, and a server behind it that does what its method says.

use std::net::SocketAddr;
use std::sync::Arc;

use biplane::io::admission::{Admission, Gate};
use biplane::runtime::Builder;
use biplane::transport::http::ListenSettings;
use biplane::{Biplane, Connection, Inbound, Listener, PeerError, Request, ResponseSender, Subject};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{ACCEPT, JSON, Link, Response};

/// A listener at work.
pub(crate) struct World {
    pub(crate) biplane: Biplane,
    pub(crate) gate: Arc<Gate>,
    pub(crate) address: SocketAddr,
    pub(crate) listener: Arc<dyn Listener>,
    /// What the server saw: notifications, and requests that were stopped.
    seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    task: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, Admission::default()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ListenSettings), admission: Admission) -> Self {
        Self::at("http://127.0.0.1:0/mcp", change, admission).await
    }

    pub(crate) async fn at(url: &str, change: impl FnOnce(&mut ListenSettings), admission: Admission) -> Self {
        Self::on(Biplane::builder(), url, change, admission).await
    }

    pub(crate) async fn on(
        runtime: Builder,
        url: &str,
        change: impl FnOnce(&mut ListenSettings),
        admission: Admission,
    ) -> Self {
        let config = Biplane::builder().build().unwrap().config().clone();
        let mut settings = ListenSettings::new(&config);
        change(&mut settings);
        let gate = Arc::new(Gate::new(admission));
        let biplane = runtime.share(Arc::new(settings)).share(gate.clone()).build().unwrap();
        let listener: Arc<dyn Listener> = biplane.listen(url).await.unwrap().into();
        let local = listener.local_address().address;
        let authority = local.split("://").nth(1).unwrap().split('/').next().unwrap();
        let address = authority.parse().unwrap();
        let (send, seen) = mpsc::unbounded_channel();
        let accepting = listener.clone();
        let task = tokio::spawn(async move {
            while let Ok(Some(connection)) = accepting.accept().await {
                tokio::spawn(serve(connection, send.clone()));
            }
        });
        Self { biplane, gate, address, listener, seen: seen.into(), task }
    }

    /// Posts to the endpoint.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = [&[ACCEPT, JSON], headers].concat();
        Link::open(self.address).await.send("POST", "/mcp", &headers, body).await
    }

    pub(crate) async fn request(&self, method: &str, headers: &[(&str, &str)]) -> Response {
        Link::open(self.address).await.send(method, "/mcp", headers, "").await
    }

    /// Opens a session of a revision.
    pub(crate) async fn session(&self, revision: &str) -> String {
        let params = format!(r#"{{"protocolVersion":"{revision}","capabilities":{{}}}}"#);
        let initialize = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
        let response = self.post(&[], &initialize).await;
        assert_eq!(response.status, 200);
        let session = response.header("mcp-session-id").unwrap().to_owned();
        let result = response.json().await;
        assert_eq!(result["result"]["protocolVersion"], *revision);
        session
    }

    /// Posts to a session of 2025-11-25.
    pub(crate) async fn within(&self, session: &str, body: &str) -> Response {
        self.post(&[("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25")], body).await
    }

    /// What the server saw next.
    pub(crate) async fn saw(&self) -> String {
        self.seen.lock().await.recv().await.unwrap()
    }
}

/// The text of a request.
pub(crate) fn call(id: impl std::fmt::Display, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

async fn serve(connection: Arc<dyn Connection>, seen: mpsc::UnboundedSender<String>) {
    let asker = connection.clone();
    while let Ok(Some(inbound)) = connection.receive().await {
        match inbound {
            Inbound::Notification(method, message) => {
                let _ = seen.send(format!("{method} {}", message.text().unwrap()));
            }
            Inbound::Request(request, reply) => {
                tokio::spawn(answer(asker.clone(), request, reply, seen.clone()));
            }
        }
    }
    let _ = seen.send("closed".to_owned());
}

async fn answer(
    connection: Arc<dyn Connection>,
    request: Request,
    reply: ResponseSender,
    seen: mpsc::UnboundedSender<String>,
) {
    let progress = |n: u32| {
        Inbound::Notification(Subject::from_static("notifications/progress"), format!(r#"{{"n":{n}}}"#).into())
    };
    let done = match request.subject.as_str() {
        "initialize" => {
            let params: serde_json::Value = serde_json::from_slice(&request.message.body).unwrap();
            let version = params["protocolVersion"].as_str().unwrap_or("2025-03-26");
            reply.send(format!(r#"{{"protocolVersion":"{version}"}}"#)).await
        }
        // Says what came, as it came.
        "echo" | "tools/call" | "tools/list" | "resources/read" => {
            let headers: Vec<_> = request
                .message
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={}", value.escape_ascii()))
                .collect();
            let body = request.message.text().unwrap().to_owned();
            let body = if body.is_empty() { "null".to_owned() } else { body };
            reply.send(format!(r#"{{"params":{body},"headers":"{}"}}"#, headers.join(";"))).await
        }
        "in-lines" => reply.send("{\n\"a\":\r\n1\n}").await,
        "progress" => {
            reply.send_inbound(progress(1)).await.unwrap();
            reply.send_inbound(progress(2)).await.unwrap();
            reply.send("{}").await
        }
        // Says one thing, then waits until it is told to go on.
        "wait" => {
            reply.send_inbound(progress(1)).await.unwrap();
            let _ = seen.send("waiting".to_owned());
            reply.stopped().await;
            let _ = seen.send("stopped".to_owned());
            Ok(())
        }
        "slow" => {
            let _ = seen.send("waiting".to_owned());
            reply.stopped().await;
            let _ = seen.send("stopped".to_owned());
            Ok(())
        }
        // Asks the client, and answers what it said.
        "ask" => {
            let (answer, mut said) = biplane::stream::pipe(1000, 1000);
            let question = Request::new(Subject::from_static("sampling/createMessage"), "{}");
            reply.send_inbound(Inbound::Request(question, answer)).await.unwrap();
            match said.next().await {
                Some(Ok(said)) => reply.send(said).await,
                other => panic!("{other:?}"),
            }
        }
        // Asks by the session's connection.
        "ask-unasked" => {
            let question = Request::new(Subject::from_static("roots/list"), "");
            match connection.request(question).await {
                Ok(said) => reply.send(said).await,
                Err(error) => return reply.fail(error),
            }
        }
        "tell" => {
            connection.notify(&Subject::from_static("notifications/message"), "{\"n\":1}".into()).await.unwrap();
            reply.send("{}").await
        }
        "subscriptions/listen" => {
            let acknowledged = Subject::from_static("notifications/subscriptions/acknowledged");
            reply.send_inbound(Inbound::Notification(acknowledged, "{}".into())).await.unwrap();
            reply.stopped().await;
            let _ = seen.send("stopped".to_owned());
            Ok(())
        }
        "capability" => return reply.fail(PeerError::new(-32021, "sampling is needed")),
        "close" => {
            let sent = reply.send("{}").await;
            reply.close();
            sent.unwrap();
            connection.close(std::time::Duration::ZERO).await.unwrap();
            return;
        }
        other => return reply.fail(PeerError::new(-32601, format!("no method {other}"))),
    };
    let _ = done;
    reply.close();
}
