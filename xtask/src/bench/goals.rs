// SPDX-License-Identifier: Apache-2.0
//! What we want to reach, and how far we are. A figure that stands in a relation to another's is put into it round by round.

use super::results::{Results, Row, Run, median};
use super::verdict::Verdict;

/// A figure of a contender in a cell, for each round.
#[derive(Clone, Copy)]
enum Figure {
    Cpu,
    P50,
    P99,
    /// Counted once; for each item of a stream.
    SyscallsOfItem,
}

/// What is judged of it.
#[derive(Clone, Copy)]
enum Relation {
    Itself,
    /// As a multiple of the same figure of that contender.
    Times(&'static str),
    /// What it has above that contender's.
    Above(&'static str),
    /// The same, shared by client and server.
    AboveForASide(&'static str),
}

struct Goal {
    contender: &'static str,
    cell: &'static str,
    figure: Figure,
    relation: Relation,
    /// A part of another goal has none of its own.
    at_most: Option<f64>,
}

const fn goal(contender: &'static str, cell: &'static str, relation: Relation, at_most: f64) -> Goal {
    Goal { contender, cell, figure: Figure::Cpu, relation, at_most: Some(at_most) }
}

const fn part(contender: &'static str, cell: &'static str, relation: Relation) -> Goal {
    Goal { at_most: None, ..goal(contender, cell, relation, 0.0) }
}

/// The same of a latency.
const fn latency(figure: Figure, goal: Goal) -> Goal {
    Goal { figure, ..goal }
}

/// One request in flight, where waking a core that has gone idle, or another one at all, is not most of the figure.
const ALONE: &str = "unary-128x1-one-core";
const HOME: &str = "call-home-x1-one-core";

use Relation::{Above, AboveForASide, Itself, Times};

const GOALS: &[Goal] = &[
    goal("tcp+tcp", "unary-128x64", Times("floor"), 2.0),
    goal("tcp+tcp", "unary-128x64", Times("tonic"), 1.0 / 15.0),
    part("tcp+tcp", "unary-128x64-awake", Times("floor")),
    part("tcp+tcp", "unary-128x64-awake", Times("tonic")),
    goal("tcp+tcp", "unary-128x1024", Times("floor"), 2.0),
    goal("tcp+tcp", ALONE, Times("ping-pong"), 1.15),
    latency(Figure::P50, goal("tcp+tcp", ALONE, Times("ping-pong"), 1.15)),
    goal("tcp+tcp", ALONE, AboveForASide("ping-pong"), 1.0),
    part("tcp+tcp", "unary-128x1-awake", Times("ping-pong")),
    latency(Figure::P50, part("tcp+tcp", "unary-128x1-awake", Times("ping-pong"))),
    part("tcp+tcp", "unary-128x1", Times("ping-pong")),
    latency(Figure::P50, part("tcp+tcp", "unary-128x1", Times("ping-pong"))),
    goal("tcp+tcp", "unary-16Kx64", Times("floor"), 1.2),
    goal("tcp+tcp", "stream-ready", Times("floor"), 1.5),
    goal("tcp+tcp", "stream-ready", Times("tonic"), 0.1),
    goal("tcp+tcp", "stream-paced", Times("floor"), 1.5),
    Goal { figure: Figure::SyscallsOfItem, ..goal("tcp+tcp", "stream-paced", Itself, 0.06) },
    latency(Figure::P50, goal("http+tcp-way", HOME, Times("http+tcp-way-unpooled"), 0.2)),
    latency(Figure::P99, goal("http+tcp-way", HOME, Times("http+tcp-way-unpooled"), 0.2)),
    goal("http+tcp-way", HOME, Above("http+tcp-way-unpooled"), -50.0),
    latency(Figure::P50, part("http+tcp-way", "call-home-x1-awake", Times("http+tcp-way-unpooled"))),
    latency(Figure::P99, part("http+tcp-way", "call-home-x1-awake", Times("http+tcp-way-unpooled"))),
    latency(Figure::P50, part("http+tcp-way", "call-home-x1", Times("http+tcp-way-unpooled"))),
    latency(Figure::P99, part("http+tcp-way", "call-home-x1", Times("http+tcp-way-unpooled"))),
    latency(Figure::P50, goal("nats+tcp-way", HOME, Times("nats+tcp-way-unpooled"), 0.2)),
    latency(Figure::P99, goal("nats+tcp-way", HOME, Times("nats+tcp-way-unpooled"), 0.2)),
    goal("nats+tcp-way", HOME, Above("nats+tcp-way-unpooled"), -50.0),
    latency(Figure::P50, part("nats+tcp-way", "call-home-x1-awake", Times("nats+tcp-way-unpooled"))),
    latency(Figure::P99, part("nats+tcp-way", "call-home-x1-awake", Times("nats+tcp-way-unpooled"))),
    latency(Figure::P50, part("nats+tcp-way", "call-home-x1", Times("nats+tcp-way-unpooled"))),
    latency(Figure::P99, part("nats+tcp-way", "call-home-x1", Times("nats+tcp-way-unpooled"))),
    part("http+tcp-way", "call-home-x64", Above("http+tcp-way-unpooled")),
    part("nats+tcp-way", "call-home-x64", Above("nats+tcp-way-unpooled")),
    goal("http+http", "unary-128x64", Times("hyper-h2"), 1.15),
    goal("http+http", "stream-ready", Times("hyper-h2"), 0.25),
    goal("ws", "unary-128x64", Times("floor"), 2.5),
    goal("tcp+tcp", "unary-128x64", Above("connect-tcp"), 0.25),
    part("tcp+tcp", "unary-128x64-awake", Above("connect-tcp")),
    part("connect-tcp-boundary", "unary-128x64", Above("connect-tcp")),
    part("connect-tcp-hooks", "unary-128x64", Above("connect-tcp")),
    part("connect-tcp-metrics", "unary-128x64", Above("connect-tcp")),
    goal("tcp+tcp", "unary-16Kx64", Times("connect-tcp"), 1.05),
    part("connect-tcp-boundary", "unary-16Kx64", Times("connect-tcp")),
    part("connect-tcp-hooks", "unary-16Kx64", Times("connect-tcp")),
    part("connect-tcp-metrics", "unary-16Kx64", Times("connect-tcp")),
];

/// One for each goal whose figures are there.
pub(super) fn of(results: &Results) -> Vec<Verdict> {
    GOALS.iter().filter_map(|goal| goal.verdict(results)).collect()
}

impl Goal {
    fn verdict(&self, results: &Results) -> Option<Verdict> {
        let row = |name: &str| results.of_cell(self.cell).find(|row| row.contender == name);
        let own = self.figures(row(self.contender)?);
        let against = |to: &str, put: fn(f64, f64) -> f64| {
            let other = self.figures(row(to)?);
            median(own.iter().zip(&other).map(|(own, other)| put(*own, *other)))
        };
        let (figure, own_unit) = self.figure.name();
        let (is, unit, to) = match self.relation {
            Itself => (median(own.iter().copied())?, own_unit, String::new()),
            Times(to) => (against(to, |own, other| own / other)?, "x", format!(" to {to}'s")),
            Above(to) => (against(to, |own, other| own - other)?, own_unit, format!(" above {to}'s")),
            AboveForASide(to) => {
                (against(to, |own, other| (own - other) / 2.0)?, own_unit, format!(" above {to}'s, for each side"))
            }
        };
        let shown = |figure: f64| format!("{figure:.3} {unit}").trim_end().replace(" x", "x");
        Some(Verdict {
            what: format!("{} {}: {figure}{to}", self.contender, self.cell),
            is: shown(is),
            at_most: self.at_most.map(shown),
            met: self.at_most.is_none_or(|most| is <= most),
        })
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
    /// With its unit.
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu => ("CPU", "us"),
            Self::P50 => ("p50", "us"),
            Self::P99 => ("p99", "us"),
            Self::SyscallsOfItem => ("system calls for an item", ""),
        }
    }
}
