// SPDX-License-Identifier: Apache-2.0
//! The one task of a link over messages: writes what waits, takes what comes, ends what is late.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::MessageWire;
use super::peer::Peer;
use crate::error::{Error, Result};

/// Messages that are taken before the driver lets others have the thread.
const MAX_AT_ONCE: usize = 64;

/// Deadlines are kept to this, so that one timer serves them all.
const TICK: Duration = Duration::from_millis(20);

/// For what is still to be written when a link ends.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The same when nobody waits for it any more.
const CUT_WITHIN: Duration = Duration::from_millis(250);

pub(super) async fn drive(mut wire: impl MessageWire, peer: Arc<Peer>) {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let outcome = poll_fn(|cx| {
        peer.register_driver(cx);
        poll_timer(&peer, &mut timer, cx);
        poll_link(&mut wire, &peer, cx)
    })
    .await;
    // From here on nothing is taken; what the peer was promised is still written.
    let closing = poll_fn(|cx| {
        std::task::ready!(poll_write(&mut wire, &peer, cx))?;
        wire.poll_close(cx)
    });
    let closed = match &outcome {
        Ok(()) => {
            tokio::time::timeout(if peer.is_cut() { CUT_WITHIN } else { CLOSE_WITHIN }, closing).await.unwrap_or(Ok(()))
        }
        Err(_) => Ok(()),
    };
    if let Err(error) = closed {
        tracing::debug!(target: "biplane::messages", peer = peer.name, "closing: {error}");
    }
    drop(wire);
    peer.end(outcome.err().unwrap_or_else(|| Error::closed("the connection was closed")));
}

/// Ready when the link is over: in order, or with the reason.
fn poll_link(wire: &mut impl MessageWire, peer: &Arc<Peer>, cx: &mut Context<'_>) -> Poll<Result<()>> {
    for _ in 0..MAX_AT_ONCE {
        // What came is written before more is taken, so that a peer which asks faster than it reads waits by itself.
        if let Poll::Ready(Err(error)) = poll_write(wire, peer, cx) {
            return Poll::Ready(Err(error));
        }
        if peer.is_finished() {
            return Poll::Ready(Ok(()));
        }
        match wire.poll_receive(cx) {
            Poll::Ready(Ok(Some(received))) => peer.handle(received),
            Poll::Ready(Ok(None)) => return Poll::Ready(Err(Error::peer_closed(0, true))),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                // What it handled meanwhile may have left something to write.
                return match poll_write(wire, peer, cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                };
            }
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Ready when nothing waits to be written.
fn poll_write(wire: &mut impl MessageWire, peer: &Peer, cx: &mut Context<'_>) -> Poll<Result<()>> {
    loop {
        std::task::ready!(wire.poll_ready(cx))?;
        match peer.next_out() {
            Some(message) => wire.send(message)?,
            None => return wire.poll_flush(cx),
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
