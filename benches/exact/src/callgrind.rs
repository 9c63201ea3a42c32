// SPDX-License-Identifier: Apache-2.0
//! One case under callgrind, and what its file says.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::{Outcome, cases};

/// The function that is counted, with all that it calls. It is not inlined, and called once.
const COUNTED: &str = "biplane_exact::cases::measured";

/// A call of these is an allocation, whoever makes it. `realloc` is one too: it may move what it enlarges.
const ALLOCATE: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];
/// The clock costs more than its instructions say. What others than the standard library read is not ours.
const CLOCK: [&str; 1] = ["<std::sys::pal::unix::time::Timespec>::now"];
/// What a socket and its readiness take.
const SYSTEM: [&str; 11] =
    ["epoll_wait", "epoll_ctl", "read", "readv", "recv", "recvmsg", "write", "writev", "send", "sendmsg", "syscall"];

/// Per operation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    pub(crate) clock_readings: f64,
    pub(crate) system_calls: f64,
    /// By the clock of this machine at this moment: to have an idea, never compared.
    #[serde(skip)]
    pub(crate) nanoseconds: f64,
}

impl Count {
    pub(crate) const HEAD: &str = "per operation           instructions  allocations  clock  syscalls        ns";

    pub(crate) fn line(&self, name: &str) -> String {
        let Self { instructions, allocations, clock_readings, system_calls, nanoseconds } = self;
        format!(
            "{name:24} {instructions:>11.1} {allocations:>12.2} {clock_readings:>6.2} {system_calls:>9.3} {nanoseconds:>9.0}"
        )
    }
}

/// Counts `name`. A profile of what was counted goes to the folder `keep`, if that is given.
pub(crate) fn count(name: &str, keep: Option<&Path>) -> Outcome<Count> {
    let program =
        std::env::current_exe().map_err(|error| format!("this program does not know where it is: {error}"))?;
    let nanoseconds = plain(&program, name)?;
    let file = std::env::temp_dir().join(format!("biplane-exact.{}", std::process::id()));
    let counted = |words| {
        callgrind(&program, words, &file, &[])?;
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let _ = std::fs::remove_file(&file);
        Ok::<_, String>(Counted::read(&text))
    };
    let whole = counted(["run", name])?;
    let beside = counted(["prepare", name])?;
    if whole.instructions == 0.0 {
        return Err(format!("callgrind saw nothing of {name}; was the program stripped of its names?"));
    }
    if let Some(folder) = keep {
        callgrind(
            &program,
            ["run", name],
            &folder.join(format!("callgrind.{name}")),
            &[&format!("--toggle-collect={COUNTED}")],
        )?;
    }
    let operations = f64::from(cases::operations(name)?);
    let per_operation = |all: f64, beside: f64| ((all - beside) / operations * 1000.0).round().max(0.0) / 1000.0;
    let calls = |of: &[&str]| per_operation(whole.calls(of), beside.calls(of));
    Ok(Count {
        instructions: per_operation(whole.instructions, beside.instructions),
        allocations: calls(&ALLOCATE),
        clock_readings: calls(&CLOCK),
        system_calls: calls(&SYSTEM),
        nanoseconds,
    })
}

/// Without callgrind, the best of three.
fn plain(program: &Path, name: &str) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let said = Command::new(program).args(["run", name]).stderr(Stdio::inherit()).output();
        let said = said.map_err(|error| format!("{name} does not start: {error}"))?;
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        best = best.min(text.parse().map_err(|_| format!("{name} ended with {} and said {text:?}", said.status))?);
    }
    Ok(best)
}

/// Runs the program under callgrind.
fn callgrind(program: &Path, words: [&str; 2], file: &Path, more: &[&str]) -> Outcome {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]).args(more).arg(format!("--callgrind-out-file={}", file.display()));
    let status = command.arg(program).args(words).stdout(Stdio::null()).status().map_err(|error| {
        format!("valgrind, which counts instructions, does not start ({error}); get it with: apt-get install valgrind")
    })?;
    if status.success() { Ok(()) } else { Err(format!("`{}` under valgrind ended with {status}", words.join(" "))) }
}

/// A file of callgrind's, as far as it matters here: <https://valgrind.org/docs/manual/cl-format.html>.
#[derive(Default)]
struct Counted {
    /// Within the function that is counted.
    instructions: f64,
    /// In the whole program, by the name of the function that was called, without the version of its symbol.
    calls: HashMap<String, f64>,
}

impl Counted {
    fn calls(&self, of: &[&str]) -> f64 {
        of.iter().filter_map(|name| self.calls.get(*name)).sum()
    }

    fn read(text: &str) -> Self {
        let mut counted = Self::default();
        // A name stands where its number is first used, be it as a caller or as one who is called.
        let mut names: HashMap<&str, &str> = HashMap::new();
        let mut called = "";
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
                let (number, name) = rest.split_once(' ').unwrap_or((rest, ""));
                if !name.is_empty() {
                    names.insert(number, name);
                }
                called = names.get(number).copied().unwrap_or_default();
            } else if let Some(rest) = line.strip_prefix("calls=") {
                let name = called.split(['@', '\'']).next().unwrap_or_default();
                let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
                *counted.calls.entry(name.to_owned()).or_default() += number(rest.split(' ').next());
                // The next line has what the calls took altogether.
                let took = number(lines.next().and_then(|line| line.split(' ').nth(1)));
                if name == COUNTED {
                    counted.instructions += took;
                }
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_summed_by_the_name_of_the_called() {
        let counted = Counted::read(
            "fn=(1) caller\n16 400\ncfn=(5) biplane_exact::cases::measured\ncalls=1 0\n16 158\n\
             cfn=(2) malloc@@GLIBC_2.2.5\ncalls=3 0\n16 90\ncfn=(3) other\ncalls=1 0\n+1 7\n\
             fn=(4) second\n1 1\ncfn=(2)\ncalls=2 0\n1 60\n\ntotals: 558\n",
        );
        assert_eq!(counted.instructions, 158.0);
        assert_eq!(counted.calls["malloc"], 5.0);
        assert_eq!(counted.calls["other"], 1.0);
    }
}
