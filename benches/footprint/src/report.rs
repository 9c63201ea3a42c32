// SPDX-License-Identifier: Apache-2.0
//! Figures, as they are printed, and how they stand to their goals.

/// The figures of one run.
pub(crate) struct Report {
    missed: usize,
}

impl Report {
    /// Begins with a line that says what is measured.
    pub(crate) fn new(what: &str) -> Self {
        if !what.is_empty() {
            println!("\n{what}");
        }
        Self { missed: 0 }
    }

    /// A figure without a goal.
    pub(crate) fn figure(&mut self, what: &str, is: f64, unit: &str) {
        println!("          {what:<72} {} {unit}", shown(is));
    }

    /// A figure with one.
    pub(crate) fn goal(&mut self, what: &str, is: f64, at_most: f64, unit: &str) {
        let met = is <= at_most;
        self.missed += usize::from(!met);
        let word = if met { "met   " } else { "MISSED" };
        println!("  {word}  {what:<72} {} {unit} (at most {} {unit})", shown(is), shown(at_most).trim_start());
    }

    /// Whether every goal is met.
    pub(crate) fn is_met(&self) -> bool {
        self.missed == 0
    }
}

fn shown(figure: f64) -> String {
    let places = if figure.abs() < 100.0 && figure.fract() != 0.0 { 2 } else { 0 };
    format!("{figure:>10.places$}")
}
