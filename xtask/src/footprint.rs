// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench-memory`: what links, connections, pool and buffers take. The figures themselves are
//! `benches/footprint`'s; each runs in processes of its own.

use std::process::Command;

use crate::suite::cargo;
use crate::{Outcome, root};

/// The figures of the program, in the order of the table.
const FIGURES: [&[&str]; 7] =
    [&["idle"], &["logical", "tcp"], &["logical", "http"], &["pool"], &["descriptors"], &["buffers"], &["bridge"]];

/// How the program ends when it measured everything and a goal is missed.
const MISSED: i32 = 3;

/// All figures, or those with one of `words` in their name.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let chosen = |figure: &&[&str]| words.is_empty() || words.iter().any(|word| figure.join(" ").contains(word));
    let figures: Vec<_> = FIGURES.into_iter().filter(|figure| chosen(figure)).collect();
    if figures.is_empty() {
        let names = FIGURES.map(|figure| figure.join(" ")).join(", ");
        return Err(format!("there is no such figure; there are {names}"));
    }
    println!("building benches/footprint");
    crate::steps::run(cargo(&["build", "--quiet", "--release", "--package", "biplane-footprint"]))?;
    let program = root().join("target").join("release").join("biplane-footprint");
    let mut missed = Vec::new();
    for (at, figure) in figures.iter().enumerate() {
        let name = figure.join(" ");
        println!("\n[{}/{}] {name}", at + 1, figures.len());
        let status = Command::new(&program).args(*figure).status();
        let status = status.map_err(|error| format!("{} does not start: {error}", program.display()))?;
        match status.code() {
            Some(0) => {}
            Some(MISSED) => missed.push(name),
            _ => return Err(format!("`{name}` ended with {status}")),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("goals are missed in: {}", missed.join(", "))) }
}
