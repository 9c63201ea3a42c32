// SPDX-License-Identifier: Apache-2.0
//! The pairs of planes side by side: one call at a time, and many at once.

use bytes::Bytes;
use criterion::Throughput;
use futures_util::future::join_all;

mod common;

use common::Pair;

const PAIRS: [(&str, &str); 6] =
    [("mem", "mem"), ("uds", "uds"), ("tcp", "tcp"), ("tcp", "http"), ("http", "tcp"), ("http", "http")];

/// Callers of a busy process.
const AT_ONCE: usize = 64;

fn main() {
    let mut criterion = common::criterion();
    let runtime = common::runtime();
    let body = Bytes::from_static(&[b'x'; 256]);
    for (request, response) in PAIRS {
        let pair = runtime.block_on(Pair::new(request, response, &[])).expect("the pair starts");
        let mut group = criterion.benchmark_group(format!("{request} + {response}"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("1 call", |bencher| bencher.to_async(&runtime).iter(|| pair.call(0, &body)));
        group.throughput(Throughput::Elements(AT_ONCE as u64));
        group.bench_function(format!("{AT_ONCE} calls at once"), |bencher| {
            bencher.to_async(&runtime).iter(|| join_all((0..AT_ONCE).map(|_| pair.call(0, &body))));
        });
        group.finish();
    }
    criterion.final_summary();
}
