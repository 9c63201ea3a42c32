// SPDX-License-Identifier: Apache-2.0
//! What we want to reach, and how far we are. A figure that stands in a relation to another's is put into it round by round.

use super::results::{Results, Row, Run, median};

/// A figure of a contender in a cell, for each round.
enum Figure {
    Cpu,
    P50,
    P99,
    /// Counted once; for each item of a stream.
    SyscallsOfItem,
}

struct Goal {
    contender: &'static str,
    cell: &'static str,
    figure: Figure,
    /// Whose same figure is the measure; nobody, where the figure stands for itself.
    to: Option<&'static str>,
    at_most: f64,
}

const fn goal(contender: &'static str, cell: &'static str, to: &'static str, at_most: f64) -> Goal {
    Goal { contender, cell, figure: Figure::Cpu, to: Some(to), at_most }
}

const GOALS: &[Goal] = &[
    goal("tcp+tcp", "unary-128x64", "floor", 2.0),
    goal("tcp+tcp", "unary-128x64", "tonic", 1.0 / 15.0),
    goal("tcp+tcp", "unary-128x1024", "floor", 2.0),
    goal("tcp+tcp", "unary-128x1", "ping-pong", 1.15),
    Goal { figure: Figure::P50, ..goal("tcp+tcp", "unary-128x1", "ping-pong", 1.15) },
    goal("tcp+tcp", "unary-16Kx64", "floor", 1.2),
    goal("tcp+tcp", "stream-ready", "floor", 1.5),
    goal("tcp+tcp", "stream-ready", "tonic", 0.1),
    goal("tcp+tcp", "stream-paced", "floor", 1.5),
    Goal { figure: Figure::SyscallsOfItem, to: None, ..goal("tcp+tcp", "stream-paced", "", 0.06) },
    goal("http+http", "unary-128x64", "hyper-h2", 1.15),
    goal("http+http", "stream-ready", "hyper-h2", 0.25),
    goal("ws", "unary-128x64", "floor", 2.5),
    Goal { figure: Figure::P50, ..goal("http+tcp", "unary-128x1", "http+tcp-unpooled", 0.2) },
    Goal { figure: Figure::P99, ..goal("http+tcp", "unary-128x1", "http+tcp-unpooled", 0.2) },
    Goal { figure: Figure::P50, ..goal("nats+tcp", "unary-128x1", "nats+tcp-unpooled", 0.2) },
    Goal { figure: Figure::P99, ..goal("nats+tcp", "unary-128x1", "nats+tcp-unpooled", 0.2) },
];

/// A line for each goal whose figures are there.
pub(super) fn lines(results: &Results) -> Vec<String> {
    GOALS.iter().filter_map(|goal| goal.line(results)).collect()
}

impl Goal {
    fn line(&self, results: &Results) -> Option<String> {
        let row = |name: &str| results.of_cell(self.cell).find(|row| row.contender == name);
        let own = self.figures(row(self.contender)?);
        let (is, unit, to) = match self.to {
            Some(to) => {
                let other = self.figures(row(to)?);
                (median(own.iter().zip(&other).map(|(own, other)| own / other))?, "x", format!(" to {to}"))
            }
            None => (median(own.into_iter())?, "", String::new()),
        };
        let word = if is <= self.at_most { "met   " } else { "MISSED" };
        let (name, cell, figure, most) = (self.contender, self.cell, self.figure.name(), self.at_most);
        Some(format!("{word}  {name} {cell}, {figure}{to}: {is:.3}{unit} (at most {most:.3}{unit})"))
    }

    fn figures(&self, row: &Row) -> Vec<f64> {
        let of = |figure: fn(&Run) -> f64| row.runs.iter().map(figure).collect();
        match self.figure {
            Figure::Cpu => of(|run| run.cpu_us),
            Figure::P50 => of(|run| run.p50_us),
            Figure::P99 => of(|run| run.p99_us),
            Figure::SyscallsOfItem => row.counts.syscalls.map(|calls| calls / 100.0).into_iter().collect(),
        }
    }
}

impl Figure {
    fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::SyscallsOfItem => "system calls for an item",
        }
    }
}
