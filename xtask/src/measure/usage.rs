// SPDX-License-Identifier: Apache-2.0
//! What a process has taken from the machine, as `/proc` has it.

use std::fs;
use std::time::Duration;

/// One process.
#[derive(Clone, Copy)]
pub(super) struct Process(pub(super) u32);

impl Process {
    /// Resident memory in KiB.
    pub(super) fn memory(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Files, sockets and pipes that it holds.
    pub(super) fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).map(Iterator::count).unwrap_or(0)
    }

    /// Processes that it has started.
    pub(super) fn children(self) -> usize {
        let stats = fs::read_dir("/proc").into_iter().flatten().flatten();
        let parents = stats.filter_map(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name stands in parentheses and may hold anything.
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        });
        parents.filter(|parent| *parent == self.0).count()
    }

    /// Time on a processor, of all its threads that are still there.
    pub(super) fn processor(self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let times = tasks.filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(times.sum())
    }
}
