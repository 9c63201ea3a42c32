// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench-exact`: what the hot paths cost in instructions and allocations, compared with what is recorded in
//! `benches/exact/baseline.json`.

use crate::steps::run as run_command;
use crate::suite::cargo;
use crate::{Outcome, in_ci, tools};

/// Counts and compares; `words` go to the program that counts.
pub(crate) fn run(words: &[&str]) -> Outcome {
    tools::ensure_one("valgrind")?;
    if !tools::has("valgrind") {
        return Err("without valgrind nothing is counted".to_owned());
    }
    count(words)
}

/// As a step of the tests, after their tools were seen to: where one is missing, a line has said so.
pub(crate) fn step() -> Outcome {
    if tools::has("valgrind") || in_ci() {
        return count(&[]);
    }
    println!("  left out: valgrind is missing");
    Ok(())
}

fn count(words: &[&str]) -> Outcome {
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "biplane-exact", "--"]);
    command.args(words);
    run_command(command)
}
