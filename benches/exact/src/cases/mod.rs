// SPDX-License-Identifier: Apache-2.0
//! The cases: each prepares itself, goes round a few times so that all that grows has grown, and then runs the operations
//! that are counted.

mod call;
mod halves;
mod parts;

use std::future::Future;
use std::time::Instant;

use crate::Outcome;

/// A hot path.
struct Case {
    name: &'static str,
    /// How often it is run, counted and as often before.
    operations: u32,
    /// Returns how long the counted ones took.
    run: fn(Rounds) -> f64,
}

/// How often an operation is run.
#[derive(Clone, Copy)]
struct Rounds {
    /// So that what grows has grown.
    before: u32,
    counted: u32,
}

const CASES: &[Case] = &[
    Case { name: "frame", operations: 1000, run: parts::frame },
    Case { name: "mux", operations: 1000, run: parts::mux },
    Case { name: "pool", operations: 1000, run: parts::pool },
    Case { name: "pool-lease", operations: 1000, run: parts::pool_lease },
    Case { name: "pool-take", operations: 1000, run: parts::pool_take },
    Case { name: "pool-give-back", operations: 1000, run: parts::pool_give_back },
    Case { name: "pool-by-key", operations: 1000, run: parts::pool_by_key },
    Case { name: "envelope", operations: 1000, run: parts::envelope },
    Case { name: "envelope-read", operations: 1000, run: parts::envelope_read },
    Case { name: "connect-url", operations: 1000, run: parts::connect_url },
    Case { name: "connect-service", operations: 1000, run: parts::connect_service },
    Case { name: "caller", operations: 1000, run: halves::caller },
    Case { name: "caller-floor", operations: 1000, run: halves::caller_floor },
    Case { name: "responder", operations: 1000, run: halves::responder },
    Case { name: "responder-floor", operations: 1000, run: halves::responder_floor },
    Case { name: "mem-unary-1", operations: 1000, run: call::mem_1 },
    Case { name: "tcp-connection-1", operations: 1000, run: call::connection_1 },
    Case { name: "tcp-connection-64", operations: 4096, run: call::connection_64 },
    Case { name: "tcp-connection-1024", operations: 16384, run: call::connection_1024 },
    Case { name: "tcp-unary-1", operations: 1000, run: call::tcp_1 },
    Case { name: "tcp-unary-64", operations: 4096, run: call::tcp_64 },
    Case { name: "tcp-unary-1024", operations: 16384, run: call::tcp_1024 },
    Case { name: "tcp-unary-16k-64", operations: 1024, run: call::tcp_16k_64 },
    Case { name: "tcp-stream-100-64", operations: 128, run: call::tcp_stream_64 },
    Case { name: "tcp-paced-100-64", operations: 128, run: call::tcp_paced_64 },
    Case { name: "http-unary-64", operations: 2048, run: call::http_64 },
    Case { name: "http-stream-100-64", operations: 128, run: call::http_stream_64 },
    Case { name: "call-home-64", operations: 2048, run: call::call_home_64 },
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

pub(crate) fn operations(name: &str) -> Outcome<u32> {
    Ok(find(name)?.operations)
}

/// Runs a case; nanoseconds per operation.
pub(crate) fn run(name: &str) -> Outcome<f64> {
    let case = find(name)?;
    let rounds = Rounds { before: case.operations, counted: case.operations };
    Ok((case.run)(rounds) / f64::from(case.operations))
}

/// Does what [`run`] does beside the counted operations: what both have in common is not theirs.
pub(crate) fn prepare(name: &str) -> Outcome {
    let case = find(name)?;
    (case.run)(Rounds { before: case.operations, counted: 0 });
    Ok(())
}

fn find(name: &str) -> Outcome<&'static Case> {
    CASES.iter().find(|case| case.name == name).ok_or_else(|| format!("there is no case {name}"))
}

/// What callgrind counts: `work` and all that it calls, on one thread. Nanoseconds.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64
}

/// An operation without a runtime.
fn repeated(rounds: Rounds, mut operation: impl FnMut()) -> f64 {
    (0..rounds.before).for_each(|_| operation());
    measured(&mut || (0..rounds.counted).for_each(|_| operation()))
}

/// A runtime of one thread: both sides of a call are counted.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// An operation that may wait, one at a time.
fn awaited<F: Future<Output = ()>>(
    runtime: &tokio::runtime::Runtime,
    rounds: Rounds,
    operation: impl Fn() -> F,
) -> f64 {
    let repeat = async |times| {
        for _ in 0..times {
            operation().await;
        }
    };
    runtime.block_on(repeat(rounds.before));
    measured(&mut || runtime.block_on(repeat(rounds.counted)))
}

/// An operation that may wait, `tasks` at a time, each in a task of its own.
fn side_by_side<F: Future<Output = ()> + Send>(
    runtime: &tokio::runtime::Runtime,
    rounds: Rounds,
    tasks: u32,
    operation: impl Fn() -> F + Clone + Send + 'static,
) -> f64 {
    let start = |operations: u32| {
        let (begin, began) = tokio::sync::watch::channel(false);
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let (mut began, operation) = (began.clone(), operation.clone());
                runtime.spawn(async move {
                    // An error would mean that nobody begins any more.
                    let _ = began.wait_for(|began| *began).await;
                    for _ in 0..operations / tasks {
                        operation().await;
                    }
                })
            })
            .collect();
        // All of them have come to wait when this is over.
        runtime.block_on(tokio::task::yield_now());
        (begin, running)
    };
    let finish = |(begin, running): (tokio::sync::watch::Sender<bool>, Vec<tokio::task::JoinHandle<()>>)| {
        begin.send_replace(true);
        runtime.block_on(async {
            for task in running {
                task.await.expect("no operation fails");
            }
        });
    };
    finish(start(rounds.before));
    let mut ready = Some(start(rounds.counted));
    measured(&mut || ready.take().into_iter().for_each(finish))
}
