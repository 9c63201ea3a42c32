// SPDX-License-Identifier: Apache-2.0
//! An answer that an async block gives: what it emits comes on the stream, what it returns is the item. It runs while the
//! stream is read, without a task of its own, and is dropped with the stream.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use biplane::{Event, Inbound, Message, ResponseStream, Result};
use futures_core::Stream;
use parking_lot::{Mutex, MutexGuard};

/// The answer that `body` gives.
pub(super) fn answer<Body>(body: impl FnOnce(Emitter) -> Body) -> ResponseStream
where
    Body: Future<Output = Result<Message>> + Send + 'static,
{
    let emitter = Emitter(Arc::new(Mutex::new(None)));
    let slot = emitter.0.clone();
    ResponseStream::from_events(Generated { body: Some(Box::pin(body(emitter))), slot, item: None })
}

/// An answer that is known already.
pub(super) fn answered(outcome: Result<Message>) -> ResponseStream {
    answer(|_| std::future::ready(outcome))
}

/// Where an answer's block puts what is not the item.
pub(super) struct Emitter(Arc<Mutex<Option<Event>>>);

impl Emitter {
    /// Waits until the reader has taken it. To be awaited by the answer's block itself, which its reader polls.
    pub(super) async fn send(&self, inbound: Inbound) {
        let mut event = Some(Event::Inbound(inbound));
        poll_fn(|_| {
            let mut slot = lock(&self.0);
            match (slot.is_some(), event.take()) {
                (true, waiting) => {
                    event = waiting;
                    Poll::Pending
                }
                (false, Some(fresh)) => {
                    *slot = Some(fresh);
                    Poll::Pending
                }
                (false, None) => Poll::Ready(()),
            }
        })
        .await;
    }
}

type Body = Pin<Box<dyn Future<Output = Result<Message>> + Send>>;

struct Generated {
    body: Option<Body>,
    slot: Arc<Mutex<Option<Event>>>,
    item: Option<Result<Event>>,
}

impl Stream for Generated {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(body) = &mut self.body
            && let Poll::Ready(outcome) = body.as_mut().poll(cx)
        {
            self.body = None;
            self.item = Some(outcome.map(Event::Item));
        }
        if let Some(event) = lock(&self.slot).take() {
            return Poll::Ready(Some(Ok(event)));
        }
        match (self.item.take(), &self.body) {
            (Some(item), _) => Poll::Ready(Some(item)),
            (None, None) => Poll::Ready(None),
            (None, Some(_)) => Poll::Pending,
        }
    }
}

fn lock(slot: &Mutex<Option<Event>>) -> MutexGuard<'_, Option<Event>> {
    slot.lock()
}

#[cfg(test)]
mod tests {
    use biplane::{Error, Subject};

    use super::*;

    fn note(text: &'static str) -> Inbound {
        Inbound::Notification(Subject::from_static(text), Message::default())
    }

    #[tokio::test]
    async fn what_is_emitted_comes_before_the_item_and_in_order() {
        let mut stream = answer(|emit| async move {
            emit.send(note("a")).await;
            tokio::task::yield_now().await;
            emit.send(note("b")).await;
            Ok(Message::new("c"))
        });
        let mut seen = Vec::new();
        while let Some(event) = stream.next_event().await {
            seen.push(match event.unwrap() {
                Event::Inbound(Inbound::Notification(subject, _)) => subject.to_string(),
                Event::Item(item) => item.text().unwrap().to_owned(),
                Event::Inbound(Inbound::Request(..)) => unreachable!(),
            });
        }
        assert_eq!(seen, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        let mut stream = answered(Err(Error::closed("x")));
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
    }
}
