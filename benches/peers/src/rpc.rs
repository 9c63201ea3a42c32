// SPDX-License-Identifier: Apache-2.0
//! tarpc over TCP with bincode, a task per request as its documentation has it. It has no streams.

use biplane_cells::{Caller, Cell, Outcome, Peer, Serving};
use bytes::Bytes;
use futures_util::StreamExt;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::{client, context, serde_transport, server};
use tokio::net::{TcpListener, TcpStream};

use crate::serving::{STREAMS, handles, serving};

#[tarpc::service]
trait Echo {
    async fn unary(payload: Bytes) -> Bytes;
}

#[derive(Clone, Copy)]
struct Server;

impl Echo for Server {
    async fn unary(self, _: context::Context, payload: Bytes) -> Bytes {
        payload
    }
}

pub(crate) struct Tarpc;

impl Peer for Tarpc {
    type Caller = Client;

    fn name(&self) -> String {
        "tarpc".into()
    }

    fn can(&self, cell: &Cell) -> bool {
        cell.is_unary()
    }

    async fn serve(&self) -> Outcome<Serving> {
        serving(serve).await
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let transport = serde_transport::new(LengthDelimitedCodec::builder().new_framed(stream), Bincode::default());
        let mut config = client::Config::default();
        config.max_in_flight_requests = STREAMS as usize;
        config.pending_request_buffer = STREAMS as usize;
        Ok(handles(Client { echo: EchoClient::new(config, transport).spawn() }, in_flight))
    }
}

async fn serve(listener: TcpListener) -> Outcome {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let transport = serde_transport::new(LengthDelimitedCodec::builder().new_framed(stream), Bincode::default());
        let channel = BaseChannel::new(server::Config { pending_response_buffer: STREAMS as usize }, transport);
        tokio::spawn(channel.execute(Server.serve()).for_each(|answer| async {
            tokio::spawn(answer);
        }));
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    echo: EchoClient,
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        Ok(self.echo.unary(context::current(), body).await?)
    }
}
