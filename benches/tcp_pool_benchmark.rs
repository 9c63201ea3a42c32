// SPDX-License-Identifier: Apache-2.0
//! What a pool of links costs and what it saves: a lease by itself, and answers that call home with and without the pool.

use std::hint::black_box;

use biplane::pool::{Link, Pool, PoolKey, PoolSettings};
use biplane::telemetry::PoolMetrics;
use biplane::{Biplane, TransportId};
use bytes::Bytes;
use criterion::Criterion;

mod common;

use common::Pair;

fn main() {
    let mut criterion = common::criterion();
    lease(&mut criterion);
    call_home(&mut criterion);
    criterion.final_summary();
}

/// A link that is nothing, so that only the pool is measured.
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

fn lease(criterion: &mut Criterion) {
    let runtime = common::runtime();
    let config = Biplane::builder().build().expect("the defaults are valid").config().clone();
    let settings = PoolSettings {
        config: config.tcp.pool.clone(),
        leases_per_link: 256,
        connect_timeout: config.limits.connect_timeout,
        exhausted_hint: "unused here",
    };
    let key = PoolKey {
        transport: TransportId::TCP,
        authority: "127.0.0.1:1".to_owned(),
        security: String::new(),
        affinity: None,
    };
    let pool = Pool::new(settings, |_| PoolMetrics::default(), |_| Box::pin(async { Ok(Nothing) }));
    let first = runtime.block_on(pool.checkout(&key, None)).expect("the link is dialled");
    let mut group = criterion.benchmark_group("lease");
    group.bench_function("by key", |bencher| {
        bencher.iter(|| black_box(pool.try_checkout(&key)).expect("a link with room"));
    });
    let target = pool.target(&key);
    group.bench_function("by target", |bencher| {
        bencher.iter(|| black_box(target.try_checkout()).expect("a link with room"));
    });
    group.finish();
    drop(first);
}

fn call_home(criterion: &mut Criterion) {
    let runtime = common::runtime();
    let body = Bytes::from_static(&[b'x'; 256]);
    let mut group = criterion.benchmark_group("call home, http + tcp");
    for (name, enabled) in [("pool on", "true"), ("pool off", "false")] {
        let settings = [("transport.tcp.pool.enabled", enabled)];
        let pair = runtime.block_on(Pair::new("http", "tcp", &settings)).expect("the pair starts");
        group.bench_function(name, |bencher| bencher.to_async(&runtime).iter(|| pair.call(0, &body)));
    }
    group.finish();
}
