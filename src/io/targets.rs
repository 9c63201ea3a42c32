// SPDX-License-Identifier: Apache-2.0
//! The targets of a pool that were asked for last: an address is looked up in the pool once, and not for every request.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::link::MuxLink;
use crate::pool::{Pool, PoolKey, PoolTarget};
use crate::target::TransportId;

/// Targets that are remembered. A few addresses are compared faster than one is hashed, and the pool prunes none that is
/// remembered.
const REMEMBERED: usize = 8;

/// A pool's targets by address.
pub(super) struct Targets {
    pool: Pool<Arc<MuxLink>>,
    transport: TransportId,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    targets: Vec<(Box<str>, PoolTarget<Arc<MuxLink>>)>,
    /// Which one goes next to make room.
    next: usize,
}

impl Targets {
    pub(super) fn new(pool: Pool<Arc<MuxLink>>, transport: TransportId) -> Self {
        Self { pool, transport, recent: Mutex::default() }
    }

    pub(super) fn pool(&self) -> &Pool<Arc<MuxLink>> {
        &self.pool
    }

    pub(super) fn transport(&self) -> &TransportId {
        &self.transport
    }

    /// The target at `address`.
    pub(super) fn of(&self, address: &str) -> PoolTarget<Arc<MuxLink>> {
        if let Some((_, target)) = self.recent().targets.iter().find(|(known, _)| **known == *address) {
            return target.clone();
        }
        let key = PoolKey {
            transport: self.transport.clone(),
            authority: address.to_owned(),
            security: String::new(),
            affinity: None,
        };
        let target = self.pool.target(&key);
        let gone = self.recent().remember((address.into(), target.clone()));
        // Outside the lock: it may be the last that holds on to links.
        drop(gone);
        target
    }

    /// Closes the pool and forgets its targets.
    pub(super) fn close(&self) {
        self.pool.close();
        let gone = std::mem::take(&mut self.recent().targets);
        drop(gone);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock()
    }
}

impl Recent {
    fn remember(
        &mut self,
        fresh: (Box<str>, PoolTarget<Arc<MuxLink>>),
    ) -> Option<(Box<str>, PoolTarget<Arc<MuxLink>>)> {
        if self.targets.len() < REMEMBERED {
            self.targets.push(fresh);
            return None;
        }
        let at = self.next;
        self.next = (at + 1) % REMEMBERED;
        self.targets.get_mut(at).map(|place| std::mem::replace(place, fresh))
    }
}
