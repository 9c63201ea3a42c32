// SPDX-License-Identifier: Apache-2.0
//! What the benches share: two runtimes of one process that meet as two processes would, and how long to measure.
//!
//! Both sides run on one machine and one set of threads, so these figures compare; `biplane bench`, with a process for each
//! side, tells what a service would see.

use std::time::Duration;

use biplane::{Biplane, Connection, Request, ResponseSender, Result, Service, Serving, Subject, handler_fn};
use bytes::Bytes;
use criterion::Criterion;
use tempfile::TempDir;
use tokio::runtime::Runtime;
// Plugins count like any other transport.
use biplane_uds as _;

/// Few samples and short ones: a run of all three benches stays under a minute. `--sample-size` and `--measurement-time`
/// on the command line ask for more.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .without_plots()
        .configure_from_args()
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be started")
}

/// A caller and a worker on one pair of planes.
pub(crate) struct Pair {
    pub(crate) service: Service,
    _worker: (Biplane, Vec<Serving>),
    _caller: Biplane,
    _store: TempDir,
}

impl Pair {
    /// `more` are settings in code, such as `("transport.tcp.pool.enabled", "false")`.
    pub(crate) async fn new(request: &str, response: &str, more: &[(&str, &str)]) -> Result<Self> {
        let store = tempfile::tempdir().expect("a temporary directory can be made");
        let discovery = if request == "mem" { "mem" } else { "file" };
        let build = || {
            let builder = Biplane::builder()
                .env([("DYN_FILE_KV", store.path().as_os_str())])
                .env([("DYN_REQUEST_PLANE", request), ("DYN_RESPONSE_PLANE", response)])
                .env([("DYN_DISCOVERY_BACKEND", discovery)])
                .env(LISTENERS.iter().flat_map(|(host, port)| [(*host, "127.0.0.1"), (*port, "0")]));
            more.iter().fold(builder, |builder, (key, value)| builder.set(*key, value)).build()
        };
        let worker = build()?;
        // A runtime's `mem` is its own: one runtime is both sides.
        let caller = if request == "mem" { worker.clone() } else { build()? };
        let serving = worker.serve("bench", handler_fn(answer)).start().await?;
        let service = caller.service("bench").await?;
        Ok(Self { service, _worker: (worker, vec![serving]), _caller: caller, _store: store })
    }

    /// One call: how many items came. `items` of zero asks for an echo.
    pub(crate) async fn call(&self, items: u32, body: &Bytes) -> u32 {
        let subject = Subject::from_static("bench");
        let mut message = biplane::Message::new(body.clone());
        if items > 0 {
            message.headers.append(ITEMS, items.to_string());
        }
        let mut answer = self.service.open(Request::new(subject, message)).expect("the service takes requests");
        let mut seen = 0;
        while let Some(item) = answer.next().await {
            item.expect("the answer is whole");
            seen += 1;
        }
        assert_eq!(seen, items.max(1), "items of an answer");
        seen
    }
}

const ITEMS: &str = "bench-items";

const LISTENERS: [(&str, &str); 4] = [
    ("DYN_TCP_REQUEST_HOST", "DYN_TCP_REQUEST_PORT"),
    ("DYN_TCP_RESPONSE_STREAM_HOST", "DYN_TCP_RESPONSE_STREAM_PORT"),
    ("DYN_HTTP_RPC_HOST", "DYN_HTTP_RPC_PORT"),
    ("DYN_HTTP_RESPONSE_HOST", "DYN_HTTP_RESPONSE_PORT"),
];

/// Echoes the body as often as the request says.
async fn answer(request: Request, reply: ResponseSender) -> Result<()> {
    let items = request.message.headers.get_str(ITEMS).and_then(|items| items.parse().ok()).unwrap_or(1_u32);
    for _ in 0..items {
        reply.send(request.message.body.clone()).await?;
    }
    Ok(())
}
