// SPDX-License-Identifier: Apache-2.0
//! What a call by name has above a connection of the mux, a step at a time: each on a connection by itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::layer::{Guard, Trace};
use biplane::runtime::Builder;
use biplane::telemetry::PlaneMetrics;
use biplane::{
    Biplane, Connection, ConnectionInfo, Inbound, Message, PlaneType, Request, ResponseStream, Result, TransportId,
};

/// What is added to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: as `connect` gives it.
    Bare,
    /// One more connection behind a pointer, which only hands on.
    Boundary,
    /// The built-in hooks on requests: spans that nobody reads, and the checks of the guard.
    Hooks,
    /// A plane's metrics, counted at both ends.
    Metrics,
}

impl Step {
    /// As the tables call it.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Bare => "",
            Self::Boundary => "-boundary",
            Self::Hooks => "-hooks",
            Self::Metrics => "-metrics",
        }
    }

    pub(crate) fn build(self) -> Result<Biplane> {
        let builder: Builder = Biplane::builder();
        match self {
            Self::Bare | Self::Metrics => builder,
            Self::Boundary => builder.layer(|inner| -> Arc<dyn Connection> { Arc::new(Boundary(inner)) }),
            Self::Hooks => builder.layer(Trace::new()).layer(Guard::new()),
        }
        .build()
    }

    pub(crate) fn metrics(self, biplane: &Biplane) -> Option<PlaneMetrics> {
        (self == Self::Metrics).then(|| biplane.telemetry().plane(&TransportId::TCP, PlaneType::Request))
    }
}

#[derive(Debug)]
struct Boundary(Arc<dyn Connection>);

#[async_trait]
impl Connection for Boundary {
    fn info(&self) -> &ConnectionInfo {
        self.0.info()
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.0.open(request)
    }

    async fn request(&self, request: Request) -> Result<Message> {
        self.0.request(request).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.0.receive().await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.0.close(grace).await
    }
}
