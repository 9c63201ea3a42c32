// SPDX-License-Identifier: Apache-2.0
//! hyper's HTTP/2 wants an executor for its streams. This one keeps them in the link's own task, so that tasks are
//! proportional to links and a million streams cost no spawn.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Hands futures to the [`LinkTasks`] that it came from.
#[derive(Clone, Default)]
pub(super) struct LinkExecutor(Arc<Handed>);

#[derive(Default)]
struct Handed {
    fresh: Mutex<Vec<Task>>,
    waker: AtomicWaker,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for LinkExecutor {
    fn execute(&self, future: F) {
        self.0.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(future));
        self.0.waker.wake();
    }
}

/// The futures of one link, polled by whoever drives the link.
#[derive(Default)]
pub(super) struct LinkTasks {
    executor: LinkExecutor,
    running: FuturesUnordered<Task>,
}

impl LinkTasks {
    /// The executor to give to hyper.
    pub(super) fn executor(&self) -> LinkExecutor {
        self.executor.clone()
    }

    /// Polls `link` and its tasks together until `link` is done.
    pub(super) async fn drive<L: Future>(&mut self, link: L) -> L::Output {
        let mut link = pin!(link);
        poll_fn(|cx| {
            // The link last: what its streams have just said then leaves in this turn.
            self.poll_tasks(cx);
            let done = link.as_mut().poll(cx);
            if done.is_pending() && self.adopt() {
                self.poll_tasks(cx);
            }
            done
        })
        .await
    }

    /// Polls the tasks until none is left.
    pub(super) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.poll_tasks(cx);
            if self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn poll_tasks(&mut self, cx: &mut Context<'_>) {
        self.executor.0.waker.register(cx.waker());
        loop {
            self.adopt();
            match Pin::new(&mut self.running).poll_next(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending if self.adopt() => {}
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    fn adopt(&mut self) -> bool {
        let fresh = std::mem::take(&mut *self.executor.0.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        let any = !fresh.is_empty();
        self.running.extend(fresh);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::Executor;

    #[tokio::test]
    async fn tasks_run_in_the_task_of_the_link() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut tasks = LinkTasks::default();
        let executor = tasks.executor();
        let link = async move {
            let inner = executor.clone();
            executor.execute(async move {
                let id = tokio::task::try_id();
                inner.execute(async move { send.send(id).unwrap() });
            });
            receive.await.unwrap()
        };
        let (inside, outside) =
            tokio::spawn(async move { (tasks.drive(link).await, tokio::task::try_id()) }).await.unwrap();
        assert_eq!(inside, outside);
    }
}
