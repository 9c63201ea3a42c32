// SPDX-License-Identifier: Apache-2.0
//! A table for each cell: for a terminal, and for a document.

use super::cores::Cores;
use super::results::{Results, Row, median, span};

const HEADS: [&str; 10] = [
    "",
    "CPU us",
    "min-max",
    "to the floor",
    "per second",
    "p50 us",
    "p99 us",
    "syscalls",
    "allocations",
    "user instructions",
];

/// Columns of figures, aligned.
pub(super) fn plain(results: &Results, cells: &[String]) -> String {
    let mut out = String::new();
    for cell in cells {
        let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
        lines.extend(results.of_cell(cell).map(figures));
        let shown = shown(&lines);
        let widths: Vec<usize> =
            shown.iter().map(|at| lines.iter().map(|line| line[*at].chars().count()).max().unwrap_or(0)).collect();
        out.push_str(&format!("{}\n", title(cell)));
        for line in &lines {
            let columns = shown.iter().zip(&widths).map(|(at, width)| match at {
                0 => format!("  {:width$}", line[*at]),
                _ => format!("{:>width$}", line[*at]),
            });
            out.push_str(columns.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    for remark in remarks(results) {
        out.push_str(&format!("  {remark}\n"));
    }
    out
}

/// The same for Markdown.
pub(super) fn markdown(results: &Results, cells: &[String]) -> String {
    let mut out = String::new();
    for cell in cells {
        let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
        lines.extend(results.of_cell(cell).filter(|row| row.failed.is_none()).map(figures));
        let shown = shown(&lines);
        out.push_str(&format!("### {}\n\n", title(cell)));
        for (at, line) in lines.iter().enumerate() {
            let columns: Vec<&str> = shown.iter().map(|column| line[*column].as_str()).collect();
            out.push_str(&format!("| {} |\n", columns.join(" | ")));
            if at == 0 {
                out.push_str(&format!("|---|{}\n", "--:|".repeat(shown.len() - 1)));
            }
        }
        out.push('\n');
    }
    let remarks = remarks(results);
    for remark in &remarks {
        out.push_str(&format!("- {remark}\n"));
    }
    out
}

/// Columns that have a figure in them.
fn shown(lines: &[Vec<String>]) -> Vec<usize> {
    let filled = |at: &usize| *at == 0 || lines.iter().skip(1).any(|line| !line[*at].is_empty());
    (0..HEADS.len()).filter(filled).collect()
}

fn figures(row: &Row) -> Vec<String> {
    let middle = |figure: fn(&super::results::Run) -> f64| median(row.runs.iter().map(figure));
    let written = |figure: Option<f64>| figure.map(significant).unwrap_or_default();
    let fixed = |figure: Option<f64>, digits: usize| figure.map(|f| format!("{f:.digits$}")).unwrap_or_default();
    let name = if row.failed.is_some() { format!("{} (failed)", row.contender) } else { row.contender.clone() };
    let ratio = median(row.ratios.iter().copied()).map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
    let ends = span(row.runs.iter().map(|run| run.cpu_us));
    vec![
        name,
        written(middle(|run| run.cpu_us)),
        ends.map(|(low, high)| format!("{}-{}", significant(low), significant(high))).unwrap_or_default(),
        ratio,
        fixed(middle(|run| run.rate), 0),
        fixed(middle(|run| run.p50_us), 1),
        fixed(middle(|run| run.p99_us), 1),
        fixed(row.counts.syscalls, 3),
        fixed(row.counts.allocations, 2),
        fixed(row.counts.instructions, 0),
    ]
}

/// Three digits, or as many as stand before the point.
fn significant(figure: f64) -> String {
    match figure {
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

/// A cell in words.
pub(super) fn title(cell: &str) -> String {
    let (cell, cores) = Cores::of(cell);
    let words = match cell {
        "unary-128x1" => "Unary, 128 bytes, one in flight",
        "unary-128x64" => "Unary, 128 bytes, 64 in flight",
        "unary-128x1024" => "Unary, 128 bytes, 1024 in flight",
        "unary-16Kx64" => "Unary, 16 KiB, 64 in flight",
        "stream-ready" => "Streams of 100 items of 64 bytes, all ready at once, 64 streams",
        "stream-paced" => "Streams of 100 items of 64 bytes, one for each turn of the scheduler, 64 streams",
        "call-home-x1" => "Answers that call home, one in flight, their way alone timed, the CPU the whole request's",
        "call-home-x64" => "Answers that call home, 64 in flight, timed alike",
        other => other,
    };
    format!("{words}{}", cores.words())
}

fn remarks(results: &Results) -> Vec<String> {
    let failed = results
        .rows
        .iter()
        .filter_map(|row| row.failed.as_ref().map(|why| format!("{} in {} failed: {why}", row.contender, row.cell)));
    let absent = results.absent.iter().map(|absent| format!("not taking part: {absent}"));
    failed.chain(absent).chain(results.remarks.iter().cloned()).collect()
}
