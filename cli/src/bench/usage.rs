// SPDX-License-Identifier: Apache-2.0
//! What this process has used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of all threads, user and system, since the process began.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident memory in KiB; `None` where the system does not tell.
pub(super) fn resident_kib() -> Option<u64> {
    resident_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS:     1234 kB`, see proc_pid_status(5).
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_used_something() {
        assert!(cpu_time() > Duration::ZERO);
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert_eq!(resident_of("Name:\tx\n"), None);
        #[cfg(target_os = "linux")]
        assert!(resident_kib().is_some_and(|kib| kib > 0));
    }
}
