// SPDX-License-Identifier: Apache-2.0
//! A link gives a result to its call and what was said before it to its receiver: two ways, of which either may be the
//! faster. Before a call ends, it lets the receiver say that it has taken all that had come.

use tokio::sync::watch;

pub(super) struct Settling {
    asked: watch::Sender<u64>,
    done: watch::Sender<u64>,
}

impl Settling {
    pub(super) fn new() -> Self {
        Self { asked: watch::Sender::new(0), done: watch::Sender::new(0) }
    }

    /// For the call: waits until the receiver has taken what it could take by now, or is no more.
    pub(super) async fn settle(&self) {
        let mut mine = 0;
        self.asked.send_modify(|count| {
            *count += 1;
            mine = *count;
        });
        drop(self.done.subscribe().wait_for(|done| *done >= mine).await);
    }

    /// For the receiver: waits until calls ask. What had come before they asked is there to be received when this is
    /// ready, and only when there is no more of it they are to be told. Cancel-safe.
    pub(super) async fn asked(&self) -> u64 {
        let (mut asked, confirmed) = (self.asked.subscribe(), *self.done.borrow());
        // The sender lives as long as `self`.
        let ready = asked.wait_for(|asked| *asked > confirmed).await.map(|asked| *asked);
        ready.unwrap_or(confirmed)
    }

    /// For the receiver: tells the calls that asked, up to this one.
    pub(super) fn confirm(&self, asked: u64) {
        self.done.send_replace(asked);
    }

    /// For the receiver: nothing will be taken any more.
    pub(super) fn end(&self) {
        self.done.send_replace(u64::MAX);
    }
}
