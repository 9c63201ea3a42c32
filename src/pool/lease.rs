// SPDX-License-Identifier: Apache-2.0
//! The right to use a link.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::core::Origin;
use super::slot::{Pooled, Slot};
use super::{LOG, Link};

/// One share of a link. Dropping it gives the share back; it outlives the pool, and the link is then closed with it.
///
/// Whoever may have left half a message on the link says [`discard`](Self::discard).
pub struct Lease<L: Link> {
    /// The one reference that a lease holds: the link's slot stays for as long.
    pooled: Arc<Pooled<L>>,
    index: usize,
    reused: bool,
    discarded: bool,
}

impl<L: Link> Lease<L> {
    #[inline(always)]
    pub(super) fn new(pooled: Arc<Pooled<L>>, index: usize, origin: Origin) -> Self {
        if tracing::enabled!(target: LOG, tracing::Level::TRACE) {
            log(pooled.slot(), origin);
        }
        Self { pooled, index, reused: origin == Origin::Reused, discarded: false }
    }

    /// Whether the link was there before somebody asked for this lease, so that it may have died unnoticed: what
    /// [`Retry::IfReused`](crate::Retry::IfReused) wants to know. False for all who waited for the link's own dial.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives the share back and lets nobody have the link again: it is closed once its other leases are back.
    pub fn discard(mut self) {
        self.discarded = true;
    }

    /// The link, for a stream that outlives the borrow. To hold it is not to hold the lease.
    pub fn link(&self) -> &Arc<L> {
        self.pooled.link()
    }
}

impl<L: Link> Deref for Lease<L> {
    type Target = L;

    fn deref(&self) -> &L {
        self.pooled.link()
    }
}

impl<L: Link> Drop for Lease<L> {
    #[inline]
    fn drop(&mut self) {
        self.pooled.slot().checkin(self.index, self.discarded);
    }
}

impl<L: Link> fmt::Debug for Lease<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, reused: {})", self.pooled.slot().name(), self.reused)
    }
}

/// Out of line: an event per lease, even when nobody listens, would be a good part of what a lease costs.
#[cold]
fn log<L: Link>(slot: &Slot<L>, origin: Origin) {
    tracing::trace!(target: LOG, key = %slot.name(), ?origin, "lease");
}
