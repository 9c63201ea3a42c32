// SPDX-License-Identifier: Apache-2.0
//! News for one listener. It says only that something changed, so the same news twice is one: a listener that is slow loses
//! nothing, and what waits for it is bounded by what it subscribed to.

use std::collections::VecDeque;

use biplane::{Message, Subject};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::era::filter::{Filter, List};

/// News of resources below the subscribed ones are not bounded by the subscription.
const MOST: usize = 4096;

/// Whether `uri` names a part of `of`, not merely something that is spelled like one.
fn is_within(uri: &str, of: &str) -> bool {
    let rest = uri.strip_prefix(of);
    rest.is_some_and(|rest| of.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

pub(super) struct Inbox {
    filter: Filter,
    queue: Mutex<VecDeque<News>>,
    ready: Notify,
}

struct News {
    subject: Subject,
    uri: Option<String>,
    message: Message,
}

impl Inbox {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, queue: Mutex::default(), ready: Notify::new() }
    }

    pub(super) fn wants_list(&self, list: List) -> bool {
        self.filter.lists.contains(&list)
    }

    /// A server may tell of a part of what was subscribed to.
    pub(super) fn wants_resource(&self, uri: &str) -> bool {
        self.filter.uris.contains(uri) || self.filter.uris.iter().any(|of| is_within(uri, of))
    }

    pub(super) fn put(&self, subject: Subject, uri: Option<String>, message: Message) {
        let mut queue = self.lock();
        match queue.iter_mut().find(|news| news.subject == subject && news.uri == uri) {
            Some(news) => news.message = message,
            None => {
                if queue.len() == MOST {
                    queue.pop_front();
                }
                queue.push_back(News { subject, uri, message });
            }
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Cancel-safe.
    pub(super) async fn next(&self) -> (Subject, Message) {
        loop {
            let news = self.lock().pop_front();
            if let Some(news) = news {
                return (news.subject, news.message);
            }
            self.ready.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<News>> {
        self.queue.lock()
    }
}
