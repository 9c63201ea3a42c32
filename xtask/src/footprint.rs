// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench-memory`: what links, connections, pool and buffers take. The figures themselves are
//! `benches/footprint`'s; each runs in processes of its own.

use std::process::{Command, Stdio};

use crate::suite::cargo;
use crate::{Outcome, root};

/// The figures of the program, in the order of the table.
const FIGURES: [&[&str]; 7] =
    [&["idle"], &["logical", "tcp"], &["logical", "http"], &["pool"], &["descriptors"], &["buffers"], &["bridge"]];

/// How the program ends when it measured everything and a goal is missed.
const MISSED: i32 = 3;

/// All figures, or those with one of `words` in their name.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let missed = measure(words)?.lines().filter_map(judged).filter(|(_, met)| !met).count();
    if missed == 0 { Ok(()) } else { Err(format!("{missed} goals are missed")) }
}

/// The same, and all that was said.
pub(crate) fn measure(words: &[&str]) -> Outcome<String> {
    let chosen = |figure: &&[&str]| words.is_empty() || words.iter().any(|word| figure.join(" ").contains(word));
    let figures: Vec<_> = FIGURES.into_iter().filter(|figure| chosen(figure)).collect();
    if figures.is_empty() {
        let names = FIGURES.map(|figure| figure.join(" ")).join(", ");
        return Err(format!("there is no such figure; there are {names}"));
    }
    println!("building benches/footprint");
    crate::steps::run(cargo(&["build", "--quiet", "--release", "--package", "biplane-footprint"]))?;
    let program = root().join("target").join("release").join("biplane-footprint");
    let mut all = String::new();
    for (at, figure) in figures.iter().enumerate() {
        let name = figure.join(" ");
        println!("\n[{}/{}] {name}", at + 1, figures.len());
        let said = Command::new(&program).args(*figure).stderr(Stdio::inherit()).output();
        let said = said.map_err(|error| format!("{} does not start: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&said.stdout);
        print!("{text}");
        all.push_str(&text);
        if !matches!(said.status.code(), Some(0 | MISSED)) {
            return Err(format!("`{name}` ended with {}", said.status));
        }
    }
    Ok(all)
}

/// A line with a goal: what comes after the word, and whether it is met.
pub(crate) fn judged(line: &str) -> Option<(&str, bool)> {
    let line = line.trim_start();
    let met = line.strip_prefix("met ").map(|rest| (rest, true));
    met.or_else(|| line.strip_prefix("MISSED ").map(|rest| (rest, false)))
}
