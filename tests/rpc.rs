// SPDX-License-Identifier: Apache-2.0
//! Connections carried by the planes, `rpc:NAME`: a server behind a listener, a client behind `connect`, over every pair of
//! planes; instances that die, and sessions that move.

use std::sync::Arc;
use std::time::Duration;

use biplane::discovery::mem::{MemDiscovery, MemStore};
use biplane::transport::mem::MemNetwork;
use biplane::{
    Biplane, Connection, ControlMessage, ErrorKind, Event, Inbound, Message, PeerError, Request, ResponseSender, Retry,
    Subject,
};
use biplane_nats::testing::NatsServer;
use biplane_uds as _;
use tokio::sync::mpsc;

/// Only against a hang: far above what the work takes.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("it hangs")
}

#[derive(Clone, Default)]
struct World {
    records: MemStore,
    network: MemNetwork,
    nats: String,
    /// The sockets of `uds`, which go with the world.
    sockets: Option<Arc<tempfile::TempDir>>,
}

impl World {
    fn runtime(&self, id: u64, planes: (&str, &str)) -> Biplane {
        let sockets = self.sockets.as_ref().map(|folder| folder.path().as_os_str().to_owned()).unwrap_or_default();
        Biplane::builder()
            .env([("BIPLANE_UDS_DIR", sockets)])
            .env([("DYN_REQUEST_PLANE", planes.0), ("DYN_RESPONSE_PLANE", planes.1), ("DYN_DISCOVERY_BACKEND", "mem")])
            .env([("DYN_TCP_REQUEST_HOST", "127.0.0.1"), ("DYN_TCP_REQUEST_PORT", "0")])
            .env([("DYN_HTTP_RPC_HOST", "127.0.0.1"), ("DYN_HTTP_RPC_PORT", "0")])
            .env([("DYN_HTTP_RESPONSE_HOST", "127.0.0.1"), ("DYN_HTTP_RESPONSE_PORT", "0")])
            .env([("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1"), ("NATS_SERVER", self.nats.as_str())])
            .set("balance", "round-robin")
            .share(Arc::new(self.network.clone()))
            .share(Arc::new(MemDiscovery::new(self.records.clone())))
            .instance_id(id)
            .build()
            .expect("a runtime")
    }
}

/// A worker that listens at `rpc:tools.calc`, and what its server saw.
struct Worker {
    seen: mpsc::UnboundedReceiver<String>,
    listening: tokio::task::JoinHandle<()>,
    _biplane: Biplane,
}

impl Worker {
    async fn start(biplane: Biplane) -> Self {
        let listener = biplane.listen("rpc:tools.calc").await.expect("a listener");
        assert_eq!(listener.local_address().to_string(), "rpc tools.calc");
        let (journal, seen) = mpsc::unbounded_channel();
        let id = biplane.instance_id();
        let listening = tokio::spawn(async move {
            while let Ok(Some(connection)) = listener.accept().await {
                tokio::spawn(serve(id, connection, journal.clone()));
            }
        });
        Self { seen, listening, _biplane: biplane }
    }

    async fn saw(&mut self, expected: &str) {
        while within(self.seen.recv()).await.expect("the server lives") != expected {}
    }
}

/// A server of a few methods. One task for each request, as a server has it.
async fn serve(id: u64, connection: Arc<dyn Connection>, journal: mpsc::UnboundedSender<String>) {
    let tell = |what: &str| drop(journal.send(what.to_owned()));
    while let Ok(Some(inbound)) = connection.receive().await {
        match inbound {
            Inbound::Notification(method, _) => {
                tell(method.as_str());
                if method.as_str() == "notifications/initialized" {
                    let news = Subject::from_static("notifications/tools/list_changed");
                    connection.notify(&news, Message::new("{}")).await.expect("told");
                }
            }
            Inbound::Request(request, reply) => {
                let of = if connection.session_id().is_some() { "session" } else { "nobody" };
                tokio::spawn(answer(id, of, request, reply, journal.clone()));
            }
        }
    }
    if connection.session_id().is_some() {
        tell("the session is over");
    }
}

async fn answer(
    id: u64,
    of: &'static str,
    request: Request,
    reply: ResponseSender,
    journal: mpsc::UnboundedSender<String>,
) {
    match request.subject.as_str() {
        "initialize" => drop(reply.send(r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#).await),
        "where" => drop(reply.send(format!("\"{id} of {of}\"")).await),
        "who" => {
            let principal = request.message.headers.get_str("biplane-principal").unwrap_or("nobody").to_owned();
            drop(reply.send(format!("{principal:?}")).await);
        }
        "echo" => drop(reply.send(request.message.body).await),
        "fails" => return reply.fail(PeerError::new(-32602, "no such tool").with_data(r#"{"a": 1}"#)),
        "asks" => {
            let progress = Inbound::Notification(
                Subject::from_static("notifications/progress"),
                Message::new(r#"{"progressToken":"mine","progress":1}"#),
            );
            reply.send_inbound(progress).await.expect("told");
            let (sender, mut answer) = biplane::stream::pipe(1024, 1024);
            let question = Request::new(Subject::from_static("roots/list"), "{}");
            reply.send_inbound(Inbound::Request(question, sender)).await.expect("asked");
            let heard = answer.next().await.expect("an answer").expect("roots");
            drop(reply.send(heard).await);
        }
        "hangs" => {
            let progress = Inbound::Notification(Subject::from_static("notifications/progress"), Message::new("{}"));
            reply.send_inbound(progress).await.expect("told");
            let _ = journal.send("hangs".to_owned());
            assert_eq!(reply.stopped().await, ControlMessage::Kill);
            let _ = journal.send("killed".to_owned());
        }
        _ => return reply.fail(PeerError::new(-32601, "no such method")),
    }
    reply.close();
}

const MODERN: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
const LEGACY: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;

fn ask(method: &'static str, params: impl Into<Message>) -> Request {
    Request::new(Subject::from_static(method), params)
}

async fn text(connection: &dyn Connection, method: &'static str, params: &'static str) -> String {
    let answer = within(connection.request(ask(method, params))).await.expect(method);
    answer.text().expect("text").to_owned()
}

async fn in_session(caller: &Biplane) -> Arc<dyn Connection> {
    let connection = caller.connect("rpc:tools.calc").await.expect("connected");
    within(connection.request(ask("initialize", LEGACY))).await.expect("a session");
    let initialized = Subject::from_static("notifications/initialized");
    within(connection.notify(&initialized, Message::default())).await.expect("initialized");
    connection
}

/// Everything that the mapping has, over one pair of planes.
async fn everything(world: &World, planes: (&str, &str)) {
    let mut worker = Worker::start(world.runtime(1, planes)).await;
    let caller = world.runtime(9, planes);
    let connection = caller.connect("rpc:tools.calc").await.expect("connected");
    assert_eq!(text(&*connection, "where", MODERN).await, "\"1 of nobody\"");
    let mine = Message::new(MODERN).with_header("biplane-principal", "bob");
    let who = within(connection.request(ask("who", mine))).await.expect("an answer");
    assert_eq!(&who.body[..], b"\"bob\"");

    let connection = in_session(&caller).await;
    worker.saw("notifications/initialized").await;
    let news = within(connection.receive()).await.expect("open");
    let Some(Inbound::Notification(method, _)) = news else { panic!("{news:?}") };
    assert_eq!(method.as_str(), "notifications/tools/list_changed");
    assert_eq!(text(&*connection, "where", "{}").await, "\"1 of session\"");
    let odd = "{\"text\":\"line one\\nline two \\u0000 \u{fffd}\", \"n\": 1.00}";
    assert_eq!(text(&*connection, "echo", odd).await, odd, "byte for byte");
    let error = within(connection.request(ask("fails", "{}"))).await.expect_err("an error");
    assert_eq!(error.peer(), Some(&PeerError::new(-32602, "no such tool").with_data(r#"{"a": 1}"#)));

    let params = r#"{"_meta":{"progressToken":"mine"}}"#;
    let mut stream = connection.open(ask("asks", params)).expect("open");
    match within(stream.next_event()).await {
        Some(Ok(Event::Inbound(Inbound::Notification(method, message)))) => {
            assert_eq!(method.as_str(), "notifications/progress");
            assert_eq!(message.text().expect("text"), r#"{"progressToken":"mine","progress":1}"#);
        }
        other => panic!("{other:?}"),
    }
    match within(stream.next_event()).await {
        Some(Ok(Event::Inbound(Inbound::Request(question, reply)))) => {
            assert_eq!(question.subject.as_str(), "roots/list");
            reply.send(r#"{"roots":[]}"#).await.expect("answered");
            reply.close();
        }
        other => panic!("{other:?}"),
    }
    let Some(Ok(Event::Item(item))) = within(stream.next_event()).await else { panic!("an answer") };
    assert_eq!(&item.body[..], br#"{"roots":[]}"#);
    assert!(within(stream.next_event()).await.is_none());

    for params in ["{}", MODERN] {
        let mut stream = connection.open(ask("hangs", params)).expect("open");
        // Where the caller fetches its answer, one that it never fetched is given up only when nobody came for it in time.
        assert!(matches!(within(stream.next_event()).await, Some(Ok(Event::Inbound(_)))));
        drop(stream);
        worker.saw("killed").await;
    }

    within(connection.close(Duration::from_secs(5))).await.expect("closed");
    worker.saw("the session is over").await;
    assert!(within(connection.receive()).await.expect("in order").is_none());
    worker.listening.abort();
    caller.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_planes_carries_it() {
    let nats = NatsServer::start();
    let requests: &[&str] =
        if nats.is_some() { &["tcp", "http", "uds", "mem", "nats"] } else { &["tcp", "http", "uds", "mem"] };
    for request in requests {
        for response in ["tcp", "http", "uds", "mem"] {
            let url = nats.as_ref().map(|server| server.url().to_string()).unwrap_or_default();
            let sockets = Some(Arc::new(tempfile::tempdir().expect("a folder")));
            let world = World { nats: url, sockets, ..World::default() };
            eprintln!("{request}+{response}");
            everything(&world, (request, response)).await;
        }
    }
}

const TCP: (&str, &str) = ("tcp", "tcp");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stays_and_what_describes_itself_goes_round() {
    let world = World::default();
    let _workers = (Worker::start(world.runtime(1, TCP)).await, Worker::start(world.runtime(2, TCP)).await);
    let caller = world.runtime(9, TCP);
    let connection = in_session(&caller).await;
    let home = text(&*connection, "where", "{}").await;
    for _ in 0..10 {
        assert_eq!(text(&*connection, "where", "{}").await, home);
    }
    let mut seen = [text(&*connection, "where", MODERN).await, text(&*connection, "where", MODERN).await];
    seen.sort();
    assert_eq!(seen, ["\"1 of nobody\"", "\"2 of nobody\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_is_a_typed_error_and_another_takes_over() {
    for planes in [TCP, ("http", "http"), ("http", "tcp"), ("tcp", "http")] {
        let world = World::default();
        // In a runtime of its own, so that it can die as a process dies: tasks gone, sockets closed, the record still there.
        let mortal =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let biplane = world.runtime(1, planes);
        let mut first = mortal.spawn(Worker::start(biplane)).await.expect("a worker");
        let caller = world.runtime(9, planes);
        let connection = in_session(&caller).await;
        let mut stream = connection.open(ask("hangs", "{}")).expect("open");
        let waiting = tokio::spawn(async move { stream.next().await });
        first.saw("hangs").await;
        let _second = Worker::start(world.runtime(2, planes)).await;
        mortal.shutdown_background();

        let error = within(waiting).await.expect("no panic").expect("an end").expect_err("an error");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Never), "{planes:?}: {error}");
        // A request that is written to a link whose end is not known yet may have run, for all that the caller knows.
        let mut retry = Retry::Never;
        while retry == Retry::Never {
            let error = within(connection.request(ask("where", "{}"))).await.expect_err("the session is gone");
            assert_eq!(error.kind(), ErrorKind::Closed, "{planes:?}: {error}");
            retry = error.retry();
        }
        assert_eq!(retry, Retry::Safe, "{planes:?}");
        within(async { while connection.receive().await.expect("in order").is_some() {} }).await;
        let connection = caller.connect("rpc:tools.calc").await.expect("connected");
        for _ in 0..3 {
            assert_eq!(text(&*connection, "where", MODERN).await, "\"2 of nobody\"", "{planes:?}");
        }
        let connection = in_session(&caller).await;
        assert_eq!(text(&*connection, "where", "{}").await, "\"2 of session\"", "{planes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_dropped_is_withdrawn() {
    let world = World::default();
    let worker = Worker::start(world.runtime(1, TCP)).await;
    let caller = world.runtime(9, TCP);
    let connection = in_session(&caller).await;
    worker.listening.abort();
    let _ = worker.listening.await;
    let error = within(connection.request(ask("where", "{}"))).await.expect_err("nobody listens");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe), "{error}");
    let fresh = caller.connect("rpc:tools.calc").await.expect("connected");
    let error = within(fresh.request(ask("initialize", LEGACY))).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::NoService, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_principal_does_not_know_the_session() {
    let world = World::default();
    let _worker = Worker::start(world.runtime(1, TCP)).await;
    let caller = world.runtime(9, TCP);
    let connection = in_session(&caller).await;
    let forged = Message::new("{}").with_header("biplane-principal", "mallory");
    let error = within(connection.request(ask("where", forged))).await.expect_err("not his");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Safe), "{error}");
}

#[tokio::test]
async fn explain_shows_the_route() {
    let world = World::default();
    let _worker = Worker::start(world.runtime(1, TCP)).await;
    let caller = world.runtime(9, ("tcp", "http"));
    let told = caller.explain("rpc:tools.calc", Default::default()).await.expect("told").to_string();
    for part in ["rpc:tools.calc\n", "request: tcp", "response: http", "fetch", "instance: 1 weight 100", "sessions: "]
    {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
}
