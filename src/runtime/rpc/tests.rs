// SPDX-License-Identifier: Apache-2.0
//! The caller's side against a worker that follows a script, over loopback.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::Place;
use super::wire::{self, SESSION, Verb};
use crate::connection::{Connection, Inbound};
use crate::discovery::mem::{MemDiscovery, MemStore};
use crate::error::{Error, ErrorKind, PeerError, Result, Retry};
use crate::message::{ControlMessage, Message, Request, Subject};
use crate::plane::Handler;
use crate::proto::jsonrpc::{Id, Packet};
use crate::runtime::{Biplane, Serving};
use crate::stream::{Event, ResponseSender};

/// Only against a hang.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it hangs")
}

#[derive(Clone, Default)]
struct World {
    records: MemStore,
}

impl World {
    fn runtime(&self, id: u64) -> Biplane {
        Biplane::builder()
            .env([("DYN_REQUEST_PLANE", "tcp"), ("DYN_RESPONSE_PLANE", "tcp"), ("DYN_DISCOVERY_BACKEND", "mem")])
            .env([("DYN_TCP_REQUEST_HOST", "127.0.0.1"), ("DYN_TCP_REQUEST_PORT", "0")])
            .set("balance", "round-robin")
            .share(Arc::new(MemDiscovery::new(self.records.clone())))
            .instance_id(id)
            .build()
            .unwrap()
    }

    async fn worker(&self, id: u64) -> Worker {
        let (journal, read) = mpsc::unbounded_channel();
        let biplane = self.runtime(id);
        let script = Script { id, journal, answers: Arc::default(), forgets: Arc::default() };
        let forgets = script.forgets.clone();
        let serving = biplane.serve("tools.calc", script).start().await.unwrap();
        Worker { journal: read, forgets, serving: Some(serving), _biplane: biplane }
    }
}

struct Worker {
    journal: mpsc::UnboundedReceiver<String>,
    forgets: Arc<Mutex<bool>>,
    serving: Option<Serving>,
    _biplane: Biplane,
}

impl Worker {
    async fn saw(&mut self, expected: &str) {
        assert_eq!(within(self.journal.recv()).await.as_deref(), Some(expected));
    }
}

type Waiting = Arc<Mutex<HashMap<Bytes, oneshot::Sender<Result<Message, PeerError>>>>>;

struct Script {
    id: u64,
    journal: mpsc::UnboundedSender<String>,
    answers: Waiting,
    forgets: Arc<Mutex<bool>>,
}

impl Handler for Script {
    async fn handle(&self, request: Request, reply: ResponseSender) -> Result<()> {
        let verb = Verb::of(&request.message.headers)?;
        let session = request.message.headers.get_str(SESSION).map(str::to_owned);
        let own = wire::name_session(self.id, "s1");
        if session.as_deref().is_some_and(|session| session != own.as_str() || *self.forgets.lock()) {
            reply.refuse(wire::unknown_session());
            return Ok(());
        }
        let of = if session.is_some() { "session" } else { "nobody" };
        match verb {
            Verb::Close => drop(self.journal.send(format!("close of {of}"))),
            Verb::Listen => {
                let packet = notification("notifications/tools/list_changed", "");
                reply.send(packet.to_bytes()).await?;
                let stopped = reply.stopped().await;
                assert_eq!(stopped, ControlMessage::Kill);
            }
            Verb::Message => match Packet::parse(&request.message.body).unwrap() {
                Packet::Notification { method, .. } => drop(self.journal.send(format!("{method} of {of}"))),
                Packet::Response { id, outcome } => {
                    let waiting = self.answers.lock().remove(&id.raw());
                    waiting.unwrap().send(outcome).unwrap();
                }
                Packet::Request { id, method, message } => {
                    return self.answer(id, method.as_str(), message, of, reply).await;
                }
            },
        }
        Ok(())
    }
}

impl Script {
    async fn answer(&self, id: Id, method: &str, params: Message, of: &str, reply: ResponseSender) -> Result<()> {
        let result = match method {
            "initialize" => {
                let session = wire::name_session(self.id, "s1");
                let response = Packet::Response { id, outcome: Ok(Message::new("{}")) };
                let item = Message::new(response.to_bytes()).with_header(SESSION, session.as_str().to_owned());
                return reply.send(item).await;
            }
            "where" => Ok(Message::new(format!("\"{} of {of}\"", self.id))),
            "principal" => Ok(Message::new(params.body)),
            "fails" => Err(PeerError::new(-32602, "no such tool").with_data("{\"a\": 1}")),
            "asks" => {
                let (sender, answer) = oneshot::channel();
                self.answers.lock().insert(Bytes::from("\"q1\""), sender);
                reply.send(notification("notifications/progress", r#"{"progress":1}"#).to_bytes()).await?;
                let question = Packet::Request {
                    id: Id::from_raw(Bytes::from("\"q1\"")).unwrap(),
                    method: Subject::from_static("roots/list"),
                    message: Message::default(),
                };
                reply.send(question.to_bytes()).await?;
                match answer.await.unwrap() {
                    Ok(message) => Ok(message),
                    Err(error) => Err(error),
                }
            }
            "changes its mind" => {
                let question = Packet::Request {
                    id: Id::number(5),
                    method: Subject::from_static("roots/list"),
                    message: Message::default(),
                };
                reply.send(question.to_bytes()).await?;
                reply.send(notification("notifications/cancelled", r#"{"requestId":5}"#).to_bytes()).await?;
                std::future::pending().await
            }
            "hangs" => {
                let _ = self.journal.send("hangs".to_owned());
                let _gone = Gone(self.journal.clone());
                std::future::pending().await
            }
            other => unreachable!("{other}"),
        };
        reply.send(Packet::Response { id, outcome: result }.to_bytes()).await
    }
}

struct Gone(mpsc::UnboundedSender<String>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send("killed".to_owned());
    }
}

fn notification(method: &'static str, params: &'static str) -> Packet {
    Packet::Notification { method: Subject::from_static(method), message: Message::new(params) }
}

fn ask(method: &'static str, params: &'static str) -> Request {
    Request::new(Subject::from_static(method), params)
}

const MODERN: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;

async fn text(connection: &dyn Connection, method: &'static str, params: &'static str) -> String {
    let answer = within(connection.request(ask(method, params))).await.unwrap();
    answer.text().unwrap().to_owned()
}

async fn in_session(caller: &Biplane) -> Arc<dyn Connection> {
    let connection = caller.connect("rpc:tools.calc").await.unwrap();
    assert_eq!(text(&*connection, "initialize", "{}").await, "{}");
    connection
}

async fn initialized(connection: &dyn Connection) {
    within(connection.notify(&Subject::from_static("notifications/initialized"), Message::default())).await.unwrap();
}

#[tokio::test]
async fn requests_that_describe_themselves_go_round_and_a_session_stays() {
    let world = World::default();
    let _workers = (world.worker(1).await, world.worker(2).await);
    let caller = world.runtime(9);
    let connection = caller.connect("rpc:tools.calc").await.unwrap();
    assert!(connection.session_id().is_none());
    let mut seen = [text(&*connection, "where", MODERN).await, text(&*connection, "where", MODERN).await];
    seen.sort();
    assert_eq!(seen, ["\"1 of nobody\"", "\"2 of nobody\""]);

    assert_eq!(text(&*connection, "initialize", "{}").await, "{}");
    let name = connection.session_id().unwrap().as_str().to_owned();
    let (instance, _) = wire::split_session(&name).unwrap();
    for _ in 0..4 {
        assert_eq!(text(&*connection, "where", "{}").await, format!("\"{instance} of session\""));
    }
    let mut seen = [text(&*connection, "where", MODERN).await, text(&*connection, "where", MODERN).await];
    seen.sort();
    assert_eq!(seen, ["\"1 of nobody\"", "\"2 of nobody\""], "in a session too");
    let second = within(connection.request(ask("initialize", "{}"))).await.unwrap_err();
    assert_eq!((second.kind(), second.retry()), (ErrorKind::Refused, Retry::Safe));
}

#[tokio::test]
async fn what_a_request_causes_comes_on_its_stream_and_its_questions_are_answered() {
    let world = World::default();
    let _worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    let mut stream = connection.open(ask("asks", "{}")).unwrap();
    let Some(Ok(Event::Inbound(Inbound::Notification(method, _)))) = within(stream.next_event()).await else {
        panic!("progress comes first")
    };
    assert_eq!(method.as_str(), "notifications/progress");
    let Some(Ok(Event::Inbound(Inbound::Request(question, reply)))) = within(stream.next_event()).await else {
        panic!("then the question")
    };
    assert_eq!(question.subject.as_str(), "roots/list");
    reply.send(r#"{"roots":[]}"#).await.unwrap();
    reply.close();
    let Some(Ok(Event::Item(answer))) = within(stream.next_event()).await else { panic!("then the answer") };
    assert_eq!(&answer.body[..], br#"{"roots":[]}"#);
    assert!(within(stream.next_event()).await.is_none());
}

#[tokio::test]
async fn a_question_that_is_refused_or_dropped_is_an_error_at_the_server() {
    let world = World::default();
    let _worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    for (answer, code) in [(Some(PeerError::new(-1, "the user said no")), -1), (None, -31000)] {
        let mut stream = connection.open(ask("asks", "{}")).unwrap();
        within(stream.next_event()).await.unwrap().unwrap();
        let Some(Ok(Event::Inbound(Inbound::Request(_, reply)))) = within(stream.next_event()).await else {
            panic!("a question")
        };
        match answer {
            Some(error) => reply.fail(error),
            None => drop(reply),
        }
        let error = within(stream.next_event()).await.unwrap().unwrap_err();
        assert_eq!(error.peer().map(|peer| peer.code), Some(code));
    }
}

#[tokio::test]
async fn a_question_that_the_server_takes_back_is_killed() {
    let world = World::default();
    let _worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    let mut stream = connection.open(ask("changes its mind", "{}")).unwrap();
    let Some(Ok(Event::Inbound(Inbound::Request(_, reply)))) = within(stream.next_event()).await else {
        panic!("a question")
    };
    let stopped = tokio::spawn(async move { reply.stopped().await });
    // The word that it is taken back is read when the stream is.
    let reading = tokio::spawn(async move { stream.next_event().await.is_some() });
    assert_eq!(within(stopped).await.unwrap(), ControlMessage::Kill);
    reading.abort();
}

#[tokio::test]
async fn what_the_server_says_unasked_is_received_after_initialized() {
    let world = World::default();
    let mut worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    initialized(&*connection).await;
    worker.saw("notifications/initialized of session").await;
    let received = within(connection.receive()).await.unwrap();
    let Some(Inbound::Notification(method, _)) = received else { panic!("{received:?}") };
    assert_eq!(method.as_str(), "notifications/tools/list_changed");
    within(connection.close(Duration::from_secs(5))).await.unwrap();
    worker.saw("close of session").await;
    assert!(within(connection.receive()).await.unwrap().is_none());
    assert_eq!(connection.open(ask("where", "{}")).unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn the_last_handle_ends_the_session_and_a_dropped_stream_its_handler() {
    let world = World::default();
    let mut worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    let mut stream = connection.open(ask("hangs", "{}")).unwrap();
    let reading = tokio::spawn(async move { stream.next_event().await.is_some() });
    worker.saw("hangs").await;
    drop(connection);
    reading.abort();
    let mut seen = [within(worker.journal.recv()).await.unwrap(), within(worker.journal.recv()).await.unwrap()];
    seen.sort();
    assert_eq!(seen, ["close of session", "killed"]);
}

#[tokio::test]
async fn errors_of_the_server_come_as_they_are() {
    let world = World::default();
    let _worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = caller.connect("rpc:tools.calc").await.unwrap();
    let error = within(connection.request(ask("fails", MODERN))).await.unwrap_err();
    assert_eq!(error.peer(), Some(&PeerError::new(-32602, "no such tool").with_data("{\"a\": 1}")));
}

#[tokio::test]
async fn a_session_that_the_worker_forgot_is_lost_and_safe_to_open_elsewhere() {
    let world = World::default();
    let worker = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    *worker.forgets.lock() = true;
    let error = within(connection.request(ask("where", "{}"))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe), "{error}");
    assert!(within(connection.receive()).await.unwrap().is_none(), "the receiver is told");
    let error = connection.open(ask("where", "{}")).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe));
    *worker.forgets.lock() = false;
    let fresh = in_session(&caller).await;
    assert_eq!(text(&*fresh, "where", "{}").await, "\"1 of session\"");
}

#[tokio::test]
async fn an_instance_that_went_takes_its_sessions_along() {
    let world = World::default();
    let mut first = world.worker(1).await;
    let caller = world.runtime(9);
    let connection = in_session(&caller).await;
    let _second = world.worker(2).await;
    drop(first.serving.take());
    let error = within(connection.request(ask("where", "{}"))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe), "{error}");
    let fresh = in_session(&caller).await;
    assert_eq!(text(&*fresh, "where", "{}").await, "\"2 of session\"");
}

#[tokio::test]
async fn nobody_there_is_safe_to_repeat() {
    let world = World::default();
    let caller = world.runtime(9);
    let connection = caller.connect("rpc:tools.calc").await.unwrap();
    let error: Error = within(connection.request(ask("initialize", "{}"))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::NoService, Retry::Safe), "{error}");
    let _worker = world.worker(1).await;
    assert_eq!(text(&*connection, "initialize", "{}").await, "{}", "a failed attempt opened nothing");
}

#[tokio::test]
async fn the_principal_and_tool_parameters_cross_and_nothing_else() {
    let mut from = crate::message::Headers::new();
    from.append("biplane-principal", "bob");
    from.append("Mcp-Param-City", "Bern");
    from.append("x-biplane-session", "1.forged");
    from.append("jsonrpc-members", "\"x\":1");
    let message = wire::envelope(Verb::Message, None, &from, Bytes::new());
    let names: Vec<_> = message.headers.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["x-biplane-verb", "biplane-principal", "Mcp-Param-City"]);
}

#[test]
fn places_are_services_and_a_weight() {
    let place = Place::parse("tools.calc?weight=10").unwrap();
    assert_eq!((place.name.to_string().as_str(), place.weight), ("tools.calc", 10));
    for bad in ["", "a b", "calc?weight=101", "calc?speed=1"] {
        assert_eq!(Place::parse(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
    }
}
