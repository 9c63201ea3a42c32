// SPDX-License-Identifier: Apache-2.0
//! Failures that are allowed, each with the reason why no gateway could pass: `allowed.txt`. What fails and is not there
//! is an error; what is there and passes is one too, or the list would only ever grow.

use super::table::Row;
use crate::Outcome;

const FILE: &str = include_str!("allowed.txt");

pub(super) struct Allowed {
    lines: Vec<Line>,
}

struct Line {
    way: String,
    suite: String,
    scenario: String,
}

impl Allowed {
    pub(super) fn read() -> Outcome<Self> {
        Self::of(FILE)
    }

    /// `way | suite | scenario | reason` on a line; `#` starts a remark.
    fn of(text: &str) -> Outcome<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = |line: &str| match line.split('|').map(str::trim).collect::<Vec<_>>().as_slice() {
            [way, suite, scenario, reason] if !reason.is_empty() => {
                Ok(Line { way: (*way).to_owned(), suite: (*suite).to_owned(), scenario: (*scenario).to_owned() })
            }
            _ => Err(format!("allowed.txt: `{line}` is not `way | suite | scenario | reason`")),
        };
        Ok(Self { lines: lines.map(line).collect::<Outcome<_>>()? })
    }

    /// What is not as it should be. `whole` says that each suite was run with all its scenarios.
    pub(super) fn faults(&self, rows: &[Row], whole: bool) -> Vec<String> {
        let mut faults = Vec::new();
        for row in rows {
            for (suite, score) in &row.scores {
                let expected = |scenario: &str| {
                    let same = |line: &&Line| line.way == row.way && line.suite == *suite && line.scenario == scenario;
                    self.lines.iter().find(same)
                };
                match score {
                    Err(why) => faults.push(format!("{}, {suite}: {why}", row.way)),
                    Ok(score) => {
                        let unexpected = score.failed.iter().filter(|scenario| expected(scenario).is_none());
                        faults.extend(unexpected.map(|scenario| format!("{}, {suite}: {scenario} fails", row.way)));
                        let here =
                            self.lines.iter().filter(|line| whole && line.way == row.way && line.suite == *suite);
                        let passing = here.filter(|line| !score.failed.contains(&line.scenario));
                        faults.extend(passing.map(|line| {
                            format!("{}, {suite}: {} passes; take it off allowed.txt", row.way, line.scenario)
                        }));
                    }
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::super::suites::Score;
    use super::*;

    #[test]
    fn only_what_is_allowed_may_fail_and_only_while_it_does() {
        let allowed = Allowed::of("# remark\n\nlegacy over stdio | 2026-07-28 | caching | it has no clock\n").unwrap();
        let row = |failed: &[&str]| Row {
            way: "legacy over stdio".to_owned(),
            scores: vec![(
                "2026-07-28",
                Ok(Score {
                    scenarios: 37,
                    failed: failed.iter().map(|name| (*name).to_owned()).collect(),
                    ..Score::default()
                }),
            )],
            took: std::time::Duration::ZERO,
        };
        assert!(allowed.faults(&[row(&["caching"])], true).is_empty());
        assert_eq!(allowed.faults(&[row(&["caching", "ping"])], true), ["legacy over stdio, 2026-07-28: ping fails"]);
        assert_eq!(allowed.faults(&[row(&[])], true).len(), 1);
        assert!(allowed.faults(&[row(&[])], false).is_empty());
        assert!(Allowed::of("a | b | c").is_err(), "a reason is needed");
        assert!(Allowed::read().is_ok());
    }
}
