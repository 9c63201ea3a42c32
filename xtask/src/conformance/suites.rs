// SPDX-License-Identifier: Apache-2.0
//! The suites: how each is run, and how its report is read.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use crate::process::output;
use crate::{Outcome, peers};

/// A suite takes three seconds; one that hangs is ended and says so.
const LIMIT: Duration = Duration::from_secs(180);

/// One column.
pub(super) struct Suite {
    pub(super) name: &'static str,
    package: &'static str,
    requirements: Option<&'static str>,
    /// How many scenarios count: a run with fewer was cut short.
    scenarios: usize,
}

pub(super) const SUITES: &[Suite] = &[
    Suite { name: "0.1.16", package: "conformance-0.1", requirements: None, scenarios: 30 },
    Suite { name: "2025-11-25", package: "conformance-0.2", requirements: Some("2025-11-25"), scenarios: 30 },
    Suite { name: "2026-07-28", package: "conformance-0.2", requirements: Some("2026-07-28"), scenarios: 37 },
];

/// What came of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) scenarios: usize,
    /// Those that failed, in the suite's order.
    pub(super) failed: Vec<String>,
    /// Run and failed, and not counted by the suite: extensions, and what its own reference cannot do yet.
    pub(super) not_scored: Vec<String>,
}

impl Suite {
    pub(super) fn run(&self, url: &str, way: &str, scenario: Option<&str>) -> Outcome<Score> {
        let reports = peers::folder().join("reports").join(way.replace(' ', "-")).join(self.name);
        // The reports of the last run would be mixed with those of this one.
        let _ = std::fs::remove_dir_all(&reports);
        let mut command = Command::new(peers::node());
        command.arg(peers::modules().join(self.package).join("dist").join("index.js"));
        command.args(["server", "--url", url, "-o"]).arg(&reports);
        match (scenario, self.requirements) {
            (Some(scenario), _) => command.args(["--scenario", scenario]),
            (None, Some(revision)) => command.args(["--requirements", revision]),
            (None, None) => &mut command,
        };
        if let (Some(_), Some(revision)) = (scenario, self.requirements) {
            command.args(["--spec-version", revision]);
        }
        // A proxy of the machine has nothing to do with a server on this host.
        command.env("NO_PROXY", "127.0.0.1,localhost").env("FORCE_COLOR", "0");
        let text = output(command, LIMIT)?;
        if let Some(scenario) = scenario {
            println!("{text}");
            return Ok(Score { scenarios: 1, failed: one(&text, scenario), not_scored: Vec::new() });
        }
        let score = read(&text);
        if score.scenarios < self.scenarios {
            let end: Vec<_> = text.lines().rev().take(5).collect();
            let end: Vec<_> = end.into_iter().rev().collect();
            return Err(format!("{} of {} scenarios were run; {}", score.scenarios, self.scenarios, end.join(" | ")));
        }
        Ok(score)
    }
}

fn one(text: &str, scenario: &str) -> Vec<String> {
    let passed = text.lines().any(|line| line.contains("Passed:") && line.contains(" 0 failed"));
    if passed { Vec::new() } else { vec![scenario.to_owned()] }
}

/// Reads `✓ name: 2 passed, 0 failed` of the summary, and the names under `Not scored` after it.
fn read(text: &str) -> Score {
    let lines = || text.lines().map(strip);
    let outside: BTreeSet<&str> = lines()
        .skip_while(|line| !line.starts_with("Not scored"))
        .filter_map(|line| Some(marked(line.trim_start())?.1.split(" (").next()?.trim()))
        .collect();
    let mut score = Score::default();
    for (passed, rest) in lines().filter_map(marked) {
        let Some((name, counts)) = rest.split_once(": ") else { continue };
        if !counts.contains(" passed, ") {
            continue;
        }
        match (outside.contains(name), passed) {
            (true, true) => {}
            (true, false) => score.not_scored.push(name.to_owned()),
            (false, true) => score.scenarios += 1,
            (false, false) => {
                score.scenarios += 1;
                score.failed.push(name.to_owned());
            }
        }
    }
    score
}

/// What follows the mark of success or failure at the start of a line.
fn marked(line: &str) -> Option<(bool, &str)> {
    let good = line.strip_prefix("✓ ").map(|rest| (true, rest));
    good.or_else(|| line.strip_prefix("✗ ").map(|rest| (false, rest)))
}

/// A line without what colours it.
fn strip(line: &str) -> &str {
    line.trim_end_matches("\u{1b}[0m").trim_start_matches("\u{1b}[32m").trim_start_matches("\u{1b}[31m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = "Running scenario: ping\n✓ not this\n=== SUMMARY ===\n✓ ping: 2 passed, 0 failed\n✗ tools-list: 1 passed, 2 failed\n\
                    ✗ tasks-lifecycle: 1 passed, 8 failed\n✓ skipped: 0 passed, 0 failed\n\nTotal: 3 passed, 10 failed\n\n\
                    Not scored for 2026-07-28: 2 scenario(s) run, 1 failing.\n  ✗ tasks-lifecycle (extension)\n  ✓ skipped (pending)\n";
        let score = read(text);
        assert_eq!(score.scenarios, 2);
        assert_eq!(score.failed, ["tools-list"]);
        assert_eq!(score.not_scored, ["tasks-lifecycle"]);
        assert_eq!(read("a crash"), Score::default());
    }
}
