// SPDX-License-Identifier: Apache-2.0
//! Each transport with answers on the request's own link: bodies from small to large, and streams of items.

use bytes::Bytes;
use criterion::{BenchmarkId, Throughput};

mod common;

use common::Pair;

const SIZES: [usize; 3] = [64, 16 << 10, 256 << 10];

/// A long answer of a model, and the bytes of a token.
const ITEMS: u32 = 256;
const ITEM: usize = 16;

fn main() {
    let mut criterion = common::criterion();
    let runtime = common::runtime();
    for transport in ["mem", "uds", "tcp", "http"] {
        let pair = runtime.block_on(Pair::new(transport, transport, &[])).expect("the pair starts");
        let mut group = criterion.benchmark_group(transport);
        for size in SIZES {
            let body = Bytes::from(vec![b'x'; size]);
            // There and back.
            group.throughput(Throughput::Bytes(2 * size as u64));
            group.bench_with_input(BenchmarkId::new("echo", size), &body, |bencher, body| {
                bencher.to_async(&runtime).iter(|| pair.call(0, body));
            });
        }
        let body = Bytes::from(vec![b'x'; ITEM]);
        group.throughput(Throughput::Elements(u64::from(ITEMS)));
        group.bench_with_input(BenchmarkId::new("stream", ITEMS), &body, |bencher, body| {
            bencher.to_async(&runtime).iter(|| pair.call(ITEMS, body));
        });
        group.finish();
    }
    criterion.final_summary();
}
