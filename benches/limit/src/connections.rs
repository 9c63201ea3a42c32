// SPDX-License-Identifier: Apache-2.0
//! Biplane's connections that carry JSON-RPC: request and answer on one wire.

use std::sync::Arc;
use std::time::Duration;

use biplane::{Biplane, Connection, Inbound, Listener, Request, Subject};
use biplane_cells::{Caller, Cell, Outcome, Peer, Serving};
use bytes::Bytes;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A name, and the URL to listen at.
pub(crate) struct Connections(pub(crate) &'static str, pub(crate) &'static str);

impl Peer for Connections {
    type Caller = Call;

    fn name(&self) -> String {
        self.0.to_owned()
    }

    /// An answer of JSON-RPC is one.
    fn can(&self, cell: &Cell) -> bool {
        !cell.is_stream()
    }

    async fn serve(&self) -> Outcome<Serving> {
        let biplane = Biplane::builder().build()?;
        let listener = biplane.listen(self.1).await?;
        let address = listener.local_address().address;
        tokio::spawn(accept(listener));
        let (scheme, _) = self.1.split_once("://").ok_or("not a URL")?;
        let (_, place) = address.split_once("://").ok_or("not an address")?;
        Ok(Serving::new(format!("{scheme}://{place}"), biplane))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Call>> {
        let biplane = Biplane::builder().build()?;
        let connection = biplane.connect(address).await?;
        let call = |_| Call {
            connection: connection.clone(),
            subject: Subject::from_static("echo"),
            _biplane: biplane.clone(),
        };
        Ok((0..in_flight).map(call).collect())
    }
}

async fn accept(listener: Box<dyn Listener>) {
    while let Ok(Some(connection)) = listener.accept().await {
        tokio::spawn(answer(connection));
    }
}

async fn answer(connection: Arc<dyn Connection>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        if let Inbound::Request(request, reply) = inbound
            && reply.send(request.message.body).await.is_ok()
        {
            reply.close();
        }
    }
}

pub(crate) struct Call {
    connection: Arc<dyn Connection>,
    subject: Subject,
    _biplane: Biplane,
}

impl Caller for Call {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let request = Request::new(self.subject.clone(), body).with_timeout(TIMEOUT);
        Ok(self.connection.request(request).await?.body)
    }
}
