// SPDX-License-Identifier: Apache-2.0
//! The links that one owner has to close some day.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::link::MuxLink;

/// Fewer entries than this are not worth a look.
const LEAST_SWEPT: usize = 32;

/// Weak: a link lives as long as its driver, not as long as this list. `None` once closed.
#[derive(Clone, Debug)]
pub(super) struct KnownLinks(Arc<Mutex<Option<Entered>>>);

#[derive(Debug, Default)]
struct Entered {
    links: Vec<Weak<MuxLink>>,
    /// As many links as make it worth to look for dead ones: twice those that were alive the last time. So a link costs the
    /// same however many there are, and at most half of the entries are of dead ones.
    sweep_at: usize,
}

impl Default for KnownLinks {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Entered::default()))))
    }
}

impl KnownLinks {
    fn known(&self) -> MutexGuard<'_, Option<Entered>> {
        self.0.lock()
    }

    /// Enters a link. One that comes after [`Self::close`], because its handshake was under way, is closed at once, and the
    /// answer is false.
    pub(super) fn add(&self, link: &Arc<MuxLink>) -> bool {
        if let Some(known) = &mut *self.known() {
            if known.links.len() >= known.sweep_at {
                known.links.retain(|link| link.strong_count() > 0);
                known.sweep_at = (known.links.len() * 2).max(LEAST_SWEPT);
            }
            known.links.push(Arc::downgrade(link));
            return true;
        }
        link.close();
        false
    }

    /// Whether [`Self::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.known().is_none()
    }

    /// Tells all of them at once to take no new streams, then waits for each; what is left at `until` is cut.
    pub(super) async fn close(&self, until: Instant) {
        let known = self.known().take().unwrap_or_default();
        let links: Vec<_> = known.links.iter().filter_map(Weak::upgrade).collect();
        links.iter().for_each(|link| link.close());
        for link in links {
            link.close_within(until.saturating_duration_since(Instant::now())).await;
        }
    }
}
