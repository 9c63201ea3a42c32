// SPDX-License-Identifier: Apache-2.0
//! Two runtimes in one process know nothing of each other: no registry, configuration, store, network, metric or end is
//! shared unless somebody shares it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::discovery::mem::{MemDiscovery, MemStore};
use biplane::registry::TransportRegistration;
use biplane::transport::mem::MemNetwork;
use biplane::{
    Biplane, Connection, Error, ErrorKind, PlaneType, Request, ResponseSender, Result, Serving, Subject, Target,
    Transport, handler_fn,
};

/// Only against a hang: far above what the work takes.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it hangs")
}

/// A runtime on `mem`, whole and alone.
fn alone() -> Biplane {
    on_mem().build().expect("a runtime")
}

fn on_mem() -> biplane::runtime::Builder {
    Biplane::builder().env([
        ("DYN_REQUEST_PLANE", "mem"),
        ("DYN_RESPONSE_PLANE", "mem"),
        ("DYN_DISCOVERY_BACKEND", "mem"),
    ])
}

/// Serves `name`, answering with `answer`.
async fn serve(biplane: &Biplane, name: &str, answer: &'static str) -> Serving {
    let handler = handler_fn(move |_: Request, reply: ResponseSender| async move { reply.send(answer).await });
    biplane.serve(name, handler).start().await.expect("served")
}

async fn ask(biplane: &Biplane, name: &str) -> Result<String> {
    let service = biplane.service(name).await?;
    let answer = service.request(Request::new(Subject::from_static("x"), "")).await?;
    Ok(answer.text()?.to_owned())
}

#[tokio::test]
async fn the_same_name_is_two_services() {
    within(async {
        let (one, two) = (alone(), alone());
        assert_ne!(one.instance_id(), two.instance_id());
        // The same endpoint on the same transport: one network would refuse the second.
        let _one = serve(&one, "words", "one").await;
        let _two = serve(&two, "words", "two").await;
        assert_eq!(ask(&one, "words").await.expect("an answer"), "one");
        assert_eq!(ask(&two, "words").await.expect("an answer"), "two");
        let _only = serve(&one, "only", "here").await;
        assert_eq!(ask(&two, "only").await.expect_err("another store").kind(), ErrorKind::NoService);
    })
    .await;
}

#[tokio::test]
async fn an_address_of_the_other_network_is_refused_before_it_is_looked_up() {
    within(async {
        let (one, two) = (alone(), alone());
        let serving = serve(&one, "words", "one").await;
        let address = serving.instance().request_endpoints()[0].address.address.clone();
        let url = format!("mem://{address}");
        let here = one.call(&url, "").await.expect("a valid URL").next().await;
        assert_eq!(here.expect("an item").expect("no error").body, "one");
        let elsewhere = async {
            let mut answer = two.call(&url, "").await?;
            answer.next().await.unwrap_or_else(|| Err(Error::unexpected("a clean end")))
        };
        assert_eq!(elsewhere.await.expect_err("another network").kind(), ErrorKind::Unsupported);
    })
    .await;
}

#[tokio::test]
async fn what_is_shared_on_purpose_is_shared() {
    within(async {
        let (network, records) = (MemNetwork::new(), MemStore::default());
        let sharing = || {
            let store = MemDiscovery::new(records.clone());
            on_mem().share(Arc::new(network.clone())).share(Arc::new(store)).build().expect("a runtime")
        };
        let (worker, caller) = (sharing(), sharing());
        let _serving = serve(&worker, "words", "one").await;
        assert_eq!(ask(&caller, "words").await.expect("an answer"), "one");
        // The metrics are still each one's own: the worker counts what reached it, the caller what it sent.
        let count = r#"transport_requests_total{transport="mem",plane="request"} 1"#;
        assert!(worker.telemetry().render().contains(count), "{}", worker.telemetry().render());
        assert!(caller.telemetry().render().contains(count), "{}", caller.telemetry().render());
    })
    .await;
}

#[tokio::test]
async fn one_counts_nothing_of_the_other() {
    within(async {
        let (one, two) = (alone(), alone());
        let _one = serve(&one, "words", "one").await;
        for _ in 0..5 {
            ask(&one, "words").await.expect("an answer");
        }
        assert!(one.telemetry().render().contains(r#"transport_requests_total{transport="mem",plane="request"}"#));
        let page = two.telemetry().render();
        let counted = page.lines().filter(|line| line.starts_with("transport_requests_total{"));
        assert_eq!(counted.filter(|line| !line.ends_with(" 0")).count(), 0, "{page}");
    })
    .await;
}

struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        Err(Error::connect(format!("{target} is nowhere")))
    }
}

#[tokio::test]
async fn registries_and_configurations_are_each_ones_own() {
    within(async {
        const NOWHERE: TransportRegistration =
            TransportRegistration::made_in_code("nowhere", PlaneType::Connection).schemes(&["nowhere"]);
        let one = on_mem()
            .registry(|registry| registry.register_connection(NOWHERE, Arc::new(Nowhere)).map(|_| ()))
            .env([("BIPLANE_MAX_MESSAGE_SIZE", "64KiB")])
            .build()
            .expect("a runtime");
        let two = alone();
        assert!(one.registry().is_registered("nowhere") && !two.registry().is_registered("nowhere"));
        assert_eq!(one.connect("nowhere://x").await.expect_err("nowhere").kind(), ErrorKind::Connect);
        let error = two.connect("nowhere://x").await.expect_err("not registered");
        assert_eq!(error.kind(), ErrorKind::NoTransport, "{error}");
        assert_eq!(one.config().limits.max_message_size, 64 << 10);
        assert_eq!(two.config().limits.max_message_size, 16 << 20);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_one_is_not_the_end_of_the_other() {
    within(async {
        let (one, two) = (alone(), alone());
        let _one = serve(&one, "words", "one").await;
        let _two = serve(&two, "words", "two").await;
        assert_eq!(ask(&one, "words").await.expect("an answer"), "one");
        one.shutdown(Duration::from_secs(5)).await;
        assert_eq!(ask(&one, "words").await.expect_err("shut down").kind(), ErrorKind::Closed);
        assert_eq!(ask(&two, "words").await.expect("an answer"), "two");
    })
    .await;
}
