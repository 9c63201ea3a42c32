// SPDX-License-Identifier: Apache-2.0
//! Whole calls, both sides in one process and on one thread.

use std::sync::Arc;

use biplane::{Biplane, Connection, Inbound, Request, ResponseSender, Result, Service, Serving, Subject, handler_fn};
use bytes::Bytes;

use super::{Rounds, awaited, runtime, side_by_side};

/// A layer between the caller and its connections.
pub(super) type Between = Box<dyn Fn(Arc<dyn Connection>) -> Arc<dyn Connection> + Send + Sync>;

/// A runtime that serves an echo and calls it.
pub(super) struct Pair {
    pub(super) biplane: Biplane,
    service: Service,
    serving: Serving,
}

impl Pair {
    pub(super) const NAME: &str = "bench";

    pub(super) async fn new(request: &str, response: &str, between: Option<Between>) -> Self {
        let builder = Biplane::builder()
            .env([("DYN_REQUEST_PLANE", request), ("DYN_RESPONSE_PLANE", response), ("DYN_DISCOVERY_BACKEND", "mem")])
            .env([("DYN_TCP_REQUEST_HOST", "127.0.0.1"), ("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1")])
            .env([("DYN_HTTP_RPC_HOST", "127.0.0.1"), ("DYN_HTTP_RPC_PORT", "0")]);
        let builder = match between {
            Some(between) => builder.layer(between),
            None => builder,
        };
        let biplane = builder.build().expect("the settings are good");
        let serving = biplane.serve(Self::NAME, handler_fn(echo)).start().await.expect("a port is free");
        let service = biplane.service(Self::NAME).await.expect("discovery works");
        let pair = Self { biplane, service, serving };
        pair.call(&Bytes::new(), 1).await;
        pair
    }

    /// Where the request plane is, as a URL.
    pub(super) fn url(&self) -> String {
        let endpoint = self.serving.instance().request_endpoints().into_iter().next().expect("it is served");
        format!("{}://{}/{}", endpoint.address.transport, endpoint.address.address, Self::NAME)
    }

    /// One call, its answer read to the end.
    pub(super) async fn call(&self, body: &Bytes, items: usize) {
        let answer = self.service.open(Request::new(Subject::from_static(Self::NAME), body.clone()));
        read(answer.expect("the service takes requests"), items).await;
    }
}

pub(super) async fn read(mut answer: biplane::ResponseStream, items: usize) {
    let mut seen = 0;
    while let Some(item) = answer.next().await {
        item.expect("the answer is whole");
        seen += 1;
    }
    assert_eq!(seen, items, "items of the answer");
}

/// A body of one byte asks for that many items of 64 bytes, all ready at once; one of two bytes asks for the first of them
/// many, one for each turn of the scheduler; any other comes back.
pub(super) async fn echo(request: Request, reply: ResponseSender) -> Result<()> {
    match &request.message.body[..] {
        [items] => {
            for _ in 0..*items {
                reply.send(Bytes::from_static(&[7; 64])).await?;
            }
            Ok(())
        }
        [items, _] => {
            for _ in 0..*items {
                reply.send(Bytes::from_static(&[7; 64])).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        _ => reply.send(request.message).await,
    }
}

fn unary(planes: (&str, &str), size: usize, rounds: Rounds, in_flight: u32) -> f64 {
    let body = Bytes::from(vec![7; size]);
    let items = if size == 1 { 7 } else { 1 };
    calls(planes, body, items, rounds, in_flight)
}

fn calls(planes: (&str, &str), body: Bytes, items: usize, rounds: Rounds, in_flight: u32) -> f64 {
    let runtime = runtime();
    let pair = Arc::new(runtime.block_on(Pair::new(planes.0, planes.1, None)));
    if in_flight == 1 {
        return awaited(&runtime, rounds, || pair.call(&body, items));
    }
    side_by_side(&runtime, rounds, in_flight, move || {
        let (pair, body) = (pair.clone(), body.clone());
        async move { pair.call(&body, items).await }
    })
}

pub(super) fn mem_1(rounds: Rounds) -> f64 {
    unary(("mem", "mem"), 128, rounds, 1)
}

pub(super) fn tcp_1(rounds: Rounds) -> f64 {
    unary(("tcp", "tcp"), 128, rounds, 1)
}

pub(super) fn tcp_64(rounds: Rounds) -> f64 {
    unary(("tcp", "tcp"), 128, rounds, 64)
}

pub(super) fn tcp_1024(rounds: Rounds) -> f64 {
    unary(("tcp", "tcp"), 128, rounds, 1024)
}

pub(super) fn tcp_16k_64(rounds: Rounds) -> f64 {
    unary(("tcp", "tcp"), 16 << 10, rounds, 64)
}

/// A hundred items, all ready at once.
pub(super) fn tcp_stream_64(rounds: Rounds) -> f64 {
    calls(("tcp", "tcp"), Bytes::from_static(&[100]), 100, rounds, 64)
}

/// A hundred items, one for each turn of the scheduler.
pub(super) fn tcp_paced_64(rounds: Rounds) -> f64 {
    calls(("tcp", "tcp"), Bytes::from_static(&[100, 1]), 100, rounds, 64)
}

pub(super) fn http_64(rounds: Rounds) -> f64 {
    unary(("http", "http"), 128, rounds, 64)
}

/// A hundred items in the body of one HTTP/2 response, all ready at once.
pub(super) fn http_stream_64(rounds: Rounds) -> f64 {
    calls(("http", "http"), Bytes::from_static(&[100]), 100, rounds, 64)
}

/// The answer on a link of its own, which the responder has in its pool.
pub(super) fn call_home_64(rounds: Rounds) -> f64 {
    unary(("mem", "tcp"), 128, rounds, 64)
}

/// The link alone, without a service, metrics or a handler: what a call is compared with.
fn connection(rounds: Rounds, in_flight: u32) -> f64 {
    let runtime = runtime();
    let connection = runtime.block_on(async {
        let biplane = Biplane::builder().build().expect("the defaults are good");
        let listener = biplane.listen("tcp://127.0.0.1:0").await.expect("a port is free");
        let url = format!("tcp://{}", listener.local_address().address);
        let connection = biplane.connect(&url).await.expect("it listens");
        tokio::spawn(async move {
            let accepted = listener.accept().await.expect("it listens").expect("somebody connects");
            while let Ok(Some(Inbound::Request(request, reply))) = accepted.receive().await {
                reply.send(request.message).await.expect("the caller waits");
                reply.close();
            }
        });
        connection
    });
    let call = move || {
        let connection = connection.clone();
        async move {
            let request = Request::new(Subject::from_static(Pair::NAME), Bytes::from_static(&[7; 128]))
                .with_timeout(std::time::Duration::from_secs(60));
            read(connection.open(request).expect("there is room"), 1).await;
        }
    };
    if in_flight == 1 {
        return awaited(&runtime, rounds, call);
    }
    side_by_side(&runtime, rounds, in_flight, call)
}

pub(super) fn connection_1(rounds: Rounds) -> f64 {
    connection(rounds, 1)
}

pub(super) fn connection_64(rounds: Rounds) -> f64 {
    connection(rounds, 64)
}

pub(super) fn connection_1024(rounds: Rounds) -> f64 {
    connection(rounds, 1024)
}
