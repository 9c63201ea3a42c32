// SPDX-License-Identifier: Apache-2.0
//! Who waits for which reply on the link's one inbox subscription.
//!
//! async-nats has request and reply of its own, but it keeps an entry for every request that is never answered, and lets a
//! request that was in flight when the link broke run into its timeout. Here a waiter that is dropped is forgotten, and a
//! broken link fails its waiters at once.

use std::collections::HashMap;
use std::sync::Arc;

use biplane::{Error, Result};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The replies that are waited for.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    next: u64,
    /// How often the link broke. Its n-th socket is lost with the n-th break.
    breaks: u64,
    closed: bool,
}

struct Waiting {
    /// Which socket of the link, counted from 1, the request was written to.
    socket: u64,
    reply: oneshot::Sender<async_nats::Message>,
}

impl Inbox {
    /// Waits for a reply on the link's `socket`-th socket; `None` once the link is gone for good.
    pub(crate) fn expect(self: &Arc<Self>, socket: u64) -> Option<Waiter> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let (sender, reply) = oneshot::channel();
        let token = state.next;
        state.next += 1;
        state.waiting.insert(token, Waiting { socket, reply: sender });
        Some(Waiter { inbox: self.clone(), token, reply })
    }

    /// Hands a reply to who waits for it; a late one is dropped.
    pub(crate) fn deliver(&self, message: async_nats::Message) {
        let token = message.subject.rsplit('.').next().and_then(|token| u64::from_str_radix(token, 16).ok());
        let waiting = token.and_then(|token| self.state().waiting.remove(&token));
        if let Some(waiting) = waiting {
            // Fails only if the waiter left in this moment.
            let _ = waiting.reply.send(message);
        }
    }

    /// The link broke: replies to what was written to its sockets so far will not come.
    pub(crate) fn broke(&self) {
        let mut state = self.state();
        state.breaks += 1;
        let breaks = state.breaks;
        state.waiting.retain(|_, waiting| waiting.socket > breaks);
    }

    /// The link is gone for good.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
    }

    /// Whether the link is gone for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// One awaited reply. Dropping it forgets it.
pub(crate) struct Waiter {
    inbox: Arc<Inbox>,
    token: u64,
    reply: oneshot::Receiver<async_nats::Message>,
}

impl Waiter {
    /// The reply's subject on the inbox whose subjects start with `prefix`.
    pub(crate) fn subject(&self, prefix: &str) -> String {
        format!("{prefix}.{:x}", self.token)
    }

    /// The reply; `Closed` when the link broke first. Cancel-safe.
    pub(crate) async fn reply(&mut self) -> Result<async_nats::Message> {
        (&mut self.reply).await.map_err(|_| {
            Error::closed("the connection to the NATS server broke before the reply came")
                .with_hint("the request may or may not have been executed")
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.inbox.state().waiting.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use async_nats::Message;

    use super::*;

    fn message(subject: String) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: "x".into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[tokio::test]
    async fn each_reply_finds_its_waiter() {
        let inbox = Arc::new(Inbox::default());
        let mut waiters: Vec<_> = (0..20).map(|_| inbox.expect(1).unwrap()).collect();
        for waiter in waiters.iter().rev() {
            inbox.deliver(message(waiter.subject("_INBOX.a")));
        }
        for waiter in &mut waiters {
            let subject = waiter.subject("_INBOX.a");
            assert_eq!(waiter.reply().await.unwrap().subject.as_str(), subject);
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_of_those_who_left() {
        let inbox = Arc::new(Inbox::default());
        let waiter = inbox.expect(1).unwrap();
        let late = message(waiter.subject("_INBOX.a"));
        drop(waiter);
        inbox.deliver(late);
        inbox.deliver(message("_INBOX.a.nonsense".to_owned()));
        assert!(inbox.state().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_break_fails_what_was_written_before_it_and_nothing_else() {
        let inbox = Arc::new(Inbox::default());
        let mut before = inbox.expect(1).unwrap();
        // The link has reconnected before its break is told of.
        let mut after = inbox.expect(2).unwrap();
        inbox.broke();
        assert_eq!(before.reply().await.unwrap_err().kind(), biplane::ErrorKind::Closed);
        inbox.deliver(message(after.subject("_INBOX.a")));
        assert!(after.reply().await.is_ok());
        inbox.close();
        assert!(inbox.expect(2).is_none());
    }
}
