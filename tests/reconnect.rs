// SPDX-License-Identifier: Apache-2.0
//! Connections that die between two calls: the next call is not the one that pays.

use std::path::Path;
use std::time::Duration;

use biplane::{Biplane, Request, ResponseSender, Serving, handler_fn};

async fn worker(store: &Path, id: u64, port: u16) -> (Biplane, Serving) {
    let worker = Biplane::builder()
        .env([("DYN_FILE_KV", store.as_os_str())])
        .set("transport.tcp.request.host", "127.0.0.1")
        .set("transport.tcp.request.port", port)
        .instance_id(id)
        .build()
        .unwrap();
    let name = handler_fn(move |_: Request, reply: ResponseSender| async move { reply.send(format!("{id}")).await });
    let serving = worker.serve("who", name).start().await.unwrap();
    (worker, serving)
}

async fn end((worker, serving): (Biplane, Serving)) {
    serving.stop(Duration::from_secs(5)).await;
    worker.shutdown(Duration::from_secs(5)).await;
}

fn port_of(serving: &Serving) -> u16 {
    let address = serving.instance().request_endpoints()[0].address.address.clone();
    address.split('/').next().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

async fn ask(caller: &Biplane) -> biplane::Result<String> {
    let answer = async {
        let mut answer = caller.call("who", "x").await?;
        let item = answer.next().await.expect("an item")?;
        item.text().map(str::to_owned)
    };
    tokio::time::timeout(Duration::from_secs(30), answer).await.expect("hangs")
}

fn caller(store: &Path) -> Biplane {
    Biplane::builder().env([("DYN_FILE_KV", store.as_os_str())]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_came_back_at_its_old_place_is_dialled_again() {
    let store = tempfile::tempdir().unwrap();
    let caller = caller(store.path());
    let first = worker(store.path(), 7, 0).await;
    let port = port_of(&first.1);
    for _ in 0..3 {
        assert_eq!(ask(&caller).await.unwrap(), "7");
    }
    end(first).await;
    let second = worker(store.path(), 7, port).await;
    // Until the caller sees the record, it asks discovery, not the connection that it has.
    let service = caller.service("who").await.unwrap();
    while service.instances().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(&caller).await.unwrap(), "7");
    end(second).await;
}
