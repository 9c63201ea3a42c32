// SPDX-License-Identifier: Apache-2.0
//! Every request plane with every response plane, through two runtimes that meet in a file store, as two processes would.

use std::path::Path;
use std::time::Duration;

use biplane::{Biplane, ControlMessage, Error, ErrorKind, PeerError, Request, ResponseSender, handler_fn};
use tempfile::TempDir;

/// Request planes of the core; the plugins' own crates add theirs.
const REQUEST_PLANES: [&str; 2] = ["tcp", "http"];
const RESPONSE_PLANES: [&str; 2] = ["tcp", "http"];

fn runtime(store: &Path, request: &str, response: &str) -> Biplane {
    Biplane::builder()
        .env(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DYN_TCP_POOL_")))
        .env([
            ("DYN_FILE_KV", store.as_os_str()),
            ("DYN_REQUEST_PLANE", request.as_ref()),
            ("DYN_RESPONSE_PLANE", response.as_ref()),
        ])
        .set("transport.tcp.request.port", 0)
        .build()
        .unwrap()
}

struct Pair {
    _store: TempDir,
    worker: Biplane,
    caller: Biplane,
    _serving: Vec<biplane::Serving>,
}

async fn pair(request: &str, response: &str) -> Pair {
    let store = tempfile::tempdir().unwrap();
    let worker = runtime(store.path(), request, response);
    let caller = runtime(store.path(), request, response);
    let mut serving = Vec::new();
    let words = handler_fn(|request: Request, reply: ResponseSender| async move {
        let text = request.message.text()?.to_owned();
        for word in text.split_whitespace() {
            reply.send(word.to_owned()).await?;
        }
        Ok(())
    });
    serving.push(worker.serve("words", words).start().await.unwrap());
    let broken = handler_fn(|_: Request, reply: ResponseSender| async move {
        reply.send("one").await?;
        reply.fail(PeerError::new(-7, "broken").with_data(&b"[1]"[..]));
        Ok(())
    });
    serving.push(worker.serve("broken", broken).start().await.unwrap());
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
    serving.push(worker.serve("endless", endless).start().await.unwrap());
    Pair { _store: store, worker, caller, _serving: serving }
}

async fn within<T>(what: impl std::future::Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("hangs")
}

async fn items(biplane: &Biplane, name: &str, body: &str) -> (Vec<String>, Option<Error>) {
    let mut stream = biplane.call(name, body.to_owned()).await.unwrap();
    let mut items = Vec::new();
    loop {
        match stream.next().await {
            Some(Ok(item)) => items.push(item.text().unwrap().to_owned()),
            Some(Err(error)) => return (items, Some(error)),
            None => return (items, None),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_answers_item_by_item_and_ends() {
    for request in REQUEST_PLANES {
        for response in RESPONSE_PLANES {
            within(async {
                let pair = pair(request, response).await;
                for round in 0..3 {
                    let (words, error) = items(&pair.caller, "words", "to be or not").await;
                    assert_eq!(words, ["to", "be", "or", "not"], "{request}+{response}, round {round}");
                    assert!(error.is_none(), "{request}+{response}: {error:?}");
                }
                let (words, error) = items(&pair.caller, "words", "").await;
                assert!(words.is_empty() && error.is_none());
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_carries_errors_after_items() {
    for request in REQUEST_PLANES {
        for response in RESPONSE_PLANES {
            within(async {
                let pair = pair(request, response).await;
                let (seen, error) = items(&pair.caller, "broken", "x").await;
                assert_eq!(seen, ["one"], "{request}+{response}: {error:?}");
                let error = error.expect("an error");
                assert_eq!(
                    error.peer(),
                    Some(&PeerError::new(-7, "broken").with_data(&b"[1]"[..])),
                    "{request}+{response}"
                );
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_stops_in_order_and_cancels_on_drop() {
    for request in REQUEST_PLANES {
        for response in RESPONSE_PLANES {
            within(async {
                let pair = pair(request, response).await;
                let mut stream = pair.caller.call("endless", "").await.unwrap();
                for _ in 0..10 {
                    stream.next().await.unwrap().unwrap();
                }
                stream.control(ControlMessage::Stop);
                let mut last = String::new();
                while let Some(item) = stream.next().await {
                    last = item.unwrap().text().unwrap().to_owned();
                }
                assert_eq!(last, "last", "{request}+{response}");
                let mut stream = pair.caller.call("endless", "").await.unwrap();
                stream.next().await.unwrap().unwrap();
                drop(stream);
                // The handler ends because its caller went: the worker drains without waiting for its grace.
                for serving in pair._serving {
                    assert!(serving.stop(Duration::from_secs(10)).await, "{request}+{response}");
                }
                pair.worker.shutdown(Duration::from_secs(5)).await;
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_service_says_what_is_there() {
    let pair = pair("tcp", "tcp").await;
    let (_, error) = items(&pair.caller, "word", "x").await;
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::NoService);
    assert!(error.to_string().contains("words"), "{error}");
}
