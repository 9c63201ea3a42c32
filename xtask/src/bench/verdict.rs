// SPDX-License-Identifier: Apache-2.0
//! What was reached of what we want, whoever measured it.

use std::process::Stdio;

use crate::footprint;
use crate::suite::cargo;

/// A figure and its target.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) what: String,
    pub(super) is: String,
    /// A part of another figure has none.
    pub(super) at_most: Option<String>,
    pub(super) met: bool,
}

impl Verdict {
    fn word(&self) -> &'static str {
        match (&self.at_most, self.met) {
            (None, _) => "",
            (Some(_), true) => "met",
            (Some(_), false) => "MISSED",
        }
    }

    /// For a terminal.
    pub(super) fn line(&self) -> String {
        let most = self.at_most.as_ref().map(|most| format!(" (at most {most})")).unwrap_or_default();
        format!("{:6}  {}: {}{most}", self.word(), self.what, self.is)
    }
}

/// For Markdown.
pub(super) fn markdown(verdicts: &[Verdict]) -> String {
    let mut out = "| figure | at most | reached | |\n|---|--:|--:|---|\n".to_owned();
    for verdict in verdicts {
        let most = verdict.at_most.as_deref().unwrap_or_default();
        out.push_str(&format!("| {} | {most} | {} | {} |\n", verdict.what, verdict.is, verdict.word()));
    }
    out
}

/// What `bench-exact` counts of an operation: its place in a line, and its unit.
type Count = (usize, &'static str);
const INSTRUCTIONS: Count = (1, "instructions");
const ALLOCATIONS: Count = (2, "allocations");
const NANOSECONDS: Count = (5, "ns");

/// Cases of `bench-exact`, in words, and what they may take; those that explain another may take what they take.
const EXACT: [(&str, &str, Count, Option<f64>); 10] = [
    ("pool", "pool checkout and return", NANOSECONDS, Some(100.0)),
    ("pool", "pool checkout and return", INSTRUCTIONS, Some(150.0)),
    ("pool", "pool checkout and return", ALLOCATIONS, Some(0.0)),
    ("pool-take", "lease on a link that is shared: taken", NANOSECONDS, Some(25.0)),
    ("pool-give-back", "lease on a link that is shared: given back", NANOSECONDS, None),
    ("pool-lease", "lease on a link that is shared: taken and given back", NANOSECONDS, None),
    ("envelope", "envelope of 300 B: id and method, another id", INSTRUCTIONS, Some(1000.0)),
    ("envelope", "envelope of 300 B: id and method, another id", ALLOCATIONS, Some(0.0)),
    ("connect-url", "connection of a URL that was called before", NANOSECONDS, Some(100.0)),
    ("connect-url", "connection of a URL that was called before", ALLOCATIONS, Some(1.0)),
];

/// The hot paths that have targets, by `bench-exact`. What cannot be counted is left out.
pub(super) fn exact() -> Vec<Verdict> {
    let mut said = String::new();
    for case in ["pool", "envelope", "connect-url"] {
        let words = ["run", "--quiet", "--release", "--package", "biplane-exact", "--", "--only", case];
        // That it differs from the baseline is the business of `bench-exact`.
        if let Ok(output) = cargo(&words).stderr(Stdio::null()).output() {
            said.push_str(&String::from_utf8_lossy(&output.stdout));
        }
    }
    of_exact(&said)
}

fn of_exact(said: &str) -> Vec<Verdict> {
    let verdict = |(case, words, (column, unit), most): (&str, &str, Count, Option<f64>)| {
        let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|line| line.first() == Some(&case))?;
        let is: f64 = line.get(column)?.parse().ok()?;
        let shown = |figure: f64| format!("{figure} {unit}");
        let met = most.is_none_or(|most| is <= most);
        Some(Verdict { what: words.to_owned(), is: shown(is), at_most: most.map(shown), met })
    };
    EXACT.into_iter().filter_map(verdict).collect()
}

/// Those of the figures of `bench-memory` that have a target.
pub(super) fn of_memory(said: &str) -> Vec<Verdict> {
    let mut title = "";
    let mut verdicts = Vec::new();
    for line in said.lines() {
        let Some((rest, met)) = footprint::judged(line) else {
            if !line.starts_with(' ') && !line.is_empty() {
                title = line;
            }
            continue;
        };
        let parts = rest.trim_end_matches(')').split_once(" (at most ");
        let Some((figure, most)) = parts else { continue };
        let Some((what, is)) = figure.trim_end().rsplit_once("  ") else { continue };
        let (what, most) = (format!("{title}: {}", what.trim()), most.trim().to_owned());
        verdicts.push(Verdict { what, is: is.trim().to_owned(), at_most: Some(most), met });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_chores_are_read() {
        let exact =
            of_exact("per operation  …\npool-by-key 981.0 0.00 0.00 0.000 99\npool 149.0 0.00 0.00 0.000 101  same\n");
        let shown: Vec<String> = exact.iter().map(Verdict::line).collect();
        assert_eq!(
            shown,
            [
                "MISSED  pool checkout and return: 101 ns (at most 100 ns)",
                "met     pool checkout and return: 149 instructions (at most 150 instructions)",
                "met     pool checkout and return: 0 allocations (at most 0 allocations)",
            ]
        );
        let memory = of_memory(
            "\n10 idle links\n          server: other   7 B\n  MISSED  server: RSS of each        9466 B (at most 1536 B)\n",
        );
        let expected = Verdict {
            what: "10 idle links: server: RSS of each".to_owned(),
            is: "9466 B".to_owned(),
            at_most: Some("1536 B".to_owned()),
            met: false,
        };
        assert_eq!(memory, [expected]);
    }
}
