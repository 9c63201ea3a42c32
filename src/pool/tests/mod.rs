// SPDX-License-Identifier: Apache-2.0
//! Links that do as they are told, and the tests of the pool on them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{BoxFuture, Link, Pool, PoolKey, PoolSettings};
use crate::config::PoolConfig;
use crate::error::{Error, Result};
use crate::target::TransportId;
use crate::telemetry::PoolMetrics;

/// By the name that CI filters on.
mod connection_pool {
    mod cancel;
    mod checkout;
    mod model;
    mod races;
    mod upkeep;
}

/// A link whose fate the test decides.
pub(super) struct TestLink {
    pub(super) id: usize,
    pub(super) usable: AtomicBool,
    pub(super) room: AtomicBool,
    pub(super) pings: AtomicUsize,
    pub(super) closes: AtomicUsize,
    /// What its handshake told.
    capacity: Option<usize>,
    peer: Option<Arc<Peer>>,
}

impl TestLink {
    pub(super) fn new(id: usize) -> Self {
        Self {
            id,
            usable: AtomicBool::new(true),
            room: AtomicBool::new(true),
            capacity: None,
            pings: AtomicUsize::new(0),
            closes: AtomicUsize::new(0),
            peer: None,
        }
    }

    pub(super) fn die(&self) {
        self.usable.store(false, SeqCst);
    }
}

impl Link for TestLink {
    fn is_usable(&self) -> bool {
        self.usable.load(SeqCst)
    }

    fn has_room(&self) -> bool {
        self.room.load(SeqCst)
    }

    fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    fn ping(&self) {
        self.pings.fetch_add(1, SeqCst);
    }

    fn close(&self) {
        self.closes.fetch_add(1, SeqCst);
    }
}

impl Drop for TestLink {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            peer.open.fetch_sub(1, SeqCst);
        }
    }
}

/// What the links lead to: counts sockets and decides how dials go.
pub(super) struct Peer {
    /// Dials that began.
    pub(super) dials: AtomicUsize,
    /// Dials under way, and links that exist.
    pub(super) open: AtomicUsize,
    /// The next dials fail, as many as this says.
    pub(super) failures: AtomicUsize,
    /// One permit is one dial that may end.
    pub(super) gate: Semaphore,
    /// What handshakes tell.
    pub(super) capacity: Option<usize>,
}

impl Peer {
    /// Dials end as soon as they began.
    pub(super) fn eager() -> Arc<Self> {
        Self::with_permits(1 << 20)
    }

    /// Dials wait for permits at the gate.
    pub(super) fn gated() -> Arc<Self> {
        Self::with_permits(0)
    }

    /// As [`Self::eager`], and the handshakes tell how many leases a link takes.
    pub(super) fn with_capacity(capacity: usize) -> Arc<Self> {
        Arc::new(Self::new(Semaphore::new(1 << 20), Some(capacity)))
    }

    fn new(gate: Semaphore, capacity: Option<usize>) -> Self {
        Self { dials: AtomicUsize::new(0), open: AtomicUsize::new(0), failures: AtomicUsize::new(0), gate, capacity }
    }

    fn with_permits(permits: usize) -> Arc<Self> {
        let gate = Semaphore::new(permits);
        Arc::new(Self::new(gate, None))
    }

    pub(super) fn dials(&self) -> usize {
        self.dials.load(SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    pub(super) fn pool(self: &Arc<Self>, settings: PoolSettings) -> Pool<TestLink> {
        self.counted_pool(settings, |_| PoolMetrics::default())
    }

    pub(super) fn counted_pool(
        self: &Arc<Self>,
        settings: PoolSettings,
        metrics: impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static,
    ) -> Pool<TestLink> {
        let peer = Arc::clone(self);
        Pool::new(settings, metrics, move |_| Arc::clone(&peer).dial())
    }

    fn dial(self: Arc<Self>) -> BoxFuture<'static, Result<TestLink>> {
        Box::pin(async move {
            let id = self.dials.fetch_add(1, SeqCst);
            self.open.fetch_add(1, SeqCst);
            // Counts the socket from the first moment, whether the dial ends well, badly or not at all.
            let mut link = TestLink::new(id);
            link.peer = Some(Arc::clone(&self));
            link.capacity = self.capacity;
            self.gate.acquire().await.map_err(|_| Error::connect("the gate is gone"))?.forget();
            let failing = self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if failing { Err(Error::connect(format!("dial {id} was refused"))) } else { Ok(link) }
        })
    }
}

pub(super) fn key(authority: &str) -> PoolKey {
    PoolKey { transport: TransportId::TCP, authority: authority.to_owned(), security: String::new(), affinity: None }
}

/// `links` links of `leases` leases, nothing kept warm, and times that no test comes near by accident.
pub(super) fn settings(links: usize, leases: usize) -> PoolSettings {
    PoolSettings {
        config: PoolConfig {
            enabled: true,
            max_per_target: links,
            min_idle: 0,
            idle_timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(3600),
            keepalive: Duration::from_secs(60),
        },
        leases_per_link: leases,
        connect_timeout: Duration::from_secs(5),
        exhausted_hint: "raise DYN_TCP_POOL_MAX_PER_TARGET",
    }
}

/// Polls once, with the waker of the test's own task.
pub(super) async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await
}

/// Lets every task of the current-thread runtime run until it waits.
pub(super) async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}
