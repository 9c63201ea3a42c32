// SPDX-License-Identifier: Apache-2.0
//! Where the figures come from.

use std::fmt;
use std::fs;
use std::process::Command;

pub(super) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    compiler: String,
    load: String,
}

impl Machine {
    pub(super) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let information = read("/proc/cpuinfo");
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
        let rustc = rustc.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
        Self {
            processor: model.map_or("an unknown processor", |(_, model)| model.trim()).to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            compiler: rustc,
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, processors, kernel, compiler, load } = self;
        write!(f, "{processor}, {processors} of them; Linux {kernel}; {compiler}; load at the start {load}")
    }
}
