// SPDX-License-Identifier: Apache-2.0
//! What a connection has open, so that it can be closed with grace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::answer::Answer;
use crate::error::{Error, Result, Retry};

/// The answers of one connection.
#[derive(Default)]
pub(super) struct Session {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    open: Slab<Weak<Answer>>,
}

impl Session {
    /// Makes `answer` part of the session until it is over.
    pub(super) fn join(self: &Arc<Self>, answer: &Arc<Answer>) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::closed("the connection was closed").with_retry(Retry::Safe));
        }
        let key = state.open.insert(Arc::downgrade(answer));
        drop(state);
        answer.belong(Membership { session: self.clone(), key });
        Ok(())
    }

    /// Refuses new answers, waits until those that are open are over, at most `grace`, and ends the rest.
    pub(super) async fn close(&self, grace: Duration) {
        self.state().closed = true;
        self.changed.notify_waiters();
        let drained = async {
            loop {
                let changed = self.changed.notified();
                if self.state().open.is_empty() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
            let open: Vec<Arc<Answer>> = self.state().open.iter().filter_map(|(_, answer)| answer.upgrade()).collect();
            open.iter().for_each(|answer| answer.abort(Error::closed("the connection was closed in mid-answer")));
        }
    }

    /// Waits until the session is closed.
    pub(super) async fn closed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().closed {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer's place in its session. Drop leaves it.
pub(super) struct Membership {
    session: Arc<Session>,
    key: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.session.state().open.try_remove(self.key);
        self.session.changed.notify_waiters();
    }
}
