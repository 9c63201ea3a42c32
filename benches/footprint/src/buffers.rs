// SPDX-License-Identifier: Apache-2.0
//! A pool of buffers against buffers that are made afresh: messages as JSON, and chunks that are read into.

use std::hint::black_box;

use biplane::io::buffer::BytesPool;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::Outcome;
use crate::reading::{allocations, each, processor};
use crate::report::Report;

const ROUNDS: usize = 100_000;
/// What a link reads at once.
const CHUNK: usize = 64 << 10;

pub(crate) fn measure() -> Outcome<Report> {
    let mut report = Report::new("buffers, with the pool and without");
    let pool = BytesPool::default();
    for size in [128, 16 << 10] {
        let value: Value = json!({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {"text": "x".repeat(size)}});
        let what = format!("JSON of a text of {size} B");
        rounds(&mut report, &format!("{what}, with"), || Ok(pool.serialize_with_buffer(&value)?))?;
        rounds(&mut report, &format!("{what}, without"), || Ok(Bytes::from(serde_json::to_vec(&value)?)))?;
    }
    for size in [1_usize, 64] {
        // What a read brings, each message of it handed on and dropped.
        let message = [b'x'; 128];
        let read = |mut chunk: BytesMut| {
            for _ in 0..size {
                chunk.put_slice(&message);
            }
            while !chunk.is_empty() {
                black_box(chunk.split_to(message.len()).freeze());
            }
            chunk
        };
        let what = format!("a read of {size} messages of 128 B");
        rounds(&mut report, &format!("{what}, with"), || {
            pool.release(read(pool.acquire()));
            Ok(Bytes::new())
        })?;
        rounds(&mut report, &format!("{what}, a new chunk of 64 KiB"), || {
            drop(read(BytesMut::with_capacity(CHUNK)));
            Ok(Bytes::new())
        })?;
    }
    Ok(report)
}

fn rounds(report: &mut Report, what: &str, mut round: impl FnMut() -> Outcome<Bytes>) -> Outcome {
    for _ in 0..ROUNDS / 10 {
        black_box(round()?);
    }
    let (before, started) = (allocations(), processor());
    for _ in 0..ROUNDS {
        black_box(round()?);
    }
    let (after, took) = (allocations(), processor() - started);
    report.figure(&format!("{what}: time"), took.as_secs_f64() * 1e9 / ROUNDS as f64, "ns");
    report.figure(&format!("{what}: allocations"), each(after.0, before.0, ROUNDS), "");
    report.figure(&format!("{what}: allocated"), each(after.1, before.1, ROUNDS), "B");
    Ok(())
}
