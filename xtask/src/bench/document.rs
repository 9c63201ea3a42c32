// SPDX-License-Identifier: Apache-2.0
//! `docs/performance.md`: the figures between two marks; the rest of it is written by people.

use std::fs;

use super::machine::Machine;
use super::options::Options;
use super::results::Results;
use super::verdict::{self, Verdict};
use super::{chart, table, write as put};
use crate::{Outcome, root};

const BEGIN: &str = "<!-- figures, by `cargo xtask bench --write-docs` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// `judged` has what was judged, and all that was said of memory.
pub(super) fn write(
    results: &Results,
    cells: &[String],
    judged: (&[Verdict], &str),
    machine: &Machine,
    options: &Options,
) -> Outcome {
    let path = root().join("docs").join("performance.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).ok_or("docs/performance.md has no place for figures")?;
    let (_, after) = rest.split_once(END).ok_or("docs/performance.md has no end of figures")?;
    let memory = match judged.1 {
        "" => String::new(),
        said => format!("\n### Memory, tasks, descriptors, buffers\n\n```text\n{}\n```\n", said.trim()),
    };
    let figures = format!(
        "\nMade by `{}`: {} rounds of {} s each. {machine}.\n\n\
         ### Targets\n\n{}\n\
         ![CPU for each request as a multiple of the floor](performance.svg)\n\n{}{memory}\n",
        options.command,
        options.rounds,
        options.seconds,
        verdict::markdown(judged.0),
        table::markdown(results, cells)
    );
    put(&path, &format!("{before}{BEGIN}{figures}{END}{after}"))?;
    put(&root().join("docs").join("performance.svg"), &chart::of(results, cells))
}
