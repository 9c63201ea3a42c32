// SPDX-License-Identifier: Apache-2.0
//! The links that one owner has to close some day.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;

use super::link::MuxLink;

/// Weak: a link lives as long as its driver, not as long as this list.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownLinks(Arc<Mutex<Vec<Weak<MuxLink>>>>);

impl KnownLinks {
    pub(super) fn add(&self, link: &Arc<MuxLink>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|link| link.strong_count() > 0);
        known.push(Arc::downgrade(link));
    }

    /// Tells all of them at once to take no new streams, then waits for each; what is left at `until` is cut.
    pub(super) async fn close(&self, until: Instant) {
        let known = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let links: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        links.iter().for_each(|link| link.close());
        for link in links {
            link.close_within(until.saturating_duration_since(Instant::now())).await;
        }
    }
}
