// SPDX-License-Identifier: Apache-2.0
//! What happens while nobody looks: dead, idle and old links go, warm ones stay, keys are forgotten, the task ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::sleep;

use super::super::{Peer, TestLink, key, poll_once, settings, settle};
use crate::error::Result;
use crate::pool::{Lease, Pool, PoolSettings};
use crate::telemetry::{PoolFamily, Telemetry};

/// Long enough for any round of upkeep.
const A_ROUND: Duration = Duration::from_secs(2);

fn warm(min_idle: usize, leases: usize) -> PoolSettings {
    let mut settings = settings(10, leases);
    settings.config.min_idle = min_idle;
    settings
}

async fn lease(pool: &Pool<TestLink>) -> Lease<TestLink> {
    pool.checkout(&key("a:1"), None).await.unwrap()
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn a_link_that_dies_while_idle_is_noticed() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 8));
    let link = Arc::clone(lease(&pool).await.link());
    link.die();
    sleep(A_ROUND).await;
    assert_eq!(link.closes.load(SeqCst), 1);
    assert_eq!(pool.stats().idle, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_link_that_dies_in_use_makes_place_at_once() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 8));
    let long = lease(&pool).await;
    long.die();
    assert_ne!(lease(&pool).await.id, long.id);
}

#[tokio::test(start_paused = true)]
async fn links_beyond_the_warm_ones_idle_out() {
    let peer = Peer::eager();
    let pool = peer.pool(warm(2, 1));
    let leases = [lease(&pool).await, lease(&pool).await, lease(&pool).await, lease(&pool).await];
    drop(leases);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(pool.stats().idle, 4);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(pool.stats().idle, 2);
    assert_eq!(peer.dials(), 4);
}

#[tokio::test(start_paused = true)]
async fn warm_links_are_dialled_once_the_target_was_used() {
    let peer = Peer::eager();
    let pool = peer.pool(warm(3, 1));
    let target = pool.target(&key("a:1"));
    sleep(A_ROUND).await;
    assert_eq!(peer.dials(), 0);
    drop(target.checkout(None).await.unwrap());
    sleep(A_ROUND).await;
    assert_eq!((peer.dials(), pool.stats().idle), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_shared_link_in_use_is_warm_enough() {
    let peer = Peer::eager();
    let pool = peer.pool(warm(1, 256));
    let _busy = lease(&pool).await;
    sleep(A_ROUND).await;
    assert_eq!(peer.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_went_away_is_not_dialled_for_ever() {
    let peer = Peer::eager();
    let pool = peer.pool(warm(1, 1));
    let link = Arc::clone(lease(&pool).await.link());
    peer.failures.store(usize::MAX, SeqCst);
    link.die();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(peer.dials(), 2);
    assert_eq!(pool.0.targets(), 0);
}

#[tokio::test(start_paused = true)]
async fn idle_links_are_pinged_and_busy_ones_are_not() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 1));
    let (busy, idle) = (lease(&pool).await, lease(&pool).await);
    let idle_link = Arc::clone(idle.link());
    drop(idle);
    sleep(Duration::from_secs(190)).await;
    assert_eq!(idle_link.pings.load(SeqCst), 3);
    assert_eq!(busy.pings.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_old_link_is_replaced_and_its_leases_finish() {
    let mut settings = warm(1, 8);
    settings.config.max_lifetime = Duration::from_secs(100);
    let peer = Peer::eager();
    let pool = peer.pool(settings);
    let old = lease(&pool).await;
    sleep(Duration::from_secs(89)).await;
    assert_eq!(lease(&pool).await.id, old.id, "more than a tenth of jitter");
    sleep(Duration::from_secs(13)).await;
    assert_ne!(lease(&pool).await.id, old.id);
    assert_eq!(old.closes.load(SeqCst), 0);
    let link = Arc::clone(old.link());
    drop(old);
    assert_eq!(link.closes.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_waits_gets_the_room_that_a_peer_grants() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 8));
    let busy = lease(&pool).await;
    busy.room.store(false, SeqCst);
    let target = key("a:1");
    let mut waiting = Box::pin(pool.checkout(&target, None));
    assert!(poll_once(&mut waiting).await.is_pending());
    busy.room.store(true, SeqCst);
    assert_eq!(waiting.await.unwrap().id, busy.id);
}

#[tokio::test(start_paused = true)]
async fn keys_are_forgotten_and_totals_are_not() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    for port in 0..20 {
        drop(pool.checkout(&key(&format!("a:{port}")), None).await.unwrap());
    }
    assert_eq!(pool.0.targets(), 20);
    sleep(Duration::from_secs(400)).await;
    assert_eq!((pool.0.targets(), pool.stats().created), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_idle_targets_is_bounded() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let held = pool.checkout(&key("held:1"), None).await.unwrap();
    for port in 0..5000 {
        drop(pool.checkout(&key(&format!("a:{port}")), None).await.unwrap());
    }
    assert_eq!((pool.0.targets(), peer.open()), (4096, 4096));
    assert_eq!(held.closes.load(SeqCst), 0);
    assert_eq!(pool.stats().created, 5001);
}

#[tokio::test(start_paused = true)]
async fn the_task_runs_only_while_there_is_something_to_keep() {
    let peer = Peer::eager();
    let pool = peer.pool(settings(2, 1));
    assert_eq!(tasks(), 0);
    drop(lease(&pool).await);
    settle().await;
    assert_eq!(tasks(), 1, "one task, whatever the number of links");
    sleep(Duration::from_secs(400)).await;
    assert_eq!((tasks(), peer.open()), (0, 0));
    drop(lease(&pool).await);
    settle().await;
    assert_eq!(tasks(), 1, "the task did not come back");
    drop(pool);
    settle().await;
    assert_eq!((tasks(), peer.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_held_target_keeps_its_limit_and_no_task() -> Result<()> {
    let peer = Peer::eager();
    let pool = peer.pool(settings(1, 1));
    let target = pool.target(&key("a:1"));
    drop(target.checkout(None).await?);
    sleep(Duration::from_secs(400)).await;
    assert_eq!((tasks(), pool.0.targets()), (0, 1));
    let _held = target.checkout(None).await?;
    assert!(pool.try_checkout(&key("a:1")).is_none(), "a second slot for one key");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn metrics_follow_the_links() {
    let telemetry = Telemetry::default();
    let recorder = telemetry.clone();
    let peer = Peer::eager();
    let pool =
        peer.counted_pool(settings(2, 2), move |key| recorder.pool(PoolFamily::Tcp, &key.transport, &key.authority));
    let shows = |name: &str, value: u64| {
        let (text, line) = (telemetry.render(), format!("tcp_pool_{name}{{target=\"a:1\"}} {value}\n"));
        assert!(text.contains(&line), "no {line} in\n{text}");
    };
    let leases = [lease(&pool).await, lease(&pool).await, lease(&pool).await];
    shows("connections_created_total", 2);
    shows("connections_reused_total", 1);
    shows("acquisition_latency_seconds_count", 3);
    shows("active_connections", 2);
    shows("idle_connections", 0);
    let link = Arc::clone(leases[0].link());
    drop(leases);
    shows("active_connections", 0);
    shows("idle_connections", 2);
    link.die();
    sleep(A_ROUND).await;
    shows("idle_connections", 1);
    shows("validation_failures_total", 1);
    drop(pool);
    shows("idle_connections", 0);
}
