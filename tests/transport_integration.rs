// SPDX-License-Identifier: Apache-2.0
//! The matrix: every request plane with every response plane, through two runtimes that meet in a discovery store as two
//! processes would. `DYN_REQUEST_PLANE` and `DYN_RESPONSE_PLANE` of the environment narrow it to one row or column;
//! `DYN_TCP_POOL_*` reach the runtimes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use biplane::discovery::mem::{MemDiscovery, MemStore};
use biplane::transport::mem::MemNetwork;
use biplane::{Biplane, ControlMessage, Error, ErrorKind, PeerError, Request, ResponseSender, Serving, handler_fn};
use biplane_nats::testing::NatsServer;
use biplane_uds as _;
use tempfile::TempDir;

const REQUEST_PLANES: [&str; 5] = ["tcp", "http", "nats", "uds", "mem"];
const RESPONSE_PLANES: [&str; 4] = ["tcp", "http", "uds", "mem"];

/// Where the two runtimes of a pair meet.
struct World {
    store: TempDir,
    nats: Option<NatsServer>,
    network: MemNetwork,
    records: MemStore,
}

impl World {
    fn new() -> Self {
        let nats =
            if planes("DYN_REQUEST_PLANE", &REQUEST_PLANES).contains(&"nats") { NatsServer::start() } else { None };
        let store = tempfile::tempdir().expect("a temporary directory");
        Self { store, nats, network: MemNetwork::new(), records: MemStore::default() }
    }

    /// The pairs to run. Without a nats-server its row is left out, which `NatsServer` has said aloud.
    fn pairs(&self) -> Vec<(&'static str, &'static str)> {
        let responses = planes("DYN_RESPONSE_PLANE", &RESPONSE_PLANES);
        let requests = planes("DYN_REQUEST_PLANE", &REQUEST_PLANES);
        requests
            .into_iter()
            .filter(|request| *request != "nats" || self.nats.is_some())
            .flat_map(|request| responses.iter().map(move |response| (request, *response)))
            .collect()
    }

    fn runtime(&self, request: &str, response: &str) -> Biplane {
        let uds = self.store.path().join("sockets");
        let is_mem = request == "mem" || response == "mem";
        let mut builder = Biplane::builder()
            .env(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DYN_TCP_POOL_")))
            .env([("DYN_FILE_KV", self.store.path()), ("BIPLANE_UDS_DIR", &uds)])
            .env([("DYN_REQUEST_PLANE", request), ("DYN_RESPONSE_PLANE", response)])
            .env([("DYN_TCP_REQUEST_PORT", "0"), ("DYN_HTTP_RPC_PORT", "0"), ("DYN_HTTP_RESPONSE_PORT", "0")])
            .env([("DYN_DISCOVERY_BACKEND", if is_mem { "mem" } else { "file" })])
            .share(Arc::new(self.network.clone()))
            .share(Arc::new(MemDiscovery::new(self.records.clone())));
        if let Some(nats) = &self.nats {
            builder = builder.env([("NATS_SERVER", nats.url())]);
        }
        builder.build().unwrap_or_else(|error| panic!("{request}+{response}: {error}"))
    }
}

fn planes(variable: &str, all: &[&'static str]) -> Vec<&'static str> {
    match std::env::var(variable) {
        Ok(wanted) if !wanted.is_empty() => {
            all.iter().copied().filter(|plane| wanted.split(',').any(|w| w == *plane)).collect()
        }
        _ => all.to_vec(),
    }
}

struct Pair {
    worker: Biplane,
    caller: Biplane,
    serving: Vec<Serving>,
}

async fn pair(world: &World, request: &str, response: &str) -> Pair {
    let worker = world.runtime(request, response);
    let caller = world.runtime(request, response);
    let words = handler_fn(|request: Request, reply: ResponseSender| async move {
        for word in request.message.text()?.split_whitespace() {
            reply.send(word.to_owned()).await?;
        }
        Ok(())
    });
    let broken = handler_fn(|_: Request, reply: ResponseSender| async move {
        reply.send("one").await?;
        reply.fail(PeerError::new(-7, "broken").with_data(&b"[1]"[..]));
        Ok(())
    });
    let endless = handler_fn(|_: Request, reply: ResponseSender| async move {
        for number in 0_u64.. {
            tokio::select! {
                sent = reply.send(number.to_string()) => sent?,
                ControlMessage::Stop = reply.stopped() => break,
            }
            tokio::task::yield_now().await;
        }
        reply.send("last").await
    });
    let panics = handler_fn(|request: Request, _: ResponseSender| async move {
        assert!(request.message.body.is_empty(), "as told");
        Ok(())
    });
    let serving = vec![
        worker.serve("words", words).start().await.expect("words"),
        worker.serve("broken", broken).start().await.expect("broken"),
        worker.serve("endless", endless).start().await.expect("endless"),
        worker.serve("panics", panics).start().await.expect("panics"),
    ];
    Pair { worker, caller, serving }
}

impl Pair {
    async fn end(self) {
        self.caller.shutdown(Duration::from_secs(5)).await;
        self.worker.shutdown(Duration::from_secs(5)).await;
    }
}

/// Only against a hang: far above what the work takes.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it hangs")
}

async fn items(biplane: &Biplane, name: &str, body: &str) -> (Vec<String>, Option<Error>) {
    let mut stream = biplane.call(name, body.to_owned()).await.expect("a valid name");
    let mut items = Vec::new();
    loop {
        match stream.next().await {
            Some(Ok(item)) => items.push(item.text().expect("text").to_owned()),
            Some(Err(error)) => return (items, Some(error)),
            None => return (items, None),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_answers_item_by_item_and_ends() {
    let world = World::new();
    for (request, response) in world.pairs() {
        within(async {
            let pair = pair(&world, request, response).await;
            for round in 0..3 {
                let (words, error) = items(&pair.caller, "words", "to be or not").await;
                assert_eq!(words, ["to", "be", "or", "not"], "{request}+{response}, round {round}: {error:?}");
                assert!(error.is_none(), "{request}+{response}: {error:?}");
            }
            let (words, error) = items(&pair.caller, "words", "").await;
            assert!(words.is_empty() && error.is_none(), "{request}+{response}: {error:?}");
            pair.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_keeps_a_hundred_callers_apart() {
    let world = World::new();
    for (request, response) in world.pairs() {
        within(async {
            let pair = pair(&world, request, response).await;
            let calls: Vec<_> = (0..100)
                .map(|number| {
                    let caller = pair.caller.clone();
                    tokio::spawn(
                        async move { (number, items(&caller, "words", &format!("{number} a {number} b")).await) },
                    )
                })
                .collect();
            for call in calls {
                let (number, (words, error)) = call.await.expect("no panic");
                let number = number.to_string();
                assert_eq!(words, [number.as_str(), "a", &number, "b"], "{request}+{response}: {error:?}");
            }
            pair.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_carries_errors_after_items_and_survives_a_panic() {
    let world = World::new();
    for (request, response) in world.pairs() {
        within(async {
            let pair = pair(&world, request, response).await;
            let (seen, error) = items(&pair.caller, "broken", "x").await;
            assert_eq!(seen, ["one"], "{request}+{response}: {error:?}");
            let told = PeerError::new(-7, "broken").with_data(&b"[1]"[..]);
            assert_eq!(error.expect("an error").peer(), Some(&told), "{request}+{response}");
            let (_, error) = items(&pair.caller, "panics", "x").await;
            assert_eq!(error.expect("an error").kind(), ErrorKind::Unexpected, "{request}+{response}");
            let (words, _) = items(&pair.caller, "words", "still here").await;
            assert_eq!(words, ["still", "here"], "{request}+{response}");
            pair.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_stops_in_order_and_cancels_on_drop() {
    let world = World::new();
    for (request, response) in world.pairs() {
        within(async {
            let Pair { worker, caller, serving } = pair(&world, request, response).await;
            let mut stream = caller.call("endless", "").await.expect("a valid name");
            for _ in 0..10 {
                stream.next().await.expect("an item").expect("no error");
            }
            stream.control(ControlMessage::Stop);
            let mut last = String::new();
            while let Some(item) = stream.next().await {
                last = item.expect("no error").text().expect("text").to_owned();
            }
            assert_eq!(last, "last", "{request}+{response}");
            let mut stream = caller.call("endless", "").await.expect("a valid name");
            stream.next().await.expect("an item").expect("no error");
            drop(stream);
            // The handler ends because its caller went: nothing is in flight before the grace is over.
            for serving in serving {
                assert!(serving.stop(Duration::from_secs(20)).await, "{request}+{response}: a handler was left");
            }
            caller.shutdown(Duration::from_secs(5)).await;
            worker.shutdown(Duration::from_secs(5)).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_keeps_the_deadline() {
    let world = World::new();
    for (request, response) in world.pairs() {
        within(async {
            let pair = pair(&world, request, response).await;
            let hang = handler_fn(|request: Request, reply: ResponseSender| async move {
                assert!(request.context.deadline.is_some(), "the deadline travels");
                reply.send("begun").await?;
                std::future::pending().await
            });
            let serving = pair.worker.serve("hang", hang).start().await.expect("hang");
            let request_ =
                Request::new(biplane::Subject::from_static("hang"), "").with_timeout(Duration::from_millis(500));
            let mut stream = pair.caller.call_with("hang", request_).await.expect("a valid name");
            assert_eq!(stream.next().await.expect("an item").expect("no error").body, "begun", "{request}+{response}");
            let error = stream.next().await.expect("an error").expect_err("the deadline");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{request}+{response}: {error:?}");
            assert!(serving.stop(Duration::from_secs(20)).await, "{request}+{response}: the handler was left");
            pair.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_serves_every_request_plane_and_each_caller_finds_its_own() {
    let world = World::new();
    let mut planes = vec!["tcp", "http", "uds"];
    planes.extend(world.nats.is_some().then_some("nats"));
    within(async {
        let worker = pair(&world, &planes.join(","), "tcp").await;
        for request in planes {
            for response in ["tcp", "http", "uds"] {
                let caller = world.runtime(request, response);
                let (words, error) = items(&caller, "words", "to be").await;
                assert_eq!(words, ["to", "be"], "{request}+{response}: {error:?}");
                caller.shutdown(Duration::from_secs(5)).await;
            }
        }
        worker.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_transport_falls_back_to_one_that_is_listed_and_is_counted() {
    let world = World::new();
    within(async {
        let http = pair(&world, "http", "tcp").await;
        // A record of a tcp instance whose process is gone.
        let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("an address");
        let caller = caller_with_fallback(world.store.path());
        let record = format!(
            r#"{{"namespace":"default","component":"default","endpoint":"words","instance_id":1,"weight":100,"transport":
            {{"unified":{{"request_transports":[{{"transport_id":"tcp","address":"{dead}","capabilities":{{}},"metadata":{{}}}}],
            "response_transports":[]}}}}}}"#
        );
        let instance = biplane::discovery::Instance::from_json(record.as_bytes()).expect("a record");
        let _lease = caller.discovery().expect("file discovery").put(instance).await.expect("published");
        for _ in 0..6 {
            let (words, error) = items(&caller, "words", "to be").await;
            assert_eq!(words, ["to", "be"], "{error:?}");
        }
        let metrics = caller.telemetry().render();
        assert!(metrics.contains(r#"transport_fallbacks_total{from="tcp",to="http"}"#), "{metrics}");
        http.end().await;
    })
    .await;
}

fn caller_with_fallback(store: &Path) -> Biplane {
    Biplane::builder()
        .env([("DYN_FILE_KV", store)])
        .env([("DYN_REQUEST_PLANE", "tcp"), ("BIPLANE_FALLBACK", "http")])
        .build()
        .expect("a runtime")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_service_says_what_is_there() {
    let world = World::new();
    let pair = pair(&world, "tcp", "tcp").await;
    let (_, error) = items(&pair.caller, "word", "x").await;
    let error = error.expect("an error");
    assert_eq!(error.kind(), ErrorKind::NoService);
    assert!(error.to_string().contains("words"), "{error}");
}
