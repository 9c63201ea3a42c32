// SPDX-License-Identifier: Apache-2.0
//! Whether this process wants requests, and what it does with those that it has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

/// The stages of a process's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not everything is bound and published yet.
    Starting,
    /// Takes requests.
    Ready,
    /// Finishes what it has and refuses more.
    Draining,
}

/// The health of one runtime: a shared handle, cheap to clone, that the runtime updates and the server shows.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    instance_id: u64,
    status: AtomicU8,
    next_key: AtomicU64,
    endpoints: Mutex<BTreeMap<u64, Endpoint>>,
}

#[derive(Clone)]
struct Endpoint {
    name: Arc<str>,
    in_flight: Arc<dyn Fn() -> usize + Send + Sync>,
}

impl Health {
    /// A process that is [`Status::Starting`].
    pub fn new(instance_id: u64) -> Self {
        Self(Arc::new(Inner {
            instance_id,
            status: AtomicU8::new(Status::Starting as u8),
            next_key: AtomicU64::new(0),
            endpoints: Mutex::default(),
        }))
    }

    /// The stage.
    pub fn status(&self) -> Status {
        match self.0.status.load(Ordering::Acquire) {
            0 => Status::Starting,
            1 => Status::Ready,
            _ => Status::Draining,
        }
    }

    /// Moves on to `status`. Never goes back, so that a start that ends late does not undo a shutdown.
    pub fn advance(&self, status: Status) {
        self.0.status.fetch_max(status as u8, Ordering::AcqRel);
    }

    /// Shows an endpoint for as long as the guard lives. `in_flight` says how many requests it has at work; it is called for
    /// each look at the page and must not block.
    pub fn add_endpoint(
        &self,
        name: impl Into<Arc<str>>,
        in_flight: impl Fn() -> usize + Send + Sync + 'static,
    ) -> EndpointHealth {
        let key = self.0.next_key.fetch_add(1, Ordering::Relaxed);
        self.0.endpoints().insert(key, Endpoint { name: name.into(), in_flight: Arc::new(in_flight) });
        EndpointHealth { health: self.0.clone(), key }
    }

    /// All of it, at this moment.
    pub fn report(&self) -> HealthReport {
        // The counts are the runtime's code: not called under the lock.
        let endpoints: Vec<_> = self.0.endpoints().values().cloned().collect();
        HealthReport {
            status: self.status(),
            instance_id: self.0.instance_id,
            endpoints: endpoints
                .iter()
                .map(|endpoint| ServedEndpoint { name: endpoint.name.to_string(), in_flight: (endpoint.in_flight)() })
                .collect(),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Health({:?}, {} endpoints)", self.status(), self.0.endpoints().len())
    }
}

impl Inner {
    fn endpoints(&self) -> MutexGuard<'_, BTreeMap<u64, Endpoint>> {
        self.endpoints.lock()
    }
}

/// An endpoint that shows. Drop takes it away.
#[must_use = "dropping it takes the endpoint off the page"]
pub struct EndpointHealth {
    health: Arc<Inner>,
    key: u64,
}

impl Drop for EndpointHealth {
    fn drop(&mut self) {
        let gone = self.health.endpoints().remove(&self.key);
        drop(gone);
    }
}

impl fmt::Debug for EndpointHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointHealth")
    }
}

/// What `/health` says, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// The stage.
    pub status: Status,
    /// As in the discovery record.
    pub instance_id: u64,
    /// What is served, in the order of registration.
    pub endpoints: Vec<ServedEndpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServedEndpoint {
    /// Its name.
    pub name: String,
    /// Requests at work.
    pub in_flight: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_goes_one_way() {
        let health = Health::new(7);
        assert_eq!(health.status(), Status::Starting);
        for (to, is) in [
            (Status::Ready, Status::Ready),
            (Status::Starting, Status::Ready),
            (Status::Draining, Status::Draining),
            (Status::Ready, Status::Draining),
        ] {
            health.clone().advance(to);
            assert_eq!(health.status(), is);
        }
    }

    #[test]
    fn endpoints_show_while_their_guard_lives() {
        let health = Health::new(7);
        let words = health.add_endpoint("words", || 3);
        let twice = health.add_endpoint("words", || 0);
        assert_eq!(health.report().endpoints.len(), 2);
        drop(twice);
        let shown = [ServedEndpoint { name: "words".into(), in_flight: 3 }];
        assert_eq!(health.report().endpoints, shown);
        drop(words);
        assert!(health.report().endpoints.is_empty());
    }
}
