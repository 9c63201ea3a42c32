// SPDX-License-Identifier: Apache-2.0
//! Who serves what, and where: [`Instance`] records, published under a lease and watched by callers.

pub mod balance;
pub mod file;
pub mod mem;
mod record;
#[cfg(test)]
mod samples;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::capability::TransportCapabilities;
use crate::error::Result;
use crate::target::{ServiceName, TransportAddress, TransportId};

pub use self::record::MAX_SIZE as MAX_RECORD_SIZE;

/// One process that serves one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it serves.
    pub name: ServiceName,
    /// Unique among the instances of all services.
    pub instance_id: u64,
    /// 0 to 100: the share of requests relative to the other instances.
    pub weight: u8,
    /// How it is reached, in the responder's order of preference.
    pub transport: TransportType,
}

/// How an instance is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportType {
    /// A NATS subject; answers over TCP.
    NatsTcp(String),
    /// An HTTP endpoint; answers over TCP.
    HttpTcp(String),
    /// Any request and response transports.
    Unified {
        /// Where requests go.
        request_transports: Vec<TransportEndpoint>,
        /// How answers may come.
        response_transports: Vec<TransportEndpoint>,
    },
}

/// One transport of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportEndpoint {
    /// Transport and address.
    pub address: TransportAddress,
    /// What it claims.
    pub capabilities: TransportCapabilities,
    /// What else the transport wants known.
    pub metadata: HashMap<String, String>,
}

impl Instance {
    /// The request transports, in the responder's order; older shapes are read as the transports that they mean.
    pub fn request_endpoints(&self) -> Vec<TransportEndpoint> {
        let plain = |address| TransportEndpoint {
            address,
            capabilities: TransportCapabilities::default(),
            metadata: HashMap::new(),
        };
        match &self.transport {
            TransportType::NatsTcp(subject) => vec![plain(TransportAddress::nats(subject))],
            TransportType::HttpTcp(url) => vec![plain(TransportAddress::http(url))],
            TransportType::Unified { request_transports, .. } => request_transports.clone(),
        }
    }

    /// The ids of the response transports that the responder can open; empty if the record does not say.
    pub fn response_transports(&self) -> Vec<TransportId> {
        match &self.transport {
            TransportType::NatsTcp(_) | TransportType::HttpTcp(_) => vec![TransportId::TCP],
            TransportType::Unified { response_transports, .. } => {
                response_transports.iter().map(|endpoint| endpoint.address.transport.clone()).collect()
            }
        }
    }
}

/// The instances of one service as they come and go. Reading it takes no I/O.
pub type Watch = watch::Receiver<Arc<[Instance]>>;

/// Publishes and finds instances.
#[async_trait]
pub trait Discovery: Send + Sync + 'static {
    /// Publishes `instance` until the guard is dropped or the process dies. A second record of the same name and instance
    /// id is refused while the first one lives.
    async fn put(&self, instance: Instance) -> Result<LeaseGuard>;

    /// The instances of one service. The first value is there when this returns.
    async fn watch(&self, name: &ServiceName) -> Result<Watch>;

    /// The instances of one service as they are now, for a caller that found none it could use: a [`Watch`] may lag behind
    /// by as long as the backend needs to notice. May do I/O.
    async fn refresh(&self, name: &ServiceName) -> Result<Arc<[Instance]>> {
        Ok(self.list().await?.into_iter().filter(|instance| instance.name == *name).collect())
    }

    /// All instances of all services.
    async fn list(&self) -> Result<Vec<Instance>>;

    /// Changes the weight (0 to 100) of a published instance, whoever published it. Says whether there is such an instance.
    async fn set_weight(&self, name: &ServiceName, instance_id: u64, weight: u8) -> Result<bool>;
}

/// A published record. Drop withdraws it.
pub struct LeaseGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl LeaseGuard {
    /// `withdraw` runs on drop.
    pub fn new(withdraw: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(withdraw)))
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if let Some(withdraw) = self.0.take() {
            withdraw();
        }
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseGuard")
    }
}
