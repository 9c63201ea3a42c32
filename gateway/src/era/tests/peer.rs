// SPDX-License-Identifier: Apache-2.0
//! Two ends for the bridge to stand between: a scripted server, and a client that reads its answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use biplane::capability::TransportCapabilities;
use biplane::stream::pipe;
use biplane::{
    Connection, ConnectionInfo, Error, Event, Inbound, Message, PeerError, Request, ResponseSender, ResponseStream,
    Result, Subject,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

/// What a call came to: the result, or code and message of the error.
pub(crate) type Outcome = std::result::Result<Value, (i64, String)>;

type Script = Box<dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A server by script.
pub(crate) struct Peer {
    info: ConnectionInfo,
    script: Script,
    asked: Mutex<Vec<(String, Value)>>,
    notified: Mutex<Vec<(String, Value)>>,
    changed: Arc<Notify>,
    running: Arc<AtomicUsize>,
    unasked: Mutex<Option<mpsc::UnboundedSender<Inbound>>>,
    inbox: tokio::sync::Mutex<mpsc::UnboundedReceiver<Inbound>>,
}

/// One request to a server.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) params: Value,
    pub(crate) reply: ResponseSender,
}

impl Peer {
    pub(crate) fn new<Body>(script: impl Fn(Call) -> Body + Send + Sync + 'static) -> Arc<Self>
    where
        Body: Future<Output = ()> + Send + 'static,
    {
        let (unasked, inbox) = mpsc::unbounded_channel();
        Arc::new(Self {
            info: ConnectionInfo::new("script", "a scripted peer", TransportCapabilities::UNARY),
            script: Box::new(move |call| Box::pin(script(call))),
            asked: Mutex::default(),
            notified: Mutex::default(),
            changed: Arc::new(Notify::new()),
            running: Arc::default(),
            unasked: Mutex::new(Some(unasked)),
            inbox: tokio::sync::Mutex::new(inbox),
        })
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().clone()
    }

    pub(crate) fn asked_for(&self, method: &str) -> Vec<Value> {
        self.asked().into_iter().filter(|(asked, _)| asked == method).map(|(_, params)| params).collect()
    }

    /// Waits until there were `count` requests for `method`.
    pub(crate) async fn saw(&self, method: &str, count: usize) -> Vec<Value> {
        loop {
            let changed = self.changed.notified();
            let seen = self.asked_for(method);
            if seen.len() >= count {
                return seen;
            }
            changed.await;
        }
    }

    /// Waits until no request is being worked on.
    pub(crate) async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn notified(&self) -> Vec<String> {
        self.notified.lock().iter().map(|(method, _)| method.clone()).collect()
    }

    /// Says something unasked.
    pub(crate) fn tell(&self, method: &'static str, params: &Value) {
        self.send(Inbound::Notification(Subject::from_static(method), body(params)));
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&self) {
        drop(self.unasked.lock().take());
    }

    fn send(&self, inbound: Inbound) {
        drop(self.unasked.lock().as_ref().unwrap().send(inbound));
    }

    /// Asks something outside of any call, as a server on one byte stream has to.
    pub(crate) async fn ask(&self, method: &'static str, params: &Value) -> Outcome {
        let (reply, answer) = pipe(1 << 20, 1 << 20);
        self.send(Inbound::Request(Request::new(Subject::from_static(method), body(params)), reply));
        outcome(answer).await
    }
}

struct Running(Arc<AtomicUsize>, Arc<Notify>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        self.1.notify_waiters();
    }
}

impl Call {
    pub(crate) async fn give(self, result: Value) {
        drop(self.reply.send(body(&result)).await);
        self.reply.close();
    }

    pub(crate) fn fail(self, code: i64, message: &str, data: &Value) {
        self.reply.fail(PeerError::new(code, message).with_data(data.to_string()));
    }

    pub(crate) async fn tell(&self, method: &'static str, params: &Value) {
        drop(self.reply.send_inbound(Inbound::Notification(Subject::from_static(method), body(params))).await);
    }

    /// Asks on the call's own stream.
    pub(crate) async fn ask(&self, method: &'static str, params: &Value) -> Outcome {
        outcome(self.put(method, params).await).await
    }

    pub(crate) async fn put(&self, method: &'static str, params: &Value) -> ResponseStream {
        let (reply, answer) = pipe(1 << 20, 1 << 20);
        let request = Request::new(Subject::from_static(method), body(params));
        drop(self.reply.send_inbound(Inbound::Request(request, reply)).await);
        answer
    }
}

pub(crate) async fn outcome(mut answer: ResponseStream) -> Outcome {
    match answer.next().await {
        Some(Ok(message)) => Ok(value(&message)),
        Some(Err(error)) => Err(failure(&error)),
        None => Err((0, "no item".to_owned())),
    }
}

fn failure(error: &Error) -> (i64, String) {
    let peer = PeerError::from(error);
    (peer.code, peer.message)
}

fn value(message: &Message) -> Value {
    match message.body.is_empty() {
        true => json!({}),
        false => serde_json::from_slice(&message.body).unwrap(),
    }
}

fn body(value: &Value) -> Message {
    Message::new(value.to_string())
}

#[async_trait]
impl Connection for Peer {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let (reply, answer) = pipe(1 << 20, 1 << 20);
        let (method, params) = (request.subject.to_string(), value(&request.message));
        self.asked.lock().push((method.clone(), params.clone()));
        self.changed.notify_waiters();
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.running.clone(), self.changed.clone());
        let script = (self.script)(Call { method, params, reply });
        tokio::spawn(async move {
            let _running = running;
            script.await;
        });
        Ok(answer)
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.notified.lock().push((subject.to_string(), value(&message)));
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(self.inbox.lock().await.recv().await)
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer")
    }
}

/// What a client saw of one call.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) told: Vec<(String, Value)>,
    /// What the server asked during the call.
    pub(crate) questions: Vec<(String, Value)>,
}

impl Seen {
    pub(crate) fn result(&self) -> &Value {
        self.outcome.as_ref().unwrap()
    }

    pub(crate) fn code(&self) -> i64 {
        self.outcome.as_ref().unwrap_err().0
    }

    pub(crate) fn told(&self) -> Vec<&str> {
        self.told.iter().map(|(method, _)| method.as_str()).collect()
    }
}

/// Calls, and answers the server's questions with `answers`, in any order.
pub(crate) async fn call(
    connection: &Arc<dyn Connection>,
    method: &'static str,
    params: Value,
    answers: impl Fn(&str, &Value) -> Outcome,
) -> Seen {
    let mut seen = Seen { outcome: Err((0, "no item".to_owned())), told: Vec::new(), questions: Vec::new() };
    let mut stream = match connection.open(Request::new(Subject::from_static(method), body(&params))) {
        Ok(stream) => stream,
        Err(error) => return Seen { outcome: Err(failure(&error)), ..seen },
    };
    while let Some(event) = stream.next_event().await {
        match event {
            Ok(Event::Item(item)) => seen.outcome = Ok(value(&item)),
            Ok(Event::Inbound(Inbound::Notification(subject, message))) => {
                seen.told.push((subject.to_string(), value(&message)));
            }
            Ok(Event::Inbound(Inbound::Request(request, reply))) => {
                let params = value(&request.message);
                match answers(request.subject.as_str(), &params) {
                    Ok(result) => {
                        reply.send(body(&result)).await.unwrap();
                        reply.close();
                    }
                    Err((code, message)) => reply.fail(PeerError::new(code, message)),
                }
                seen.questions.push((request.subject.to_string(), params));
            }
            Err(error) => seen.outcome = Err(failure(&error)),
        }
    }
    seen
}

/// Calls a server that asks nothing.
pub(crate) async fn plain(connection: &Arc<dyn Connection>, method: &'static str, params: Value) -> Seen {
    call(connection, method, params, |_, _| unreachable!("the server asks nothing")).await
}

/// What the connection receives next.
pub(crate) async fn received(connection: &Arc<dyn Connection>) -> (String, Value) {
    match connection.receive().await.unwrap() {
        Some(Inbound::Notification(subject, message)) => (subject.to_string(), value(&message)),
        other => unreachable!("{other:?}"),
    }
}

/// The next notification on a stream.
pub(crate) async fn told(stream: &mut ResponseStream) -> (String, Value) {
    match stream.next_event().await {
        Some(Ok(Event::Inbound(Inbound::Notification(subject, message)))) => (subject.to_string(), value(&message)),
        other => unreachable!("{other:?}"),
    }
}

pub(crate) fn request(method: &'static str, params: &Value) -> Request {
    Request::new(Subject::from_static(method), body(params))
}
