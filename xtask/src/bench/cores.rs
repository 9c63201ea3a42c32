// SPDX-License-Identifier: Apache-2.0
//! What the cores do while a cell is measured. With one request in flight some process always sleeps, and waking it costs
//! several times more on a core that has gone idle, so these cells are measured in three ways. With 64 it sleeps now and
//! then, which for the cheapest requests is still most of what they cost: that cell is measured in two.

use std::path::Path;
use std::process::Command;

use super::contest::Talking;
use crate::{Outcome, tools};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cores {
    /// Left to themselves.
    Idle,
    /// Each of them spins at a priority below all others while it has nothing to do.
    Awake,
    /// All processes on one of them: while one sleeps, another runs.
    One,
}

/// What the name of a cell ends with that is measured in this way.
const ENDS: [(&str, Cores); 2] = [("-awake", Cores::Awake), ("-one-core", Cores::One)];

/// What is needed for it: of util-linux.
const TOOLS: [&str; 2] = ["taskset", "chrt"];

impl Cores {
    /// The program's own name for a cell, and how it is to be measured.
    pub(super) fn of(cell: &str) -> (&str, Self) {
        let found = ENDS.iter().find_map(|(end, cores)| Some((cell.strip_suffix(end)?, *cores)));
        found.unwrap_or((cell, Self::Idle))
    }

    /// Says how it is measured, behind a cell's title.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Idle => "",
            Self::Awake => "; cores kept awake",
            Self::One => "; all on one core",
        }
    }

    /// The program, before its own words.
    pub(super) fn command(self, program: &Path) -> Command {
        match allowed().last() {
            Some(core) if self == Self::One => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &core.to_string()]).arg(program);
                command
            }
            _ => Command::new(program),
        }
    }

    /// What runs meanwhile: it ends when it is dropped, or with this process.
    pub(super) fn spin(self, program: &Path) -> Outcome<Vec<Talking>> {
        let spinner = |core: u32| {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &core.to_string(), "chrt", "--idle", "0"]).arg(program).arg("awake");
            Talking::start(command)
        };
        let cores = if self == Self::Awake { allowed() } else { Vec::new() };
        cores.into_iter().map(spinner).collect()
    }
}

/// The cells of a program, each in the ways that make a difference to it.
pub(super) fn ways(cells: Vec<String>) -> Vec<String> {
    let ends: &[_] = if missing().is_none() { &ENDS } else { &[] };
    let all = |cell: String| {
        let matters = |cores: &Cores| cell.ends_with("x1") || (cell == "unary-128x64" && *cores == Cores::Awake);
        let more = ends.iter().filter(|(_, cores)| matters(cores)).map(|(end, _)| format!("{cell}{end}"));
        let more: Vec<String> = more.collect();
        std::iter::once(cell).chain(more)
    };
    cells.into_iter().flat_map(all).collect()
}

/// What cannot be measured on this machine, and how it could.
pub(super) fn missing() -> Option<String> {
    let missing = TOOLS.iter().find(|tool| !tools::has(tool))?;
    Some(format!(
        "one request in flight is measured on idle cores only: {missing} is missing; get it with: apt-get install util-linux"
    ))
}

/// The cores that this process may run on.
fn allowed() -> Vec<u32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(listed).unwrap_or_default()
}

/// `0-2,5`
fn listed(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how() {
        assert_eq!(Cores::of("unary-128x1"), ("unary-128x1", Cores::Idle));
        assert_eq!(Cores::of("unary-128x1-awake"), ("unary-128x1", Cores::Awake));
        assert_eq!(Cores::of("call-home-x1-one-core"), ("call-home-x1", Cores::One));
        assert_eq!(listed("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(ways(vec!["unary-128x1024".to_owned()]), ["unary-128x1024"]);
    }
}
