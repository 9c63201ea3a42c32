// SPDX-License-Identifier: Apache-2.0
//! Biplane's connections by URL: request and answer on one wire.

use std::sync::Arc;
use std::time::Duration;

use biplane::telemetry::PlaneMetrics;
use biplane::{Biplane, Connection, Inbound, Listener, Request, Subject};
use biplane_cells::{Ask, Caller, Cell, Outcome, Peer, Serving};
use bytes::Bytes;

use crate::planes::{ITEMS, count, items};
use crate::steps::Step;

const TIMEOUT: Duration = Duration::from_secs(60);

const ECHO: &str = "echo";

/// Connections of one kind.
pub(crate) struct Connections {
    pub(crate) name: &'static str,
    /// To listen at; what is listened at is dialled.
    pub(crate) url: &'static str,
    /// An answer of JSON-RPC is one.
    pub(crate) streams: bool,
    pub(crate) step: Step,
}

impl Peer for Connections {
    type Caller = Call;

    fn name(&self) -> String {
        format!("{}{}", self.name, self.step.suffix())
    }

    fn can(&self, cell: &Cell) -> bool {
        match self.step {
            Step::Bare => cell.is_unary() || (self.streams && !cell.is_call_home()),
            _ => cell.is_unary() && cell.in_flight == 64,
        }
    }

    async fn serve(&self) -> Outcome<Serving> {
        let biplane = self.step.build()?;
        let listener = biplane.listen(self.url).await?;
        let address = listener.local_address().address;
        tokio::spawn(accept(listener, self.step.metrics(&biplane)));
        let (scheme, _) = self.url.split_once("://").ok_or("not a URL")?;
        let place = address.split_once("://").map_or(address.as_str(), |(_, place)| place);
        Ok(Serving::new(format!("{scheme}://{place}"), biplane))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Call>> {
        let biplane = self.step.build()?;
        let (connection, metrics) = (biplane.connect(address).await?, self.step.metrics(&biplane));
        let call = |_| Call { connection: connection.clone(), metrics: metrics.clone(), _biplane: biplane.clone() };
        Ok((0..in_flight).map(call).collect())
    }
}

async fn accept(listener: Box<dyn Listener>, metrics: Option<PlaneMetrics>) {
    while let Ok(Some(connection)) = listener.accept().await {
        tokio::spawn(answer(connection, metrics.clone()));
    }
}

async fn answer(connection: Arc<dyn Connection>, metrics: Option<PlaneMetrics>) {
    while let Ok(Some(inbound)) = connection.receive().await {
        let Inbound::Request(request, reply) = inbound else { continue };
        let _counted = metrics.as_ref().map(PlaneMetrics::begin);
        if request.subject.as_str() == ITEMS {
            tokio::spawn(async move {
                if items(request, &reply).await.is_ok() {
                    reply.close();
                }
            });
        } else if reply.send(request.message.body).await.is_ok() {
            reply.close();
        }
    }
}

pub(crate) struct Call {
    connection: Arc<dyn Connection>,
    metrics: Option<PlaneMetrics>,
    _biplane: Biplane,
}

impl Caller for Call {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let request = Request::new(Subject::from_static(ECHO), body).with_timeout(TIMEOUT);
        let _counted = self.metrics.as_ref().map(PlaneMetrics::begin);
        Ok(self.connection.request(request).await?.body)
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let request = Request::new(Subject::from_static(ITEMS), ask.encode()).with_timeout(TIMEOUT);
        count(self.connection.open(request)?, ask).await
    }
}
