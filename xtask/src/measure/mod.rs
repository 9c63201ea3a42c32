// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask gateway-memory` and `gateway-bench`: what the gateway costs. Measurements, not tests: they are only worth
//! something on a machine that does nothing else, and say themselves how they stand to their goals.

mod bench;
mod bridges;
mod load;
mod memory;
mod usage;

pub(crate) use bench::run as bench;
pub(crate) use memory::run as memory;

use crate::Outcome;

/// A figure that has a goal.
struct Goal {
    what: String,
    is: f64,
    at_most: f64,
    unit: &'static str,
}

/// Prints each with its goal; fails if one is missed.
fn judge(goals: &[Goal]) -> Outcome {
    println!();
    let mut missed = 0;
    for Goal { what, is, at_most, unit } in goals {
        let word = if is <= at_most { "met   " } else { "MISSED" };
        missed += usize::from(is > at_most);
        println!("  {word}  {what}: {is:.2} {unit} (at most {at_most} {unit})");
    }
    if missed == 0 { Ok(()) } else { Err(format!("{missed} of {} goals are missed", goals.len())) }
}
