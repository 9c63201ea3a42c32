// SPDX-License-Identifier: Apache-2.0
//! What this process has at the moment.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stats_alloc::INSTRUMENTED_SYSTEM;
use tokio::runtime::Handle;

use crate::Outcome;

/// What a process has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Bytes that are resident.
    pub(crate) rss: u64,
    /// Bytes that are allocated: exact, and without what the allocator keeps for itself.
    pub(crate) heap: u64,
    /// Tasks of the runtime that are alive.
    pub(crate) tasks: u64,
    /// Open files, sockets among them.
    pub(crate) files: u64,
    /// Time on a processor since it started.
    pub(crate) cpu: Duration,
}

impl Reading {
    /// As it is now.
    pub(crate) fn now(runtime: &Handle) -> Outcome<Self> {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
        let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("the system tells no RSS")?;
        let rss: u64 = rss.trim().trim_end_matches(" kB").parse()?;
        Ok(Self {
            rss: rss * 1024,
            heap: heap(),
            tasks: runtime.metrics().num_alive_tasks() as u64,
            // The folder that is being read is one of them.
            files: fs::read_dir("/proc/self/fd")?.count() as u64 - 1,
            cpu: processor(),
        })
    }

    /// Of the task that asks.
    pub(crate) fn here() -> Outcome<Self> {
        Self::now(&Handle::current())
    }

    /// The form that goes from process to process.
    pub(crate) fn encode(self) -> String {
        format!("{} {} {} {} {}", self.rss, self.heap, self.tasks, self.files, self.cpu.as_nanos())
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(line: &str) -> Outcome<Self> {
        let figures: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [rss, heap, tasks, files, cpu] = figures[..] else { return Err(format!("{line:?} is no reading").into()) };
        Ok(Self { rss, heap, tasks, files, cpu: Duration::from_nanos(cpu) })
    }

    /// What came since `before`, as text: for each of `count`.
    pub(crate) fn growth(self, before: Self, count: usize) -> (f64, f64) {
        (each(self.rss, before.rss, count), each(self.heap, before.heap, count))
    }
}

/// What is more, for each of `count`.
pub(crate) fn each(now: u64, before: u64, count: usize) -> f64 {
    (now as f64 - before as f64) / count as f64
}

/// Bytes that are allocated.
pub(crate) fn heap() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated) as u64
}

/// Allocations so far, a growth counting as one, and their bytes.
pub(crate) fn allocations() -> (u64, u64) {
    let stats = INSTRUMENTED_SYSTEM.stats();
    ((stats.allocations + stats.reallocations) as u64, stats.bytes_allocated as u64)
}

/// Time that the threads of this process had on a processor. As the system tells it in a file, which works under a profiler
/// too.
pub(crate) fn processor() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    Duration::from_nanos(times.filter_map(|times| times.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// Lets this process have that many files open, besides a few of its own.
pub(crate) fn allow_files(count: usize) -> Outcome {
    let wanted = count as u64 + 256;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        if limit.maximum.is_some_and(|maximum| maximum < wanted) {
            let most = limit.maximum.unwrap_or_default();
            return Err(format!("this needs {wanted} open files and the system permits {most}: raise the hard limit (ulimit -Hn) or take a smaller --count").into());
        }
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    }
    Ok(())
}
