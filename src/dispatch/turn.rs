// SPDX-License-Identifier: Apache-2.0
//! Requests that came together.

use std::sync::Arc;
use std::time::Instant;

use super::Dispatch;
use crate::message::Subject;
use crate::stream::Supervisor;
use crate::telemetry::PlaneMetrics;

/// Requests that one read of a link brought. The answers of those whose handlers are ready at once leave together as well,
/// so two looks at the clock serve them all: looking is a tenth of what such a request costs. Each of them is taken to
/// last from the read to the moment before the write, which is how long its answer takes to get on its way.
pub struct Turn {
    arrived: Instant,
    /// Who took the last request. The next one is mostly for the same.
    taker: Option<(Subject, Arc<Dispatch>)>,
    /// Who watched over the last answer. The next one goes to the same link.
    pub(super) supervisor: Option<Supervisor>,
    /// How many were answered, and for whom they count. All that a link brings counts for one transport.
    answered: Option<(PlaneMetrics, u64)>,
}

impl Turn {
    /// Requests that arrived at `arrived`.
    pub fn new(arrived: Instant) -> Self {
        Self { arrived, taker: None, supervisor: None, answered: None }
    }

    /// Who takes requests for `subject`: `find` looks it up, unless the one before was for the same. To be given back by
    /// [`put_taker`](Self::put_taker).
    pub(crate) fn taker(
        &mut self,
        subject: &Subject,
        find: impl FnOnce() -> Option<Arc<Dispatch>>,
    ) -> Option<(Subject, Arc<Dispatch>)> {
        match self.taker.take() {
            Some(taker) if taker.0 == *subject => Some(taker),
            _ => find().map(|dispatch| (subject.clone(), dispatch)),
        }
    }

    /// Keeps `taker` for the next request of this turn, and no longer: endpoints come and go.
    pub(crate) fn put_taker(&mut self, taker: (Subject, Arc<Dispatch>)) {
        self.taker = Some(taker);
    }

    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// A request was answered in place.
    #[inline]
    pub(super) fn answered(&mut self, metrics: &PlaneMetrics) {
        match &mut self.answered {
            Some((of, count)) if of.is(metrics) => *count += 1,
            _ => {
                self.count();
                self.answered = Some((metrics.clone(), 1));
            }
        }
    }

    fn count(&mut self) {
        if let Some((metrics, count)) = self.answered.take() {
            metrics.ended_together(count, self.arrived.elapsed());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.count();
    }
}
