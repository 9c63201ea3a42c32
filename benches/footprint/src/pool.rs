// SPDX-License-Identifier: Apache-2.0
//! What the pool keeps for each link, besides the link: bytes that are allocated, with links that take none themselves.

use std::time::Duration;

use biplane::TransportId;
use biplane::config::PoolConfig;
use biplane::pool::{Link, Pool, PoolKey, PoolSettings};
use biplane::telemetry::PoolMetrics;

use crate::Outcome;
use crate::reading::{allocations, each, heap};
use crate::report::Report;

struct Nothing;

impl Link for Nothing {
    fn is_usable(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        true
    }

    fn close(&self) {}
}

pub(crate) async fn measure(count: usize) -> Outcome<Report> {
    let mut report = Report::new(&format!("the pool's own for each of {count} links"));

    let one = pool(count);
    let target = one.target(&key(0));
    drop(target.checkout(None).await?);
    let before = heap();
    let mut leases = Vec::with_capacity(count);
    let of_leases = heap() - before;
    for _ in 0..count {
        leases.push(target.checkout(None).await?);
    }
    let leased = each(heap() - of_leases, before, count);
    drop(leases);
    report.figure("leased, all to one place", leased, "B");
    report.goal("idle, all to one place", each(heap(), before, count), 500.0, "B");

    let (allocated, rounds) = (allocations().0, 1000);
    for _ in 0..rounds {
        drop(target.try_checkout());
    }
    report.goal("allocations of a checkout and its return", each(allocations().0, allocated, rounds), 0.0, "");

    let many = pool(1);
    drop(many.checkout(&key(0), None).await?);
    let before = heap();
    for place in 1..=count {
        drop(many.checkout(&key(place), None).await?);
    }
    report.figure("idle, each to a place of its own, with that place", each(heap(), before, count), "B");
    Ok(report)
}

fn pool(max_per_target: usize) -> Pool<Nothing> {
    let long = Duration::from_secs(3600);
    let config = PoolConfig {
        enabled: true,
        max_per_target: max_per_target + 1,
        min_idle: max_per_target,
        idle_timeout: long,
        max_lifetime: long,
        keepalive: long,
    };
    let settings =
        PoolSettings { config, leases_per_link: 1, connect_timeout: Duration::from_secs(5), exhausted_hint: "wait" };
    Pool::new(settings, |_| PoolMetrics::default(), |_| Box::pin(async { Ok(Nothing) }))
}

fn key(place: usize) -> PoolKey {
    let (authority, security) = (format!("127.0.0.1:{place}"), String::new());
    PoolKey { transport: TransportId::TCP, authority, security, affinity: None }
}
