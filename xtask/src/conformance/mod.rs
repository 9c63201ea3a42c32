// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask mcp-conformance`: the public suites against the gateway, in front of a fixture that knows both eras, or
//! one of them only, over each kind of upstream. One row for each way, one column for each suite.

mod allowed;
mod suites;
mod table;
mod ways;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use crate::suite::cargo;
use crate::{Outcome, peers, steps};
use allowed::Allowed;
use suites::{SUITES, Score, Suite};
use table::Row;
use ways::{Way, ways};

/// What the command was asked.
#[derive(Default)]
struct Wanted {
    /// A server that is there already, instead of the gateway.
    url: Option<String>,
    /// Only ways and suites whose names have one of these within.
    only: Vec<String>,
    scenario: Option<String>,
    /// Another build of the program than the one that is made here.
    program: Option<PathBuf>,
    json: Option<PathBuf>,
    /// How often everything is run: a failure that comes and goes is one too.
    repeat: usize,
}

/// Programs that are built once and started many times.
struct Programs {
    gateway: PathBuf,
    fixture: PathBuf,
}

pub(crate) fn run(words: &[&str]) -> Outcome {
    let wanted = Wanted::read(words)?;
    let allowed = Allowed::read()?;
    let began = Instant::now();
    let programs = install(&wanted)?;
    println!("  installed and built in {:.1} s", began.elapsed().as_secs_f64());
    let ways = match &wanted.url {
        Some(url) => vec![Way::at(url)],
        None => ways().into_iter().filter(|way| wanted.is_about(way.name)).collect(),
    };
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..wanted.repeat.max(1) {
        rows.extend(all(ways.clone(), &programs, &wanted));
    }
    print!("\n{}", table::text(&rows));
    if let Some(path) = &wanted.json {
        std::fs::write(path, table::json(&rows)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("  {:.1} s in all", began.elapsed().as_secs_f64());
    let faults = allowed.faults(&rows, wanted.scenario.is_none());
    if faults.is_empty() { Ok(()) } else { Err(format!("{} unexpected:\n  {}", faults.len(), faults.join("\n  "))) }
}

fn install(wanted: &Wanted) -> Outcome<Programs> {
    peers::npm()?;
    if wanted.url.is_some() {
        return Ok(Programs { gateway: PathBuf::new(), fixture: PathBuf::new() });
    }
    let fixture = peers::fixture(false)?;
    if let Some(program) = &wanted.program {
        return Ok(Programs { gateway: program.clone(), fixture });
    }
    steps::run(cargo(&["build", "--quiet", "--package", "biplane-cli", "--bin", "biplane"]))?;
    Ok(Programs { gateway: crate::root().join("target").join("debug").join("biplane"), fixture })
}

/// Two ways at a time: a suite waits about as long as it works.
fn all(ways: Vec<Way>, programs: &Programs, wanted: &Wanted) -> Vec<Row> {
    let total = ways.len();
    let left = Mutex::new(ways.into_iter().enumerate());
    let rows = Mutex::new(Vec::new());
    let next = || left.lock().ok().and_then(|mut left| left.next());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((at, way)) = next() {
                    let row = row(&way, programs, wanted);
                    println!("  [{}/{total}] {}", at + 1, row.line());
                    rows.lock().map(|mut rows| rows.push((at, row))).unwrap_or_default();
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Every suite against one way, each with a server of its own: what one leaves behind is nothing to the next.
fn row(way: &Way, programs: &Programs, wanted: &Wanted) -> Row {
    let began = Instant::now();
    let suites = SUITES.iter().filter(|suite| wanted.is_about(suite.name) || wanted.is_about(way.name));
    let scores = suites.map(|suite| (suite.name, score(way, suite, programs, wanted))).collect();
    Row { way: way.name.to_owned(), scores, took: began.elapsed() }
}

fn score(way: &Way, suite: &Suite, programs: &Programs, wanted: &Wanted) -> Outcome<Score> {
    let started = way.start(programs, suite.name)?;
    let score = suite.run(&started.url, way.name, wanted.scenario.as_deref());
    score.map_err(|why| format!("{why}{}", started.last_words()))
}

impl Wanted {
    fn read(words: &[&str]) -> Outcome<Self> {
        let mut wanted = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().map(|value| (*value).to_owned()).ok_or(format!("{word} needs a value"));
            match *word {
                "--url" => wanted.url = Some(value()?),
                "--only" => wanted.only.push(value()?),
                "--scenario" => wanted.scenario = Some(value()?),
                "--program" => wanted.program = Some(value()?.into()),
                "--json" => wanted.json = Some(value()?.into()),
                "--repeat" => wanted.repeat = value()?.parse().map_err(|_| "--repeat needs a number".to_owned())?,
                other => {
                    return Err(format!(
                        "mcp-conformance knows no {other}; it knows --url, --only, --scenario, --program, --json, --repeat"
                    ));
                }
            }
        }
        Ok(wanted)
    }

    fn is_about(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }
}
