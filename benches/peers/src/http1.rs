// SPDX-License-Identifier: Apache-2.0
//! The client of hyper-util with its pool, on HTTP/1.1: a connection for each request in flight.

use biplane_cells::{Ask, Caller, Outcome, Peer, Serving};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Uri;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::body::{Frames, STREAM, UNARY, answer, count, post, uri};
use crate::serving::{handles, serving};

pub(crate) struct Http1;

impl Peer for Http1 {
    type Caller = Client;

    fn name(&self) -> String {
        "hyper-util-h1".into()
    }

    async fn serve(&self) -> Outcome<Serving> {
        serving(serve).await
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(handles(Client { client, unary: uri(address, UNARY)?, stream: uri(address, STREAM)? }, in_flight))
    }
}

async fn serve(listener: TcpListener) -> Outcome {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(|request| answer(request, Frames::Each));
        tokio::spawn(Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    client: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    unary: Uri,
    stream: Uri,
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let answer = self.client.request(post(&self.unary, body)?).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let answer = self.client.request(post(&self.stream, ask.encode())?).await?;
        count(answer.into_body(), ask).await
    }
}
