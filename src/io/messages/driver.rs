// SPDX-License-Identifier: Apache-2.0
//! The one task of a link over messages: writes what waits, takes what comes, ends what is late.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::out::Batch;
use super::peer::Peer;
use super::{MessageWire, Received};
use crate::error::{Error, Result};
use crate::proto::jsonrpc::PARSE_ERROR;

/// Messages that are taken before the driver lets others have the thread.
const MAX_AT_ONCE: usize = 64;

/// Deadlines are kept to this, so that one timer serves them all.
const TICK: Duration = Duration::from_millis(20);

/// For what is still to be written when a link ends.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The same when nobody waits for it any more.
const CUT_WITHIN: Duration = Duration::from_millis(250);

pub(super) async fn drive(wire: impl MessageWire, peer: Arc<Peer>) {
    let mut driver = Driver { wire, peer, batch: Batch::default(), taken: 0, is_flushed: true, has_waited: false };
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let outcome = poll_fn(|cx| {
        driver.peer.register_driver(cx);
        poll_timer(&driver.peer, &mut timer, cx);
        driver.poll_link(cx)
    })
    .await;
    drop(timer);
    if outcome.is_ok() {
        driver.close().await;
    }
    let Driver { wire, peer, .. } = driver;
    drop(wire);
    peer.end(outcome.err().unwrap_or_else(|| Error::closed("the connection was closed")));
}

struct Driver<W> {
    wire: W,
    peer: Arc<Peer>,
    /// Fetched, and not yet taken by the wire.
    batch: Batch,
    /// Bytes that the wire took since the last fetch.
    taken: usize,
    is_flushed: bool,
    /// For what others have to say too.
    has_waited: bool,
}

impl<W: MessageWire> Driver<W> {
    /// Ready when the link is over: in order, or with the reason.
    fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // First, since a wire may look out for other things once something was sent.
        if let Poll::Ready(Err(error)) = self.poll_turn(cx) {
            return Poll::Ready(Err(error));
        }
        for _ in 0..MAX_AT_ONCE {
            if self.peer.is_finished() {
                return Poll::Ready(Ok(()));
            }
            match self.wire.poll_receive(cx) {
                Poll::Ready(Ok(Some(received))) => self.handle(received),
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(Error::peer_closed(0, true))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // Whatever there is to write since wakes this task.
                Poll::Pending => return Poll::Pending,
            }
        }
        // There may be more; others come first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was said. Where more than one request is under way, not before this task came round once more: whoever
    /// else is about to say something has said it then, and goes with the same write.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.has_waited && self.peer.may_say_more() {
            self.has_waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_waited = false;
        self.poll_write(cx)
    }

    fn handle(&mut self, received: Received) {
        if let Err(bad) = self.peer.handle(received)
            && !(bad.code == PARSE_ERROR && self.wire.breaks_on_garbage())
        {
            self.peer.complain(&bad);
        }
    }

    /// Ready when nothing waits to be written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            // Taken only after it is known to be wanted.
            ready!(self.wire.poll_ready(cx))?;
            let Some(message) = self.batch.pop() else {
                if self.peer.next_out(&mut self.batch, std::mem::take(&mut self.taken)) {
                    continue;
                }
                if !self.is_flushed {
                    ready!(self.wire.poll_flush(cx))?;
                    self.is_flushed = true;
                }
                return Poll::Ready(Ok(()));
            };
            self.taken += message.len();
            self.is_flushed = false;
            self.wire.send(message)?;
        }
    }

    /// From here on nothing is taken; what the peer was promised is still written.
    async fn close(&mut self) {
        let limit = if self.peer.is_cut() { CUT_WITHIN } else { CLOSE_WITHIN };
        let closing = poll_fn(|cx| {
            ready!(self.poll_write(cx))?;
            self.wire.poll_close(cx)
        });
        if let Ok(Err(error)) = tokio::time::timeout(limit, closing).await {
            tracing::debug!(target: "biplane::messages", peer = self.peer.name, "closing: {error}");
        }
    }
}

fn poll_timer(peer: &Peer, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) {
    loop {
        let now = Instant::now();
        let Some(next) = peer.expire(now) else {
            *timer = None;
            return;
        };
        let until = next.max(now + TICK);
        match timer {
            Some(timer) if timer.deadline().into_std() <= until => {
                if timer.as_mut().poll(cx).is_pending() {
                    return;
                }
            }
            _ => *timer = Some(Box::pin(tokio::time::sleep_until(until.into()))),
        }
        if timer.as_ref().is_some_and(|timer| timer.is_elapsed()) {
            *timer = None;
        }
    }
}
