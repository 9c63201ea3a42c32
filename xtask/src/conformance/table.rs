// SPDX-License-Identifier: Apache-2.0
//! The results: a table for people, JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use super::suites::{SUITES, Score};
use crate::Outcome;

/// What came of one way.
pub(super) struct Row {
    pub(super) way: String,
    pub(super) scores: Vec<(&'static str, Outcome<Score>)>,
    pub(super) took: Duration,
}

impl Row {
    /// The row on one line, for progress.
    pub(super) fn line(&self) -> String {
        let cells: Vec<_> = self.scores.iter().map(|(suite, score)| format!("{suite} {}", cell(score))).collect();
        format!("{}: {} ({:.1} s)", self.way, cells.join(", "), self.took.as_secs_f64())
    }
}

/// `n/m`, or that there is none.
fn cell(score: &Outcome<Score>) -> String {
    match score {
        Ok(score) => format!("{}/{}", score.scenarios - score.failed.len(), score.scenarios),
        Err(_) => "no result".to_owned(),
    }
}

/// A row for each way, a column for each suite; below it the names of what failed.
pub(super) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let width = rows.iter().map(|row| row.way.len()).max().unwrap_or(0);
    let _ = write!(text, "{:width$}", "");
    for suite in SUITES {
        let _ = write!(text, "  {:>10}", suite.name);
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:width$}", row.way);
        for suite in SUITES {
            let score = row.scores.iter().find(|(name, _)| *name == suite.name);
            let _ = write!(text, "  {:>10}", score.map_or_else(|| "-".to_owned(), |(_, score)| cell(score)));
        }
        text.push('\n');
    }
    for row in rows {
        for (suite, score) in &row.scores {
            match score {
                Ok(score) if score.failed.is_empty() => {}
                Ok(score) => drop(writeln!(text, "  {}, {suite}: {}", row.way, score.failed.join(", "))),
                Err(why) => drop(writeln!(text, "  {}, {suite}: {why}", row.way)),
            }
        }
    }
    text
}

/// One object for each cell.
pub(super) fn json(rows: &[Row]) -> String {
    let mut cells = Vec::new();
    for row in rows {
        for (suite, score) in &row.scores {
            let (way, suite) = (quoted(&row.way), quoted(suite));
            cells.push(match score {
                Ok(score) => format!(
                    r#"{{"upstream":{way},"suite":{suite},"scenarios":{},"failed":{},"not_scored":{}}}"#,
                    score.scenarios,
                    list(&score.failed),
                    list(&score.not_scored)
                ),
                Err(why) => format!(r#"{{"upstream":{way},"suite":{suite},"error":{}}}"#, quoted(why)),
            });
        }
    }
    format!("[{}]\n", cells.join(",\n"))
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(","))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let score = Score { scenarios: 30, failed: vec!["ping".to_owned()], not_scored: Vec::new() };
        let scores = vec![("0.1.16", Ok(score)), ("2026-07-28", Err("it \"broke\"\n".to_owned()))];
        vec![Row { way: "dual over stdio".to_owned(), scores, took: Duration::from_secs(1) }]
    }

    #[test]
    fn the_table_names_what_failed() {
        let text = text(&rows());
        assert!(text.contains("       29/30") && text.contains("no result") && text.contains("           -"), "{text}");
        assert!(text.contains("dual over stdio, 0.1.16: ping"), "{text}");
    }

    #[test]
    fn text_is_quoted_for_json() {
        let json = json(&rows());
        assert!(json.contains(r#""failed":["ping"]"#) && json.contains(r#""error":"it \"broke\"\u000a""#), "{json}");
    }
}
