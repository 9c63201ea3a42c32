// SPDX-License-Identifier: Apache-2.0
//! Many at once, and ends in every order. These run on real threads and real time; none of them asserts how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::{Peer, key, poll_once, settings, settle};
use crate::error::ErrorKind;
use crate::pool::Pool;

const LIMIT: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_checkouts_never_pass_the_limit() {
    for enabled in [true, false] {
        let mut settings = settings(LIMIT, 1);
        settings.config.enabled = enabled;
        settings.connect_timeout = Duration::from_secs(60);
        let peer = Peer::eager();
        let pool = peer.pool(settings);
        let (held, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for number in 0..1000 {
            let (pool, held, peak) = (pool.clone(), Arc::clone(&held), Arc::clone(&peak));
            tasks.spawn(async move {
                let lease = pool.checkout(&key("a:1"), None).await.unwrap();
                peak.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                held.fetch_sub(1, SeqCst);
                if number % 97 == 0 {
                    lease.discard();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert!(peak.load(SeqCst) <= LIMIT, "{} leases at once", peak.load(SeqCst));
        assert_eq!(held.load(SeqCst), 0);
        // A dial whose waiter was served by a returned link may still be under way.
        let settled = async {
            while pool.stats().created < peer.dials() as u64 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
        let stats = pool.stats();
        assert_eq!((stats.active, stats.created), (0, peer.dials() as u64));
        assert!(stats.idle <= LIMIT);
        assert_eq!(peer.open(), stats.idle, "a socket is neither idle nor closed");
        // Every place under the limit came back: so many leases can be held again at the same time.
        let again = futures_util::future::join_all(
            (0..LIMIT)
                .map(|_| pool.target(&key("a:1")))
                .map(|target| async move { target.checkout(None).await.unwrap() }),
        );
        assert_eq!(again.await.len(), LIMIT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aborted_checkouts_give_everything_back() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(3, 2));
    for round in 0..50 {
        let mut tasks = JoinSet::new();
        for _ in 0..40 {
            let pool = pool.clone();
            tasks.spawn(async move {
                let _lease = pool.checkout(&key("a:1"), None).await;
                tokio::task::yield_now().await;
            });
        }
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        tasks.shutdown().await;
    }
    let all: Vec<_> = futures_util::future::join_all((0..6).map(|_| {
        let pool = pool.clone();
        async move { pool.checkout(&key("a:1"), None).await.unwrap() }
    }))
    .await;
    assert_eq!(pool.stats().active, 3);
    drop(all);
    assert_eq!(pool.stats().active, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_eviction_races_checkout_and_no_closed_link_is_had() {
    let mut settings = settings(4, 1);
    settings.config.idle_timeout = Duration::from_nanos(1);
    let peer = Peer::eager();
    let pool = peer.pool(settings);
    let sweeping = tokio::spawn({
        let pool = pool.clone();
        async move {
            loop {
                pool.0.upkeep(std::time::Instant::now());
                tokio::task::yield_now().await;
            }
        }
    });
    // Until either has won many times.
    let race = async {
        while pool.stats().created < 100 || pool.stats().reused < 100 {
            let lease = pool.checkout(&key("a:1"), None).await.unwrap();
            assert_eq!(lease.closes.load(SeqCst), 0, "a closed link was handed out");
            tokio::task::yield_now().await;
            assert_eq!(lease.closes.load(SeqCst), 0, "a link was closed under its lease");
            drop(lease);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), race).await.unwrap();
    sweeping.abort();
    let _ = sweeping.await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlives_its_pool() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 2));
    let (first, second) =
        (pool.checkout(&key("a:1"), None).await.unwrap(), pool.checkout(&key("a:1"), None).await.unwrap());
    drop(pool);
    drop(first);
    assert_eq!(second.closes.load(SeqCst), 0);
    assert_eq!(peer.open(), 1);
    drop(second);
    settle().await;
    assert_eq!(peer.open(), 0);
    assert_eq!(Arc::strong_count(&peer), 1, "something still holds the pool's dialler");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_pool_ends_its_dials() {
    let peer = Peer::gated();
    let pool = peer.pool(settings(1, 1));
    let target = key("a:1");
    let mut checkout = Box::pin(pool.checkout(&target, None));
    assert!(poll_once(&mut checkout).await.is_pending());
    settle().await;
    assert_eq!(peer.open(), 1);
    drop(checkout);
    drop(pool);
    settle().await;
    assert_eq!(peer.open(), 0);
    assert_eq!(Arc::strong_count(&peer), 1);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_pool_outlives_its_runtime() {
    let peer = Peer::gated();
    let pool: Pool<_> = peer.pool(settings(1, 1));
    let dying = runtime();
    dying.block_on(async {
        let target = key("a:1");
        let mut checkout = Box::pin(pool.checkout(&target, None));
        assert!(poll_once(&mut checkout).await.is_pending());
        settle().await;
    });
    drop(dying);
    assert_eq!(peer.open(), 0, "the dial outlived its runtime");
    peer.gate.add_permits(1);
    let next = runtime();
    let lease = next.block_on(pool.checkout(&key("a:1"), None)).unwrap();
    // The upkeep runs again, on the new runtime: it finds the link dead.
    let link = Arc::clone(lease.link());
    drop(lease);
    link.die();
    next.block_on(async {
        while link.closes.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    drop(next);
    drop(pool);
}

#[test]
fn a_lease_may_come_back_without_a_runtime() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let alive = runtime();
    let held = alive.block_on(pool.checkout(&key("a:1"), None)).unwrap();
    let target = key("a:1");
    let mut waiting = Box::pin(pool.checkout(&target, None));
    alive.block_on(async { assert!(poll_once(&mut waiting).await.is_pending()) });
    // On this thread no runtime is entered, and the waiter needs a dial.
    held.discard();
    assert!(!alive.block_on(waiting).unwrap().is_reused());

    let held = alive.block_on(pool.checkout(&key("a:1"), None)).unwrap();
    let mut waiting = Box::pin(pool.checkout(&target, None));
    alive.block_on(async { assert!(poll_once(&mut waiting).await.is_pending()) });
    drop(alive);
    held.discard();
    let error = runtime().block_on(waiting).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}
