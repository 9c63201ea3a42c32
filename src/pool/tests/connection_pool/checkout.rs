// SPDX-License-Identifier: Apache-2.0
//! What one caller sees: which link it gets, when one is dialled, and what the errors say.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::super::{Peer, TestLink, key, poll_once, settings, settle};
use crate::error::{Detail, Error, ErrorKind, Retry};
use crate::message::SessionId;
use crate::pool::{Pool, PoolKey, PoolSettings, PoolStats};
use crate::telemetry::PoolMetrics;

fn soon() -> Option<std::time::Instant> {
    Some((Instant::now() + Duration::from_secs(1)).into_std())
}

#[tokio::test(start_paused = true)]
async fn a_link_is_shared_until_it_is_full() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 3));
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.checkout(&key("a:1"), None).await.unwrap());
    }
    assert_eq!(peer.dials(), 1);
    assert_eq!(leases.iter().map(|lease| lease.is_reused()).collect::<Vec<_>>(), [false, true, true]);
    leases.push(pool.checkout(&key("a:1"), None).await.unwrap());
    assert_eq!(peer.dials(), 2);
    assert_eq!(pool.stats(), PoolStats { created: 2, reused: 2, active: 2, idle: 0 });
    drop(leases);
    assert_eq!(pool.stats(), PoolStats { created: 2, reused: 2, active: 0, idle: 2 });
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_link_is_taken() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 2));
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(pool.checkout(&key("a:1"), None).await.unwrap());
    }
    let (first, other) = (leases[0].id, leases[3].id);
    assert_ne!(first, other);
    leases.retain(|lease| lease.id == first);
    assert_eq!(pool.try_checkout(&key("a:1")).unwrap().id, other);
}

#[tokio::test(start_paused = true)]
async fn a_link_without_room_is_passed_over() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 8));
    let full = pool.checkout(&key("a:1"), None).await.unwrap();
    full.room.store(false, SeqCst);
    assert!(pool.try_checkout(&key("a:1")).is_none());
    assert_ne!(pool.checkout(&key("a:1"), None).await.unwrap().id, full.id);
}

#[tokio::test(start_paused = true)]
async fn one_dial_serves_all_who_wait_for_it() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(4, 100));
    let target = key("a:1");
    let leases = join_all((0..100).map(|_| pool.checkout(&target, None))).await;
    assert_eq!(peer.dials(), 1);
    // The link was not there before: that it dies now says nothing about a stale link.
    assert!(leases.iter().all(|lease| !lease.as_ref().unwrap().is_reused()));
    assert_eq!(pool.stats(), PoolStats { created: 1, reused: 99, active: 1, idle: 0 });
}

#[tokio::test(start_paused = true)]
async fn exclusive_links_are_dialled_side_by_side_up_to_the_limit() {
    let peer = Peer::gated();
    let pool = peer.pool(settings(3, 1));
    let target = key("a:1");
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(pool.checkout(&target, None))).collect();
    for future in &mut waiting {
        assert!(poll_once(future).await.is_pending());
    }
    settle().await;
    assert_eq!(peer.dials(), 3);
    peer.gate.add_permits(3);
    let rest = waiting.split_off(3);
    let leases = join_all(waiting).await;
    assert!(leases.iter().all(Result::is_ok));
    drop(leases);
    assert!(join_all(rest).await.iter().all(|lease| lease.as_ref().unwrap().is_reused()));
    assert_eq!(peer.dials(), 3);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_a_lease_waits_and_then_the_error_names_the_variable() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 2));
    let _held = (pool.checkout(&key("a:1"), None).await.unwrap(), pool.checkout(&key("a:1"), None).await.unwrap());
    let error = pool.checkout(&key("a:1"), soon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(error.detail(), Some(&Detail::ConnectionLimit { limit: 1 }));
    assert_eq!(error.retry(), Retry::Safe);
    assert!(error.to_string().contains("DYN_TCP_POOL_MAX_PER_TARGET"), "{error}");
    assert!(error.to_string().contains("tcp a:1"), "{error}");
    assert_eq!(peer.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn leases_that_wait_are_served_in_order() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let target = key("a:1");
    let mut held = pool.checkout(&target, None).await.unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(pool.checkout(&target, None))).collect();
    for future in &mut waiting {
        assert!(poll_once(future).await.is_pending());
    }
    while !waiting.is_empty() {
        drop(held);
        assert!(pool.try_checkout(&target).is_none(), "overtook the line");
        held = waiting.remove(0).await.unwrap();
        for future in &mut waiting {
            assert!(poll_once(future).await.is_pending(), "served out of order");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_fails_those_who_waited_for_it_and_nobody_later() {
    let peer = Peer::eager();
    peer.failures.store(1, SeqCst);
    let pool = peer.pool(settings(4, 100));
    let target = key("a:1");
    for lease in join_all((0..10).map(|_| pool.checkout(&target, None))).await {
        let error = lease.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe));
        assert_eq!(error.to_string(), "tcp a:1: dial 0 was refused");
    }
    assert_eq!(pool.checkout(&target, None).await.unwrap().id, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_ends_with_the_connect_timeout() {
    let pool = Peer::gated().pool(settings(1, 1));
    let error = pool.checkout(&key("a:1"), None).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe));
    assert!(error.to_string().contains("BIPLANE_CONNECT_TIMEOUT"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_during_the_dial_is_a_timeout_and_the_link_is_kept() {
    let peer = Peer::gated();
    let pool = peer.pool(settings(1, 1));
    let error = pool.checkout(&key("a:1"), soon()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Safe));
    peer.gate.add_permits(1);
    settle().await;
    assert!(pool.try_checkout(&key("a:1")).unwrap().is_reused());
    let passed = Some(Instant::now().into_std());
    assert_eq!(pool.checkout(&key("b:1"), passed).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(peer.dials(), 1, "dialled for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_fails_its_waiters_only() {
    let pool = Pool::<TestLink>::new(
        settings(1, 1),
        |_| PoolMetrics::default(),
        |key| match key.authority.as_str() {
            "good:1" => Box::pin(async { Ok(TestLink::new(0)) }),
            _ => panic!("a transport with a bug"),
        },
    );
    let error = pool.checkout(&key("bad:1"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert_eq!(pool.checkout(&key("bad:1"), None).await.unwrap_err().kind(), ErrorKind::Unexpected, "the slot leaked");
    pool.checkout(&key("good:1"), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_at_once_is_dialled_once() {
    let pool = Pool::<TestLink>::new(
        settings(5, 1),
        |_| PoolMetrics::default(),
        |_| {
            let link = TestLink::new(0);
            link.die();
            Box::pin(async { Ok(link) })
        },
    );
    let error: Error = pool.checkout(&key("a:1"), None).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe));
    assert_eq!(pool.stats(), PoolStats::default());
}

#[tokio::test(start_paused = true)]
async fn a_discarded_link_is_closed_when_its_last_lease_is_back() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 2));
    let half_written = pool.checkout(&key("a:1"), None).await.unwrap();
    let neighbour = pool.checkout(&key("a:1"), None).await.unwrap();
    let link = Arc::clone(half_written.link());
    half_written.discard();
    assert_eq!(link.closes.load(SeqCst), 0, "closed under its neighbour");
    assert!(pool.try_checkout(&key("a:1")).is_none());
    assert_ne!(pool.checkout(&key("a:1"), None).await.unwrap().id, link.id);
    drop(neighbour);
    assert_eq!(link.closes.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_link_is_never_handed_out() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let first = pool.checkout(&key("a:1"), None).await.unwrap();
    let link = Arc::clone(first.link());
    drop(first);
    link.die();
    assert!(pool.try_checkout(&key("a:1")).is_none());
    assert_eq!(link.closes.load(SeqCst), 1);
    let second = pool.checkout(&key("a:1"), None).await.unwrap();
    assert_ne!(second.id, link.id);
    second.die();
    let dead = second.id;
    drop(second);
    assert_ne!(pool.checkout(&key("a:1"), None).await.unwrap().id, dead);
}

#[tokio::test(start_paused = true)]
async fn keys_that_differ_in_any_part_share_nothing() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 8));
    let base = key("a:1");
    let keys = [
        base.clone(),
        PoolKey { transport: "http".into(), ..base.clone() },
        PoolKey { authority: "a:2".into(), ..base.clone() },
        PoolKey { security: "ca-1".into(), ..base.clone() },
        PoolKey { affinity: Some(SessionId::new("alice")), ..base.clone() },
        PoolKey { affinity: Some(SessionId::new("bob")), ..base },
    ];
    for key in &keys {
        assert!(!pool.checkout(key, None).await.unwrap().is_reused());
    }
    assert_eq!(peer.dials(), keys.len());
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_off_dials_for_every_lease_within_the_limit() {
    let mut off: PoolSettings = settings(2, 256);
    off.config.enabled = false;
    off.config.min_idle = 5;
    let peer = Peer::eager();
    let pool = peer.pool(off);
    let first = pool.checkout(&key("a:1"), None).await.unwrap();
    let second = pool.checkout(&key("a:1"), None).await.unwrap();
    assert!(!first.is_reused() && !second.is_reused() && first.id != second.id);
    assert_eq!(pool.checkout(&key("a:1"), soon()).await.unwrap_err().kind(), ErrorKind::Overloaded);
    let link = Arc::clone(first.link());
    drop(first);
    assert_eq!(link.closes.load(SeqCst), 1);
    assert!(!pool.checkout(&key("a:1"), None).await.unwrap().is_reused());
    drop(second);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pool.stats(), PoolStats { created: 3, reused: 0, active: 0, idle: 0 });
}

/// HTTP/2 tells in its handshake how many streams a link takes.
#[tokio::test(start_paused = true)]
async fn a_pool_that_is_off_obeys_the_limit_whatever_a_link_could_carry() {
    let mut off: PoolSettings = settings(2, 256);
    off.config.enabled = false;
    let peer = Peer::with_capacity(100);
    let pool = peer.pool(off);
    let first = pool.checkout(&key("a:1"), None).await.unwrap();
    let second = pool.checkout(&key("a:1"), None).await.unwrap();
    assert!(!first.is_reused() && !second.is_reused() && first.id != second.id);
    assert!(pool.try_checkout(&key("a:1")).is_none());
    assert_eq!(pool.checkout(&key("a:1"), soon()).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(peer.open(), 2);
    drop(first);
    let third = pool.checkout(&key("a:1"), None).await.unwrap();
    assert!(!third.is_reused());
    assert_eq!((peer.open(), peer.dials()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_refuses_and_lets_leases_finish() {
    let peer = Peer::gated();
    let pool = peer.pool(settings(2, 1));
    let target = pool.target(&key("a:1"));
    peer.gate.add_permits(1);
    let lease = pool.checkout(&key("a:1"), None).await.unwrap();
    let link = Arc::clone(lease.link());
    let mut waiting = Box::pin(target.checkout(None));
    assert!(poll_once(&mut waiting).await.is_pending());
    pool.close();
    pool.close();
    assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Closed);
    for error in [target.checkout(None).await.unwrap_err(), pool.checkout(&key("new:1"), None).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert_eq!(link.closes.load(SeqCst), 0);
    drop(lease);
    assert_eq!(link.closes.load(SeqCst), 1);
    drop(link);
    settle().await;
    assert_eq!(peer.open(), 0);
}

#[test]
fn outside_a_runtime_a_checkout_is_an_error_and_no_panic() {
    let pool = Peer::eager().pool(settings(1, 1));
    let target = key("a:1");
    let future = std::pin::pin!(pool.checkout(&target, None));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(outcome) = future.poll(&mut context) else { panic!("waits for a runtime") };
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unexpected);
}
