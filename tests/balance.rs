// SPDX-License-Identifier: Apache-2.0
//! Who gets a request: weights, their change while callers run, instances that fail and come back, and requests that are
//! repeated only where that is safe. Whole runtimes that meet in a discovery store, over real sockets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biplane::discovery::mem::{MemDiscovery, MemStore};
use biplane::discovery::{Instance, LeaseGuard, TransportEndpoint, TransportType};
use biplane::{
    Biplane, Connection, ErrorKind, Request, ResponseSender, Retry, Serving, Subject, TransportAddress, handler_fn,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const HEAVY: u64 = 90;
const LIGHT: u64 = 10;

/// Only against a hang: far above what the work takes.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("it hangs")
}

fn runtime(records: &MemStore, id: u64, planes: (&str, &str), balance: &str) -> Biplane {
    Biplane::builder()
        .env([("DYN_REQUEST_PLANE", planes.0), ("DYN_RESPONSE_PLANE", planes.1), ("DYN_DISCOVERY_BACKEND", "mem")])
        .env([("DYN_TCP_REQUEST_HOST", "127.0.0.1"), ("DYN_TCP_REQUEST_PORT", "0")])
        .env([("DYN_HTTP_RPC_HOST", "127.0.0.1"), ("DYN_HTTP_RPC_PORT", "0")])
        .env([("DYN_HTTP_RESPONSE_HOST", "127.0.0.1"), ("DYN_HTTP_RESPONSE_PORT", "0")])
        .env([("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1")])
        .set("balance", balance)
        .share(Arc::new(MemDiscovery::new(records.clone())))
        .instance_id(id)
        .build()
        .expect("a runtime")
}

/// An instance that answers with its id.
async fn instance(records: &MemStore, id: u64, weight: u8) -> (Biplane, Serving) {
    let worker = runtime(records, id, ("tcp", "tcp"), "round-robin");
    let who = handler_fn(move |_: Request, reply: ResponseSender| async move { reply.send(id.to_string()).await });
    let serving = worker.serve("who", who).weight(weight).start().await.expect("served");
    (worker, serving)
}

async fn who(caller: &Biplane) -> u64 {
    let connection = caller.service("who").await.expect("a valid name");
    let answer = connection.request(Request::new(Subject::from_static("who"), "")).await;
    answer.expect("an answer").text().expect("text").parse().expect("a number")
}

/// Of `calls` calls one after another, those that `HEAVY` got.
async fn share_of_heavy(caller: &Biplane, calls: usize) -> usize {
    let mut heavy = 0;
    for _ in 0..calls {
        heavy += usize::from(who(caller).await == HEAVY);
    }
    heavy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_of_90_and_10_give_90_to_10() {
    within(async {
        let records = MemStore::default();
        let heavy = instance(&records, HEAVY, 90).await;
        let light = instance(&records, LIGHT, 10).await;
        for balance in ["least-loaded", "random"] {
            let caller = runtime(&records, 1, ("tcp", "tcp"), balance);
            let share = share_of_heavy(&caller, 1000).await;
            // Drawn by chance: ten standard deviations to the left, eight to the right.
            assert!((800..=980).contains(&share), "{balance}: {share} of 1000");
        }
        let caller = runtime(&records, 1, ("tcp", "tcp"), "round-robin");
        assert_eq!(share_of_heavy(&caller, 1000).await, 900, "in turn, the share is exact");
        drop((heavy, light));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_that_changes_takes_effect_on_the_next_call() {
    within(async {
        let records = MemStore::default();
        let heavy = instance(&records, HEAVY, 90).await;
        let light = instance(&records, LIGHT, 10).await;
        let caller = runtime(&records, 1, ("tcp", "tcp"), "round-robin");
        assert_eq!(share_of_heavy(&caller, 100).await, 90);
        let name = heavy.1.instance().name.clone();
        // Whoever reaches the store may: not only the instance itself.
        let discovery = caller.discovery().expect("mem discovery");
        assert!(discovery.set_weight(&name, HEAVY, 0).await.expect("a weight"));
        assert_eq!(share_of_heavy(&caller, 100).await, 0, "weight 0 takes an instance out");
        assert!(discovery.set_weight(&name, HEAVY, 30).await.expect("a weight"));
        assert_eq!(share_of_heavy(&caller, 100).await, 75, "30 to 10");
        assert!(!discovery.set_weight(&name, 4711, 30).await.expect("a weight"), "there is no such instance");
        assert_eq!(discovery.set_weight(&name, HEAVY, 101).await.unwrap_err().kind(), ErrorKind::Config);
        drop(light);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_instance_is_set_aside_and_comes_back() {
    within(async {
        let records = MemStore::default();
        // Both real; one is published at the address of a door that can be shut.
        let light = instance(&records, LIGHT, 50).await;
        let hidden = MemStore::default();
        let heavy = instance(&hidden, HEAVY, 50).await;
        let door = Door::before(&address_of(&heavy.1)).await;
        let _lease = publish(&records, &heavy.1, &door.address).await;
        let caller = runtime(&records, 1, ("tcp", "tcp"), "round-robin");

        for _ in 0..100 {
            assert_eq!(who(&caller).await, LIGHT, "a call fails although an instance lives");
        }
        let knocks = door.knocks.load(Ordering::SeqCst);
        // Its turn came 50 times. Not set aside, it would have been dialled each time; the first backoff is a second, and
        // even a machine that takes a minute for this sees a handful.
        assert!((1..25).contains(&knocks), "{knocks} attempts on an instance that is down");

        door.open.store(true, Ordering::SeqCst);
        while who(&caller).await != HEAVY {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Its failures are forgotten: from here on it has its share again.
        assert_eq!(share_of_heavy(&caller, 100).await, 50);
        drop(light);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_offers_nothing_we_have_costs_no_call() {
    within(async {
        let records = MemStore::default();
        let light = instance(&records, LIGHT, 10).await;
        let pigeon = TransportEndpoint {
            address: TransportAddress::new("carrier-pigeon", "loft 7"),
            capabilities: Default::default(),
            metadata: Default::default(),
        };
        let transport = TransportType::Unified { request_transports: vec![pigeon], response_transports: Vec::new() };
        let record = Instance { instance_id: HEAVY, weight: 90, transport, ..light.1.instance().clone() };
        let caller = runtime(&records, 1, ("tcp", "tcp"), "round-robin");
        let _lease = caller.discovery().expect("mem discovery").put(record).await.expect("published");
        for _ in 0..100 {
            assert_eq!(who(&caller).await, LIGHT);
        }
        // Alone, it is an error that says what it offers and what is here.
        drop(light);
        let connection = caller.service("who").await.expect("a valid name");
        let error = connection.request(Request::new(Subject::from_static("who"), "")).await.expect_err("no transport");
        assert_eq!(error.kind(), ErrorKind::NoTransport);
        assert!(error.to_string().contains("carrier-pigeon") && error.to_string().contains("tcp"), "{error}");
    })
    .await;
}

/// What the handlers of all instances did: `(instance, request)`.
type Journal = Arc<Mutex<Vec<(u64, String)>>>;

/// An instance in a tokio runtime of its own, so that it can die as a process dies: tasks gone, sockets closed, the record
/// still there.
struct Mortal {
    tokio: tokio::runtime::Runtime,
    _parts: (Biplane, Serving),
}

impl Mortal {
    /// Writes each request into `journal` and tells `began`. Sends `items` items and then nothing, for ever.
    fn start(
        records: &MemStore,
        planes: (&str, &str),
        items: usize,
        journal: &Journal,
        began: mpsc::UnboundedSender<()>,
    ) -> Self {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let worker = runtime(records, HEAVY, planes, "round-robin");
        let journal = journal.clone();
        let hangs = handler_fn(move |request: Request, reply: ResponseSender| {
            journal.lock().expect("no panic").push((HEAVY, request.context.id.to_string()));
            let began = began.clone();
            async move {
                for item in 0..items {
                    reply.send(item.to_string()).await?;
                }
                let _ = began.send(());
                std::future::pending().await
            }
        });
        let serving = tokio.block_on(worker.serve("job", hangs).weight(100).start()).expect("served");
        Self { tokio, _parts: (worker, serving) }
    }

    /// Returns when all sockets are closed. What is published stays.
    fn kill(self) -> (Biplane, Serving) {
        drop(self.tokio);
        self._parts
    }
}

#[test]
fn what_ran_once_is_not_run_again_when_its_instance_dies() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for planes in [("tcp", "tcp"), ("http", "http"), ("http", "tcp"), ("tcp", "http")] {
        for items in [0, 1] {
            let records = MemStore::default();
            let journal = Journal::default();
            let (began, mut has_begun) = mpsc::unbounded_channel();
            let mortal = Mortal::start(&records, planes, items, &journal, began);
            let other = tokio.block_on(other_instance(&records, planes, &journal));
            let caller = runtime(&records, 1, planes, "round-robin");
            // In turn, the heavy one is first.
            let mut answer = tokio.block_on(caller.call("job", "once")).expect("a valid name");
            tokio.block_on(within(async {
                for _ in 0..items {
                    answer.next().await.expect("an item").expect("no error");
                }
                // What must wait (a dial, an acknowledgement) waits in the stream: it is read while the handler starts.
                tokio::select! {
                    item = answer.next() => panic!("{planes:?}: {item:?} from a handler that hangs"),
                    begun = has_begun.recv() => begun.expect("the handler tells"),
                }
            }));
            let dead = mortal.kill();
            tokio.block_on(within(async {
                let error = answer.next().await.expect("no clean end").expect_err("no item");
                assert_ne!(error.retry(), Retry::Safe, "{planes:?}, {items} items: {error:?}");
                assert_eq!(error.items_seen().unwrap_or(0), items as u64, "{planes:?}: {error:?}");
                let ran = journal.lock().expect("no panic").clone();
                assert_eq!(ran.len(), 1, "{planes:?}, {items} items: {ran:?}");
                // Another call is another request: it finds the one that lives.
                let mut answer = caller.call("job", "again").await.expect("a valid name");
                let item = answer.next().await.expect("an item");
                let item = item.unwrap_or_else(|again| panic!("{planes:?}, {items} items: {error:?}, then {again:?}"));
                assert_eq!(item.body, "other", "{planes:?}");
                assert!(answer.next().await.is_none());
                caller.shutdown(Duration::from_secs(5)).await;
            }));
            drop((dead, other));
        }
    }
}

/// The one that a wrong retry would reach.
async fn other_instance(records: &MemStore, planes: (&str, &str), journal: &Journal) -> (Biplane, Serving) {
    let worker = runtime(records, LIGHT, planes, "round-robin");
    let journal = journal.clone();
    let answers = handler_fn(move |request: Request, reply: ResponseSender| {
        journal.lock().expect("no panic").push((LIGHT, request.context.id.to_string()));
        async move { reply.send("other").await }
    });
    let serving = worker.serve("job", answers).weight(1).start().await.expect("served");
    (worker, serving)
}

/// A relay before an instance. Shut, it closes whoever comes; open, it lets bytes through.
struct Door {
    address: String,
    open: Arc<AtomicBool>,
    knocks: Arc<AtomicUsize>,
}

impl Door {
    async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (open, knocks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let door = Self { address, open: open.clone(), knocks: knocks.clone() };
        let target = target.to_owned();
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                knocks.fetch_add(1, Ordering::SeqCst);
                if open.load(Ordering::SeqCst) {
                    let target = target.clone();
                    tokio::spawn(async move {
                        let mut outside = TcpStream::connect(target).await.expect("the instance listens");
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    });
                }
            }
        });
        door
    }
}

fn address_of(serving: &Serving) -> String {
    serving.instance().request_endpoints()[0].address.address.clone()
}

/// Publishes what `serving` published, at another address.
async fn publish(records: &MemStore, serving: &Serving, address: &str) -> LeaseGuard {
    let moved = TransportEndpoint {
        address: TransportAddress::tcp(address),
        ..serving.instance().request_endpoints().remove(0)
    };
    let transport = TransportType::Unified { request_transports: vec![moved], response_transports: Vec::new() };
    let record = Instance { transport, ..serving.instance().clone() };
    let discovery = runtime(records, 2, ("tcp", "tcp"), "round-robin").discovery().expect("mem discovery");
    discovery.put(record).await.expect("published")
}
