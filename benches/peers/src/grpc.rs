// SPDX-License-Identifier: Apache-2.0
//! tonic, with the service that its code generator would write and a codec that passes bytes: what protobuf costs is not
//! counted against it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use biplane_cells::{Ask, Caller, Outcome, Peer, Serving};
use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{Map, StreamExt};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower_service::Service;

use crate::items::{Items, counted, produce};
use crate::serving::{STREAMS, handles, serving};

const UNARY: &str = "/bench.Echo/Unary";
const STREAM: &str = "/bench.Echo/Stream";

pub(crate) struct Tonic;

impl Peer for Tonic {
    type Caller = Client;

    fn name(&self) -> String {
        "tonic".into()
    }

    async fn serve(&self) -> Outcome<Serving> {
        serving(serve).await
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
        Ok(handles(Client { grpc: tonic::client::Grpc::new(channel) }, in_flight))
    }
}

async fn serve(listener: TcpListener) -> Outcome {
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    });
    Ok(Server::builder().max_concurrent_streams(STREAMS).serve_with_incoming(Echo, incoming).await?)
}

#[derive(Clone)]
pub(crate) struct Client {
    grpc: tonic::client::Grpc<Channel>,
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        self.grpc.ready().await?;
        let answer = self.grpc.unary(Request::new(body), PathAndQuery::from_static(UNARY), Raw).await?;
        Ok(answer.into_inner())
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static(STREAM);
        let mut items = self.grpc.server_streaming(Request::new(ask.encode()), path, Raw).await?.into_inner();
        let mut count = 0;
        while let Some(item) = items.message().await? {
            count += counted(ask, &item);
        }
        Ok(count)
    }
}

/// The service.
#[derive(Clone, Copy)]
struct Echo;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            UNARY => Box::pin(async { Ok(tonic::server::Grpc::new(Raw).unary(Unary, request).await) }),
            STREAM => Box::pin(async { Ok(tonic::server::Grpc::new(Raw).server_streaming(Stream, request).await) }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

#[derive(Clone, Copy)]
struct Unary;

impl Service<Request<Bytes>> for Unary {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

#[derive(Clone, Copy)]
struct Stream;

impl Service<Request<Bytes>> for Stream {
    type Response = Response<Map<Items, fn(Bytes) -> Result<Bytes, Status>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let ask = Ask::decode(request.get_ref()).map_err(|why| Status::invalid_argument(why.to_string()));
        ready(ask.map(|ask| Response::new(produce(ask).map(Ok as fn(_) -> _))))
    }
}

/// Messages that are their own bytes.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
