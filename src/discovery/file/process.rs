// SPDX-License-Identifier: Apache-2.0
//! Whether the process that holds a record still lives. A killed worker cannot withdraw its record, and its callers should
//! not wait for the lease to learn of it.
//!
//! From `/proc`; where there is none, nobody can be named and leases alone decide.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;

use crate::discovery::record::Process;

/// This process.
pub(super) fn current() -> Option<Process> {
    // They differ if `/proc` shows another pid namespace than ours; then nothing in it tells about our neighbours.
    named("self").filter(|process| process.pid == std::process::id())
}

/// The process that `/proc` has under `name`.
pub(super) fn named(name: &str) -> Option<Process> {
    let stat = Stat::parse(&fs::read_to_string(format!("/proc/{name}/stat")).ok()?)?;
    Some(Process { pid: stat.pid, start: stat.start, host: host()? })
}

/// Judges the holders of one scan; each process is looked at once.
pub(super) struct Census {
    here: Option<String>,
    gone: HashMap<Process, bool>,
}

impl Census {
    /// `here` is where this process lives, see [`Process::host`].
    pub(super) fn new(here: Option<String>) -> Self {
        Self { here, gone: HashMap::new() }
    }

    /// Whether `process` is surely dead. False if it lives in a container or on a host that we cannot see into.
    pub(super) fn is_gone(&mut self, process: &Process) -> bool {
        if self.here.as_ref() != Some(&process.host) {
            return false;
        }
        if let Some(gone) = self.gone.get(process) {
            return *gone;
        }
        let gone = look(process);
        self.gone.insert(process.clone(), gone);
        gone
    }
}

fn look(process: &Process) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", process.pid)) {
        // A zombie waits for its parent, not for requests; another start is another process under the same number.
        Ok(text) => Stat::parse(&text).is_some_and(|stat| stat.start != process.start || stat.dead),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// The boot and the pid namespace that give a pid its meaning.
pub(super) fn host() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// What we need of `/proc/<pid>/stat`, see `proc_pid_stat(5)`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    dead: bool,
    start: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may itself contain both parentheses and spaces.
        let (head, tail) = text.rsplit_once(')')?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let mut fields = tail.split_ascii_whitespace();
        let state = fields.next()?;
        // The third field was the state; the 22nd is the start.
        let start = fields.nth(22 - 4)?.parse().ok()?;
        Some(Self { pid, dead: matches!(state, "Z" | "X" | "x"), start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_named_anything() {
        let text = "42 (a) R (b) S 1 42 42 0 -1 4194560 0 0 0 0 1 2 3 4 20 0 1 0 777 1000 0";
        assert_eq!(Stat::parse(text), Some(Stat { pid: 42, dead: false, start: 777 }));
        for text in ["", "42", "42 (x)", "42 (x) S 1", "x (x) S"] {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_living_the_dead_and_the_unknown() {
        let Some(me) = current() else { return };
        let mut census = Census::new(host());
        assert!(!census.is_gone(&me));
        assert!(census.is_gone(&Process { start: me.start + 1, ..me.clone() }), "another process had this number");
        assert!(!census.is_gone(&Process { host: "elsewhere".into(), start: 1, ..me.clone() }));
        assert!(!Census::new(None).is_gone(&Process { start: 1, ..me }));
    }

    #[test]
    fn a_killed_child_is_gone_even_before_its_parent_looked() {
        if current().is_none() {
            return;
        }
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = named(&child.id().to_string()).unwrap();
        assert!(!Census::new(host()).is_gone(&process));
        child.kill().unwrap();
        // Not waited for: it becomes a zombie as soon as the kernel is done with it.
        let zombie = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Census::new(host()).is_gone(&process)
        });
        assert!(zombie);
        child.wait().unwrap();
        assert!(Census::new(host()).is_gone(&process));
    }
}
