// SPDX-License-Identifier: Apache-2.0
//! hyper's HTTP/2 with nothing above it: one connection, requests by `SendRequest`.

use biplane_cells::{Ask, Caller, Outcome, Peer, Serving};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Uri;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::body::{Frames, STREAM, UNARY, answer, count, post, uri};
use crate::serving::{STREAMS, handles, serving};

/// Its frames are the name.
pub(crate) struct Http2(pub(crate) Frames);

impl Peer for Http2 {
    type Caller = Client;

    fn name(&self) -> String {
        match self.0 {
            Frames::Each => "hyper-h2".into(),
            Frames::Ready => "hyper-h2-batched".into(),
        }
    }

    async fn serve(&self) -> Outcome<Serving> {
        let frames = self.0;
        serving(move |listener| serve(listener, frames)).await
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(handles(Client { sender, unary: uri(address, UNARY)?, stream: uri(address, STREAM)? }, in_flight))
    }
}

async fn serve(listener: TcpListener, frames: Frames) -> Outcome {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(STREAMS);
        tokio::spawn(
            builder.serve_connection(TokioIo::new(stream), service_fn(move |request| answer(request, frames))),
        );
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    unary: Uri,
    stream: Uri,
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let answer = self.sender.send_request(post(&self.unary, body)?).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let answer = self.sender.send_request(post(&self.stream, ask.encode())?).await?;
        count(answer.into_body(), ask).await
    }
}
