// SPDX-License-Identifier: Apache-2.0
//! The pool of links: the only one in the tree, under every transport that keeps links.
//!
//! A [`Pool`] keeps, per [`PoolKey`], the links that a transport dialled, and hands out [`Lease`]s on them. A link is
//! shared by up to `leases_per_link` leases: the least loaded live one is taken, another is dialled only when every one is
//! full, at most `max_per_target` of them; beyond that a checkout waits in line. One dial serves all who wait for it.
//!
//! - `core` is the state machine of one target, without tokio or a clock;
//! - `slot` puts it behind a lock and carries out what it asks for;
//! - `dial` is the task of one dial, `upkeep` the pool's one standing task.
//!
//! A message costs one uncontended lock on the way out and one on the way back, and no allocation, if its sender keeps a
//! [`PoolTarget`] instead of asking by key.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::PoolConfig;
use crate::error::{Error, Result};
use crate::message::SessionId;
use crate::target::TransportId;
use crate::telemetry::PoolMetrics;

mod core;
mod dial;
mod lease;
mod shared;
mod slot;
#[cfg(test)]
mod tests;
mod upkeep;

pub use self::lease::Lease;
use self::shared::Shared;
use self::slot::Slot;

/// The target under which everything about pools is logged.
pub(crate) const LOG: &str = "biplane::tcp::connection_pool";

/// What a pool keeps: one socket or pipe, with whatever drives it.
///
/// The queries are called under the pool's lock: they read an atomic or a short lock of their own, and never call the
/// pool. In turn, **no lease is dropped under a lock that they take**.
pub trait Link: Send + Sync + 'static {
    /// Whether the link may be handed out: false once it is dead, draining (GOAWAY) or poisoned, and then for ever.
    fn is_usable(&self) -> bool;

    /// Why the link is not usable, where it knows: that is what the one who dialled it is told.
    fn refusal(&self) -> Option<Error> {
        None
    }

    /// Whether one more stream fits now: stream limit, send window. A fresh link that does not know its limits yet says yes.
    fn has_room(&self) -> bool;

    /// Whether it is usable and has room: asked for every lease, so that a link may answer both under one lock.
    fn takes_lease(&self) -> bool {
        self.is_usable() && self.has_room()
    }

    /// Leases at once on this link, where only its handshake tells. What the first link of a target says holds for the
    /// target, as long as it has links.
    fn capacity(&self) -> Option<usize> {
        None
    }

    /// Keepalive of an idle link. Returns at once; if no answer comes, the link becomes unusable.
    fn ping(&self) {}

    /// Closes in order. Returns at once. The pool calls it once, when it lets go of the link, which then has no lease.
    fn close(&self);
}

/// What makes two links interchangeable. The full value, never a hash of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    /// Who dials.
    pub transport: TransportId,
    /// Where to, in the transport's own form; `host:port` for most. Without credentials: it is logged.
    pub authority: String,
    /// The identity of the TLS settings, or what else makes links to one place differ; empty for plain clear text.
    pub security: String,
    /// The session that a link must stay with, where the transport's sharing is per session.
    pub affinity: Option<SessionId>,
}

/// How a pool behaves.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Limits and times.
    pub config: PoolConfig,
    /// Leases at once on one link; 1 makes links exclusive. 0 is read as 1.
    pub leases_per_link: usize,
    /// One dial, with handshake. A checkout without a deadline waits at most twice this: for the dial that was under way
    /// and for its own.
    pub connect_timeout: Duration,
    /// What to do when the pool is exhausted: an imperative clause that names the variable.
    pub exhausted_hint: &'static str,
}

/// Totals and gauges over all targets of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Links established since the pool was made.
    pub created: u64,
    /// Leases on a link that was not dialled for them.
    pub reused: u64,
    /// Links with a lease.
    pub active: usize,
    /// Links without one.
    pub idle: usize,
}

/// A dial.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Links by key. Cheap to clone; the last clone (or [`PoolTarget`]) to go closes the pool, while leases live on.
pub struct Pool<L: Link>(Arc<Shared<L>>);

impl<L: Link> Pool<L> {
    /// An empty pool. `metrics` is asked once per target, `connect` dials one link: it runs in a task of its own, under
    /// `connect_timeout`, and is dropped when the pool closes. It must not hold the pool.
    pub fn new(
        settings: PoolSettings,
        metrics: impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static,
        connect: impl Fn(PoolKey) -> BoxFuture<'static, Result<L>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared::new(settings, Box::new(metrics), Box::new(connect))))
    }

    /// Resolves `key` once, for a caller that leases again and again.
    pub fn target(&self, key: &PoolKey) -> PoolTarget<L> {
        PoolTarget(Arc::new(Resolved { slot: self.0.slot(key), shared: Arc::clone(&self.0) }))
    }

    /// A lease on a link to `key`: an existing one, or one that is dialled for it.
    ///
    /// Waits to `deadline`, or for twice the connect timeout without one. Must be awaited within a Tokio runtime.
    ///
    /// Cancel-safe: dropping the future gives its place in line, or its lease, to the next. A dial goes on, and its link
    /// waits for the next checkout.
    ///
    /// # Errors
    /// All are [`Retry::Safe`](crate::Retry::Safe) unless the dial said otherwise: nothing was sent.
    /// - `Overloaded` with `ConnectionLimit` if the limit left no link until the deadline;
    /// - `Timeout` if the deadline passed during the dial;
    /// - what the dial failed with;
    /// - `Closed` if the pool was closed.
    pub async fn checkout(&self, key: &PoolKey, deadline: Option<Instant>) -> Result<Lease<L>> {
        checkout(&self.0, &self.0.slot(key), deadline).await
    }

    /// A lease on an existing link with room, if there is one and nobody waits for it. Never waits, never dials.
    pub fn try_checkout(&self, key: &PoolKey) -> Option<Lease<L>> {
        self.0.find(key)?.try_checkout()
    }

    /// Closes idle links now and the others when their leases come back; ends dials; fails waiters and later checkouts
    /// with `Closed`. Closing twice is fine.
    pub fn close(&self) {
        self.0.close();
    }

    /// Totals and gauges.
    pub fn stats(&self) -> PoolStats {
        self.0.stats()
    }
}

impl<L: Link> Clone for Pool<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A [`Pool`] with the key resolved: spares the hashing per lease. Cheap to clone; keeps the pool open.
pub struct PoolTarget<L: Link>(Arc<Resolved<L>>);

struct Resolved<L: Link> {
    shared: Arc<Shared<L>>,
    slot: Arc<Slot<L>>,
}

impl<L: Link> PoolTarget<L> {
    /// As [`Pool::checkout`].
    pub async fn checkout(&self, deadline: Option<Instant>) -> Result<Lease<L>> {
        checkout(&self.0.shared, &self.0.slot, deadline).await
    }

    /// As [`Pool::try_checkout`].
    #[inline]
    pub fn try_checkout(&self) -> Option<Lease<L>> {
        self.0.slot.try_checkout()
    }
}

async fn checkout<L: Link>(
    shared: &Arc<Shared<L>>,
    slot: &Arc<Slot<L>>,
    deadline: Option<Instant>,
) -> Result<Lease<L>> {
    match slot.try_checkout() {
        Some(lease) => Ok(lease),
        None => slot.checkout(deadline, || upkeep::ensure(shared)).await,
    }
}

impl<L: Link> Clone for PoolTarget<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
