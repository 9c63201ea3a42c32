// SPDX-License-Identifier: Apache-2.0
//! Every request plane with every response plane. All pairs are up at once and measured in turn, several times, so that
//! what else happens on the host is shared by all of them.

use std::sync::Arc;
use std::time::Duration;

use biplane::{PlaneType, Result, TransportId};
use serde::Serialize;

use super::BenchArgs;
use super::drive::rehearse;
use super::format::{count, micros};
use super::load::{Load, Until};
use super::median::median;
use super::progress::Progress;
use super::report::Report;
use super::site::{Planes, Site, probe};
use super::subject::Subject;
use super::tally::Tallies;
use crate::context::Context;
use crate::exit::Exit;
use crate::ui::{Cell, Style, Table};

/// How often each pair is measured. Odd, so that there is a middle one.
const ROUNDS: u32 = 3;

/// How long each pair is measured in all its rounds, unless told.
const DURATION: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Matrix {
    rounds: u32,
    pairs: Vec<Report>,
    skipped: Vec<Skipped>,
}

/// A plane, or a pair, that did not run.
#[derive(Serialize)]
struct Skipped {
    what: String,
    reason: String,
    /// It should have run.
    is_failure: bool,
}

pub(super) async fn run(args: &BenchArgs, context: &Context) -> Result<Exit> {
    let ui = context.ui();
    let load = args.load(match args.requests {
        Some(requests) => Until::Requests(requests),
        None => Until::Elapsed(args.duration.unwrap_or(DURATION)),
    });
    let mut site = Site::new()?;
    let matrix = run_pairs(args, context, &mut site, &load.share(ROUNDS)).await?;
    if args.json {
        ui.print_json(&matrix)?;
    } else {
        ui.print_table(&table(&matrix))?;
        for Skipped { what, reason, .. } in &matrix.skipped {
            ui.note(format_args!("{what}: {reason}"));
        }
    }
    for Report { route, figures, .. } in &matrix.pairs {
        if let Some(error) = &figures.first_error {
            ui.note(format_args!(
                "{} + {}: the first of {} errors: {error}",
                route.request, route.response, figures.errors
            ));
        }
    }
    let is_well = matrix.pairs.iter().all(|pair| pair.figures.errors == 0);
    Ok(if is_well && !matrix.skipped.iter().any(|skipped| skipped.is_failure) { Exit::OK } else { Exit::FAILED })
}

async fn run_pairs(args: &BenchArgs, context: &Context, site: &mut Site, load: &Load) -> Result<Matrix> {
    let (pairs, mut skipped) = survey(context, site).await?;
    let starting = Progress::steps(context.ui(), pairs.len() as u64);
    let mut subjects = Vec::new();
    for planes in pairs {
        let name = format!("{} + {}", planes.request, planes.response);
        starting.say(format!("starting {name}"));
        match Subject::of_our_own(context, site, &planes, &[args.answer()]).await {
            Ok(subject) => subjects.push(subject),
            Err(error) => skipped.push(Skipped { what: name, reason: error.to_string(), is_failure: true }),
        }
        starting.step();
    }
    drop(starting);
    let progress = Progress::steps(context.ui(), subjects.len() as u64 * u64::from(ROUNDS));
    let mut rounds: Vec<Vec<Report>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        for (subject, reports) in subjects.iter_mut().zip(&mut rounds) {
            progress.say(format!("round {} of {ROUNDS}: {}", round + 1, subject.route()));
            // What goes wrong now goes wrong below too, and is shown there.
            let _ = rehearse(subject.callee(), load).await;
            reports.push(subject.measure(load, &Arc::new(Tallies::new()?)).await?);
            progress.step();
        }
    }
    drop(progress);
    for subject in subjects {
        subject.stop().await;
    }
    Ok(Matrix { rounds: ROUNDS, pairs: rounds.into_iter().filter_map(median).collect(), skipped })
}

/// The pairs to run, and what cannot.
async fn survey(context: &Context, site: &mut Site) -> Result<(Vec<Planes>, Vec<Skipped>)> {
    let probe = probe(context, None, None)?;
    let mut skipped = Vec::new();
    let between_processes = |plane: PlaneType| {
        let mut ids = probe.registry().list_transports(plane);
        ids.retain(|id| *id != TransportId::MEM);
        ids
    };
    let (requests, responses) = (between_processes(PlaneType::Request), between_processes(PlaneType::Response));
    if probe.registry().is_registered(TransportId::MEM.as_str()) {
        let reason = "works within one process, and the bench runs two".to_owned();
        skipped.push(Skipped { what: TransportId::MEM.to_string(), reason, is_failure: false });
    }
    let mut pairs = Vec::new();
    for request in requests {
        let all = responses.iter().map(|response| Planes { request: request.clone(), response: response.clone() });
        let all: Vec<Planes> = all.collect();
        match all.first() {
            Some(first) => match site.prepare(first, &probe).await {
                Ok(()) => pairs.extend(all),
                Err(error) => {
                    skipped.push(Skipped { what: request.to_string(), reason: error.to_string(), is_failure: false });
                }
            },
            None => break,
        }
    }
    Ok((pairs, skipped))
}

fn table(matrix: &Matrix) -> Table {
    let mut table = Table::new([
        "REQUESTS",
        "ANSWERS",
        "MEET",
        "#REQ/S",
        "#ITEMS/S",
        "#P50",
        "#P99",
        "#FIRST P50",
        "#CPU CALLER / WORKER",
        "#CREATED",
        "#REUSED",
        "#ERRORS",
    ]);
    for Report { route, figures, resources } in &matrix.pairs {
        let links = resources.pool.map(|links| [links.created, links.reused].map(count));
        let [created, reused] = links.unwrap_or_else(|| ["-".to_owned(), "-".to_owned()]);
        let style = if figures.errors == 0 { Style::Good } else { Style::Bad };
        table.row([
            Cell::from(route.request.as_str()),
            Cell::from(route.response.as_str()),
            Cell::styled(route.word(), Style::Dim),
            Cell::from(count(figures.requests_per_sec as u64)),
            Cell::from(count(figures.items_per_sec as u64)),
            Cell::from(micros(figures.latency_us.p50)),
            Cell::from(micros(figures.latency_us.p99)),
            Cell::from(micros(figures.first_item_us.p50)),
            Cell::from(resources.cpu()),
            Cell::from(created),
            Cell::from(reused),
            Cell::styled(count(figures.errors), style),
        ]);
    }
    table
}
