// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench`: the floor, Biplane's planes and the peers, turn and turn about. `docs/performance.md` says what the
//! figures mean, and has those of one machine.

mod chart;
mod contest;
mod cores;
mod counts;
mod document;
mod goals;
mod json;
mod machine;
mod options;
mod programs;
mod results;
mod table;
mod verdict;

use std::fs;
use std::path::PathBuf;

use crate::{Outcome, root};
use contest::drive;
use cores::Cores;
use options::Options;
use programs::{Contender, Programs};
use results::{Results, Row};

/// What everything is a ratio to.
const FLOOR: &str = "floor";

/// So many contenders are measured between two looks at the floor: the machine's mood changes.
const FLOOR_EVERY: usize = 4;

/// What is built and written.
fn folder() -> PathBuf {
    root().join("target").join("bench")
}

pub(crate) fn run(words: &[&str]) -> Outcome {
    let options = Options::read(words)?;
    let machine = machine::Machine::look();
    println!("  {machine}");
    let programs = Programs::build(&options)?;
    let contenders = programs.contenders(&options)?;
    let mut results = Results::new(programs.absent.clone());
    results.remarks.extend(cores::missing());
    let cells = options.cells(&contenders);
    for (contender, cell) in pairs(&contenders, &cells) {
        results.add(contender, cell);
    }

    let total = options.rounds * results.rows.len();
    let mut done = 0;
    for round in 1..=options.rounds {
        for cell in &cells {
            let mut floor = None;
            let mut since_floor = 0;
            for contender in contenders.iter().filter(|contender| contender.can(cell)) {
                let is_floor = contender.name == FLOOR;
                if !is_floor && since_floor == FLOOR_EVERY {
                    let floor_itself =
                        contenders.iter().find(|contender| contender.name == FLOOR && contender.can(cell));
                    floor =
                        floor_itself.and_then(|contender| drive(contender, cell, &options).ok()).map(|run| run.cpu_us);
                    since_floor = 0;
                }
                since_floor += 1;
                done += 1;
                let row = results.row(contender, cell);
                if row.failed.is_some() {
                    continue;
                }
                let said = match drive(contender, cell, &options) {
                    Ok(run) => {
                        if is_floor {
                            floor = Some(run.cpu_us);
                            since_floor = 0;
                        }
                        row.take(run, floor)
                    }
                    Err(why) => row.fail(why),
                };
                println!("  [{done:3}/{total}] round {round}  {cell:15} {:18} {said}", contender.name);
            }
        }
    }
    if options.counts {
        count(&contenders, &cells, &mut results, &options);
    }

    println!("\n{}", table::plain(&results, &cells));
    let mut verdicts = goals::of(&results);
    let mut memory = String::new();
    if options.is_whole() {
        println!("  counting the hot paths");
        verdicts.extend(verdict::exact());
        memory = crate::footprint::measure(&[]).unwrap_or_else(|why| format!("not measured: {why}\n"));
        verdicts.extend(verdict::of_memory(&memory));
        println!();
    }
    verdicts.iter().for_each(|verdict| println!("  {}", verdict.line()));
    let json = json::of(&results, &verdicts, &machine);
    write(&options.json.clone().unwrap_or_else(|| folder().join("results.json")), &json)?;
    write(&folder().join("results.svg"), &chart::of(&results, &cells))?;
    if options.write_docs {
        document::write(&results, &cells, (&verdicts, &memory), &machine, &options)?;
    }
    let failed: Vec<&Row> = results.rows.iter().filter(|row| row.failed.is_some()).collect();
    // A peer that is not there is no failure of ours; one of our own programs is.
    match failed.iter().find(|row| row.ours) {
        None => Ok(()),
        Some(row) => Err(format!("{} {}: {}", row.contender, row.cell, row.failed.as_deref().unwrap_or_default())),
    }
}

/// What need not be repeated, because it hardly changes from run to run.
fn count(contenders: &[Contender], cells: &[String], results: &mut Results, options: &Options) {
    // How the cores are kept changes what a call takes, not what it does.
    let all: Vec<_> = pairs(contenders, cells).filter(|(_, cell)| Cores::of(cell).1 == Cores::Idle).collect();
    for (at, (contender, cell)) in all.iter().enumerate() {
        let row = results.row(contender, cell);
        if row.failed.is_some() {
            continue;
        }
        match counts::count(contender, cell, options) {
            Ok(counts) => {
                println!("  [{:3}/{}] counts   {cell:15} {:18} {counts}", at + 1, all.len(), contender.name);
                row.counts = counts;
            }
            Err(why) => println!("  [{:3}/{}] counts   {cell:15} {:18} {why}", at + 1, all.len(), contender.name),
        }
    }
    results.remarks.extend(counts::missing());
}

fn pairs<'a>(contenders: &'a [Contender], cells: &'a [String]) -> impl Iterator<Item = (&'a Contender, &'a String)> {
    cells.iter().flat_map(|cell| contenders.iter().filter(|contender| contender.can(cell)).map(move |c| (c, cell)))
}

fn write(path: &PathBuf, text: &str) -> Outcome {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("  wrote {}", path.display());
    Ok(())
}
