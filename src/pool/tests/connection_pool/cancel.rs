// SPDX-License-Identifier: Apache-2.0
//! A checkout that is dropped after any number of polls leaks neither a place under the limit nor a socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::super::{Peer, TestLink, key, poll_once, settings, settle};
use crate::pool::{Lease, Pool};

/// Polls at most `polls` times, each time letting `step` change the world, then drops the future. Returns whether it was
/// dropped before it was done.
async fn cut_short<F: Future>(mut future: Pin<Box<F>>, polls: usize, mut step: impl FnMut(usize)) -> bool {
    for poll in 0..polls {
        if poll_once(&mut future).await.is_ready() {
            return false;
        }
        step(poll);
        settle().await;
    }
    true
}

/// The one place under the limit is free, and when all is over no socket is left.
async fn nothing_leaked(pool: Pool<TestLink>, peer: &Arc<Peer>) {
    peer.gate.add_permits(8);
    peer.failures.store(0, SeqCst);
    let lease: Lease<_> = pool.checkout(&key("a:1"), None).await.unwrap();
    assert_eq!(peer.open(), 1, "more sockets than the limit");
    drop((lease, pool));
    settle().await;
    assert_eq!(peer.open(), 0, "a socket outlived its pool");
}

#[tokio::test(start_paused = true)]
async fn during_the_dial() {
    for failures in [0, 1] {
        for polls in 0.. {
            let peer = Peer::gated();
            peer.failures.store(failures, SeqCst);
            let pool = peer.pool(settings(1, 1));
            let target = key("a:1");
            let checkout = Box::pin(pool.checkout(&target, None));
            // The dial ends between the second poll and the third.
            let cut = cut_short(checkout, polls, |poll| peer.gate.add_permits(usize::from(poll == 1))).await;
            nothing_leaked(pool, &peer).await;
            if !cut {
                assert!(polls >= 3, "the checkout was done before the dial");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_line_behind_the_limit() {
    for discard in [false, true] {
        for polls in 0.. {
            let peer = Peer::eager();
            let pool = peer.pool(settings(1, 1));
            let target = key("a:1");
            let mut held = Some(pool.checkout(&target, None).await.unwrap());
            let checkout = Box::pin(pool.checkout(&target, None));
            let cut = cut_short(checkout, polls, |poll| {
                if let Some(lease) = held.take_if(|_| poll == 1)
                    && discard
                {
                    lease.discard();
                }
            })
            .await;
            drop(held);
            nothing_leaked(pool, &peer).await;
            if !cut {
                assert!(polls >= 3, "the checkout overtook the lease");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_in_line_gets_what_a_dropped_checkout_was_given() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let target = key("a:1");
    let held = pool.checkout(&target, None).await.unwrap();
    let mut first = Box::pin(pool.checkout(&target, None));
    let mut second = Box::pin(pool.checkout(&target, None));
    assert!(poll_once(&mut first).await.is_pending());
    assert!(poll_once(&mut second).await.is_pending());
    drop(held);
    drop(first);
    assert!(second.await.unwrap().is_reused());
    assert_eq!(peer.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_left_take_no_place_in_line() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let target = key("a:1");
    let held = pool.checkout(&target, None).await.unwrap();
    // More than may wait at once.
    for _ in 0..20_000 {
        assert!(poll_once(std::pin::pin!(pool.checkout(&target, None))).await.is_pending());
    }
    let mut waiting = Box::pin(pool.checkout(&target, None));
    assert!(poll_once(&mut waiting).await.is_pending());
    drop(held);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_for_the_next_checkout() {
    let peer = Peer::gated();
    let pool = peer.pool(settings(1, 1));
    let target = key("a:1");
    let mut first = Box::pin(pool.checkout(&target, None));
    assert!(poll_once(&mut first).await.is_pending());
    settle().await;
    drop(first);
    peer.gate.add_permits(1);
    pool.checkout(&target, None).await.unwrap();
    assert_eq!(peer.dials(), 1);
}
