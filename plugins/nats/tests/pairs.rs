// SPDX-License-Identifier: Apache-2.0
//! The plane with the core's response planes, through whole runtimes that meet in a file store, as two processes would.

use std::path::Path;
use std::time::Duration;

use biplane::{Biplane, Error, ErrorKind, Request, ResponseSender, Serving, handler_fn};
use biplane_nats::testing::NatsServer;
use tempfile::TempDir;

const RESPONSE_PLANES: [&str; 2] = ["tcp", "http"];

/// Nothing here takes this long; a test that would hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// `NATS_SERVER` alone elects the plane: no test names it.
fn runtime(store: &Path, server: &NatsServer, response: &str) -> Biplane {
    Biplane::builder()
        .env([
            ("DYN_FILE_KV", store.as_os_str()),
            ("NATS_SERVER", server.url().as_ref()),
            ("DYN_RESPONSE_PLANE", response.as_ref()),
            ("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1".as_ref()),
            ("DYN_HTTP_RESPONSE_HOST", "127.0.0.1".as_ref()),
            ("DYN_HTTP_RESPONSE_PORT", "0".as_ref()),
        ])
        .build()
        .unwrap()
}

async fn serve_words(worker: &Biplane) -> Serving {
    let words = handler_fn(|request: Request, reply: ResponseSender| async move {
        for word in request.message.text()?.split_whitespace() {
            reply.send(word.to_owned()).await?;
        }
        Ok(())
    });
    worker.serve("words", words).start().await.unwrap()
}

async fn items(caller: &Biplane, to: &str, body: &str) -> Result<Vec<String>, Error> {
    let mut stream = caller.call(to, body.to_owned()).await?;
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        items.push(item?.text()?.to_owned());
    }
    Ok(items)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_on_every_response_plane() {
    let Some(server) = NatsServer::start() else { return };
    for response in RESPONSE_PLANES {
        let pair = async {
            let store = TempDir::new().unwrap();
            let (worker, caller) = (runtime(store.path(), &server, response), runtime(store.path(), &server, response));
            let serving = serve_words(&worker).await;
            for round in 0..3 {
                let words = items(&caller, "words", "to be or not").await.unwrap();
                assert_eq!(words, ["to", "be", "or", "not"], "nats+{response}, round {round}");
            }
            let url = format!("{}/words", server.url());
            assert_eq!(items(&caller, &url, "by url").await.unwrap(), ["by", "url"], "nats+{response}");
            assert!(serving.stop(Duration::from_secs(10)).await, "nats+{response}");
            worker.shutdown(Duration::from_secs(5)).await;
            caller.shutdown(Duration::from_secs(5)).await;
        };
        tokio::time::timeout(PATIENCE, pair).await.expect("the test hangs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_can_be_replaced_one_by_one() {
    let Some(server) = NatsServer::start() else { return };
    let rolling = async {
        let store = TempDir::new().unwrap();
        let caller = runtime(store.path(), &server, "tcp");
        let mut old = runtime(store.path(), &server, "tcp");
        let mut serving = serve_words(&old).await;
        for _ in 0..3 {
            let new = runtime(store.path(), &server, "tcp");
            let next = serve_words(&new).await;
            for _ in 0..20 {
                assert_eq!(items(&caller, "words", "still here").await.unwrap(), ["still", "here"]);
            }
            // The record is withdrawn first; who comes late finds nobody, and may ask the other.
            serving.stop(Duration::from_secs(10)).await;
            for _ in 0..20 {
                assert_eq!(items(&caller, "words", "still here").await.unwrap(), ["still", "here"]);
            }
            old.shutdown(Duration::from_secs(5)).await;
            (old, serving) = (new, next);
        }
        drop(serving);
        old.shutdown(Duration::from_secs(5)).await;
    };
    tokio::time::timeout(PATIENCE, rolling).await.expect("the test hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_responder_that_is_gone_is_a_typed_error() {
    let Some(server) = NatsServer::start() else { return };
    let gone = async {
        let store = TempDir::new().unwrap();
        let caller = runtime(store.path(), &server, "tcp");
        let error = items(&caller, &format!("{}/words", server.url()), "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoService, "{error:?}");
        caller.shutdown(Duration::from_secs(5)).await;
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the test hangs");
}
