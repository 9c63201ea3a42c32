// SPDX-License-Identifier: Apache-2.0
//! What came of it.

use std::fmt;

use super::programs::Contender;

/// One run of one cell.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Of client, server and whoever works for them, for each request.
    pub(super) cpu_us: f64,
    /// Requests in a second.
    pub(super) rate: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What is counted rather than timed; for each request, of both sides.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) syscalls: Option<f64>,
    pub(super) allocations: Option<f64>,
    pub(super) allocated: Option<f64>,
    pub(super) instructions: Option<f64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.syscalls, 3, "syscalls"),
            (self.allocations, 2, "allocations"),
            (self.instructions, 0, "user instructions"),
        ];
        let said: Vec<String> =
            all.iter().filter_map(|(count, digits, of)| Some(format!("{:.digits$} {of}", (*count)?))).collect();
        f.write_str(&said.join(", "))
    }
}

/// A contender in a cell.
pub(super) struct Row {
    pub(super) contender: String,
    pub(super) cell: String,
    pub(super) ours: bool,
    pub(super) runs: Vec<Run>,
    /// To the floor, as it was measured next to the run.
    pub(super) ratios: Vec<f64>,
    pub(super) counts: Counts,
    pub(super) failed: Option<String>,
}

impl Row {
    /// Keeps a run, and says what it was.
    pub(super) fn take(&mut self, run: Run, floor: Option<f64>) -> String {
        self.runs.push(run);
        let ratio = floor.filter(|floor| *floor > 0.0).map(|floor| run.cpu_us / floor);
        self.ratios.extend(ratio);
        let ratio = ratio.map(|ratio| format!("{ratio:8.2}x")).unwrap_or_default();
        format!("{:10.2} us CPU {ratio}  {:9.0}/s", run.cpu_us, run.rate)
    }

    /// It is not tried again.
    pub(super) fn fail(&mut self, why: String) -> String {
        let said = format!("failed: {why}");
        self.failed = Some(why);
        said
    }
}

#[derive(Default)]
pub(super) struct Results {
    pub(super) rows: Vec<Row>,
    /// Who does not take part at all.
    pub(super) absent: Vec<String>,
    /// What is not counted, and why.
    pub(super) remarks: Vec<String>,
}

impl Results {
    pub(super) fn new(absent: Vec<String>) -> Self {
        Self { absent, ..Self::default() }
    }

    pub(super) fn add(&mut self, contender: &Contender, cell: &str) {
        self.rows.push(Row {
            contender: contender.name.clone(),
            cell: cell.to_owned(),
            ours: contender.ours,
            runs: Vec::new(),
            ratios: Vec::new(),
            counts: Counts::default(),
            failed: None,
        });
    }

    /// The row that [`add`](Self::add) made.
    pub(super) fn row(&mut self, contender: &Contender, cell: &str) -> &mut Row {
        let is = |row: &Row| row.contender == contender.name && row.cell == cell;
        if !self.rows.iter().any(is) {
            self.add(contender, cell);
        }
        let at = self.rows.iter().position(is).unwrap_or_default();
        &mut self.rows[at]
    }

    pub(super) fn of_cell<'a>(&'a self, cell: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.cell == cell)
    }
}

pub(super) fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let upper = figures.get(figures.len() / 2)?;
    let lower = figures.get((figures.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}

/// The smallest and the largest.
pub(super) fn span(figures: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((figures.clone().min_by(f64::total_cmp)?, figures.max_by(f64::total_cmp)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
        assert_eq!(span([3.0, 1.0, 2.0].into_iter()), Some((1.0, 3.0)));
    }
}
