// SPDX-License-Identifier: Apache-2.0
//! http+http behind a real nginx, HTTP/1.1 to the upstream: answers come item by item, and whoever leaves is noticed.
//!
//! No clock decides anything here: the handler produces item *k + 1* only after the caller has shown that it has item *k*,
//! so a proxy that buffered would hang the test.

use std::sync::Arc;
use std::time::Duration;

use biplane::{Biplane, ControlMessage, ErrorKind, Request, ResponseSender, Serving, handler_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

use crate::proxy::Nginx;

mod proxy;

/// What a proxy is told about buffering: not to, and nothing. The second works because the server's answers say
/// `x-accel-buffering: no`.
const SETTINGS: [&str; 2] = ["proxy_buffering off;", ""];

const WORDS: [&str; 4] = ["to", "be", "or", "not"];

/// Only against a hang: far above what the work takes.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it hangs: something buffers")
}

/// A worker on the http plane whose answer is what the test puts in, when it puts it in.
struct World {
    worker: Biplane,
    serving: Serving,
    items: mpsc::UnboundedSender<&'static str>,
    nginx: Nginx,
}

impl World {
    async fn start(settings: &str) -> Option<Self> {
        let worker = runtime();
        let (items, source) = mpsc::unbounded_channel();
        let source = Arc::new(Mutex::new(source));
        let fed = handler_fn(move |_: Request, reply: ResponseSender| {
            let source = source.clone();
            async move {
                let mut source = source.lock().await;
                loop {
                    tokio::select! {
                        item = source.recv() => match item {
                            Some("end") | None => return Ok(()),
                            Some(item) => reply.send(item).await?,
                        },
                        ControlMessage::Stop = reply.stopped() => return reply.send("stopped").await,
                    }
                }
            }
        });
        let serving = worker.serve("fed", fed).start().await.expect("served");
        let address = serving.instance().request_endpoints()[0].address.address.clone();
        let upstream = address.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an http URL");
        let nginx = Nginx::start(upstream, settings)?;
        Some(Self { worker, serving, items, nginx })
    }

    fn put(&self, item: &'static str) {
        self.items.send(item).expect("the handler's source lives");
    }

    /// The endpoint as nginx shows it.
    fn url(&self) -> String {
        format!("http://{}/v1/rpc/fed", self.nginx.authority())
    }

    /// Nothing may be left at work, whatever ended the answer.
    async fn end(self) {
        assert!(self.serving.stop(Duration::from_secs(20)).await, "a handler was left");
        self.worker.shutdown(Duration::from_secs(5)).await;
    }
}

/// What `DYN_REQUEST_PLANE=http DYN_RESPONSE_PLANE=http BIPLANE_HTTP_VERSION=1.1` make.
fn runtime() -> Biplane {
    Biplane::builder()
        .env([("DYN_REQUEST_PLANE", "http"), ("DYN_RESPONSE_PLANE", "http"), ("BIPLANE_HTTP_VERSION", "1.1")])
        .env([("DYN_HTTP_RPC_HOST", "127.0.0.1"), ("DYN_HTTP_RPC_PORT", "0"), ("DYN_DISCOVERY_BACKEND", "mem")])
        .build()
        .expect("a runtime")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_sees_each_event_before_the_next_is_produced() {
    for settings in SETTINGS {
        let Some(world) = World::start(settings).await else { return };
        within(async {
            let mut client = TcpStream::connect(world.nginx.authority()).await.expect("nginx listens");
            let host = world.nginx.authority();
            let request = format!(
                "POST /v1/rpc/fed HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\ncontent-length: 2\r\n\r\ngo"
            );
            client.write_all(request.as_bytes()).await.expect("written");
            let mut seen = String::new();
            // The head comes when the request is accepted, before the first item.
            read_until(&mut client, &mut seen, "\r\n\r\n").await;
            assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
            assert!(seen.to_ascii_lowercase().contains("content-type: text/event-stream"), "{seen}");
            for word in WORDS {
                world.put(word);
                read_until(&mut client, &mut seen, &format!("data: {word}\n\n")).await;
            }
            world.put("end");
            read_until(&mut client, &mut seen, "event: done\ndata: {}\n\n").await;
            world.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_caller_sees_each_item_before_the_next_is_produced() {
    for settings in SETTINGS {
        let Some(world) = World::start(settings).await else { return };
        within(async {
            let caller = runtime();
            for _ in 0..3 {
                let mut answer = caller.call(&world.url(), "go").await.expect("a valid URL");
                for word in WORDS {
                    world.put(word);
                    let item = answer.next().await.expect("an item").expect("no error");
                    assert_eq!(item.text().expect("text"), word);
                }
                world.put("end");
                assert!(answer.next().await.is_none(), "a clean end");
            }
            caller.shutdown(Duration::from_secs(5)).await;
            world.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_and_leaving_pass_through_nginx() {
    let Some(world) = World::start(SETTINGS[0]).await else { return };
    within(async {
        let caller = runtime();
        let mut answer = caller.call(&world.url(), "go").await.expect("a valid URL");
        world.put("one");
        assert_eq!(answer.next().await.expect("an item").expect("no error").body, "one");
        answer.control(ControlMessage::Stop);
        assert_eq!(answer.next().await.expect("an item").expect("no error").body, "stopped");
        assert!(answer.next().await.is_none(), "a clean end");

        let mut answer = caller.call(&world.url(), "go").await.expect("a valid URL");
        world.put("two");
        assert_eq!(answer.next().await.expect("an item").expect("no error").body, "two");
        // nginx closes the upstream's link when its client leaves; `end` then finds no handler at work.
        drop(answer);
        caller.shutdown(Duration::from_secs(5)).await;
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nginx_cuts_is_an_error_with_its_count_and_no_clean_end() {
    let Some(World { worker, serving, items, nginx }) = World::start(SETTINGS[0]).await else { return };
    within(async {
        let caller = runtime();
        let url = format!("http://{}/v1/rpc/fed", nginx.authority());
        let mut answer = caller.call(&url, "go").await.expect("a valid URL");
        items.send("one").expect("the handler's source lives");
        assert_eq!(answer.next().await.expect("an item").expect("no error").body, "one");
        drop(nginx);
        let error = answer.next().await.expect("no clean end").expect_err("an error");
        assert_eq!((error.kind(), error.items_seen()), (ErrorKind::Closed, Some(1)), "{error:?}");
        caller.shutdown(Duration::from_secs(5)).await;
        assert!(serving.stop(Duration::from_secs(20)).await, "a handler was left");
        worker.shutdown(Duration::from_secs(5)).await;
    })
    .await;
}

async fn read_until(client: &mut TcpStream, seen: &mut String, text: &str) {
    while !seen.contains(text) {
        let mut chunk = [0; 4096];
        let read = client.read(&mut chunk).await.expect("nginx answers");
        assert_ne!(read, 0, "nginx closed after {seen:?}");
        seen.push_str(std::str::from_utf8(&chunk[..read]).expect("text"));
    }
}
