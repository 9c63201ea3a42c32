// SPDX-License-Identifier: Apache-2.0
//! What a process has used up.

use std::fs;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static COUNTED: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// What this process has used up since it started.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a processor in user and kernel, of all threads.
    pub cpu_ns: u64,
    /// Allocations, a growth counting as one; where they are counted.
    pub allocations: Option<u64>,
    /// Bytes that were allocated; where they are counted.
    pub allocated: Option<u64>,
}

impl Usage {
    /// As it is now.
    pub fn now() -> Self {
        // What the current thread has run since it was last scheduled is not in the figure yet; this puts it there.
        std::thread::yield_now();
        let cpu_ns = processor(&[std::process::id()]);
        let (allocations, allocated) = allocations().unzip();
        Self { cpu_ns, allocations, allocated }
    }

    /// What was used since.
    pub(crate) fn since(self, before: Self) -> Self {
        let less = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            allocations: less(self.allocations, before.allocations),
            allocated: less(self.allocated, before.allocated),
        }
    }

    /// The fields of a JSON object.
    pub(crate) fn json(self) -> String {
        let Self { cpu_ns, allocations, allocated } = self;
        let mut text = format!("\"cpu_ns\":{cpu_ns}");
        for (name, figure) in [("allocations", allocations), ("allocated", allocated)] {
            if let Some(figure) = figure {
                text.push_str(&format!(",\"{name}\":{figure}"));
            }
        }
        text
    }
}

#[cfg(feature = "count-allocations")]
fn allocations() -> Option<(u64, u64)> {
    let stats = COUNTED.stats();
    Some(((stats.allocations + stats.reallocations) as u64, stats.bytes_allocated as u64))
}

#[cfg(not(feature = "count-allocations"))]
fn allocations() -> Option<(u64, u64)> {
    None
}

/// Time on a processor of processes, in user and kernel, as the system has it; threads that have ended are not in it.
pub(crate) fn processor(processes: &[u32]) -> u64 {
    let tasks =
        processes.iter().flat_map(|id| fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten());
    let times = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    times.sum()
}
