// SPDX-License-Identifier: Apache-2.0
//! As much of JSON as this chore needs: reading the flat lines of our own programs, and writing the results.

use super::machine::Machine;
use super::results::{Results, Row, median};
use super::verdict::Verdict;

/// The string `name` in a line.
pub(super) fn text(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(text, _)| text.to_owned())
}

/// The strings of the list `name` in a line.
pub(super) fn texts(line: &str, name: &str) -> Vec<String> {
    list(line, name).map(|word| word.trim_matches('"').to_owned()).collect()
}

/// The numbers of the list `name` in a line.
pub(super) fn numbers(line: &str, name: &str) -> Vec<u32> {
    list(line, name).filter_map(|word| word.parse().ok()).collect()
}

fn list<'a>(line: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let inside = line.split_once(&format!("\"{name}\":[")).and_then(|(_, rest)| rest.split_once(']'));
    inside.map(|(inside, _)| inside).unwrap_or_default().split(',').filter(|word| !word.is_empty())
}

/// The number `name` in a line.
pub(super) fn number(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Everything, with each round's figures.
pub(super) fn of(results: &Results, verdicts: &[Verdict], machine: &Machine) -> String {
    let rows: Vec<String> = results.rows.iter().map(row).collect();
    let verdicts: Vec<String> = verdicts.iter().map(|verdict| verdict.line()).collect();
    let strings = |all: &[String]| all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    format!(
        "{{\n  \"machine\": {},\n  \"absent\": [{}],\n  \"remarks\": [{}],\n  \"goals\": [{}],\n  \"rows\": [\n    {}\n  ]\n}}\n",
        quoted(&machine.to_string()),
        strings(&results.absent),
        strings(&results.remarks),
        strings(&verdicts),
        rows.join(",\n    ")
    )
}

fn row(row: &Row) -> String {
    let mut fields = vec![format!(
        "\"cell\": {}, \"contender\": {}, \"ours\": {}",
        quoted(&row.cell),
        quoted(&row.contender),
        row.ours
    )];
    if let Some(why) = &row.failed {
        fields.push(format!("\"failed\": {}", quoted(why)));
    }
    let runs: Vec<String> = row
        .runs
        .iter()
        .map(|run| {
            let (cpu, rate, p50, p99) = (run.cpu_us, run.rate, run.p50_us, run.p99_us);
            format!("{{\"cpu_us\": {cpu:.4}, \"per_second\": {rate:.1}, \"p50_us\": {p50:.2}, \"p99_us\": {p99:.2}}}")
        })
        .collect();
    if !runs.is_empty() {
        let cpu = median(row.runs.iter().map(|run| run.cpu_us)).unwrap_or_default();
        fields.push(format!("\"cpu_us_median\": {cpu:.4}, \"runs\": [{}]", runs.join(", ")));
    }
    let ratios: Vec<String> = row.ratios.iter().map(|ratio| format!("{ratio:.4}")).collect();
    fields.push(format!("\"ratios\": [{}]", ratios.join(", ")));
    let counts = [
        ("syscalls", row.counts.syscalls),
        ("allocations", row.counts.allocations),
        ("allocated_bytes", row.counts.allocated),
        ("user_instructions", row.counts.instructions),
    ];
    fields.extend(counts.iter().filter_map(|(name, count)| Some(format!("\"{name}\": {:.4}", (*count)?))));
    format!("{{{}}}", fields.join(", "))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_programs_are_read() {
        let line =
            r#"{"name":"tcp+tcp","within_process":false,"cells":["a","b"],"processes":[7,8],"cpu_us":1.5,"n":3}"#;
        assert_eq!(text(line, "name").as_deref(), Some("tcp+tcp"));
        assert_eq!(texts(line, "cells"), ["a", "b"]);
        assert_eq!(numbers(line, "processes"), [7, 8]);
        assert_eq!((number(line, "cpu_us"), number(line, "n"), number(line, "m")), (Some(1.5), Some(3.0), None));
        assert_eq!(quoted("a\"\\\n"), r#""a\"\\\n""#);
    }
}
