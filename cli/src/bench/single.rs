// SPDX-License-Identifier: Apache-2.0
//! One pair of planes.

use std::sync::Arc;
use std::time::Duration;

use biplane::{Error, Result};

use super::drive::rehearse;
use super::load::{Load, Until};
use super::progress::Progress;
use super::report::Report;
use super::site::{Planes, Site, probe};
use super::subject::Subject;
use super::tally::Tallies;
use super::{BenchArgs, format::count};
use crate::context::Context;
use crate::exit::Exit;
use crate::ui::Table;

/// How long to measure unless told.
const DURATION: Duration = Duration::from_secs(5);

pub(super) async fn run(args: &BenchArgs, context: &Context) -> Result<Exit> {
    let caller = probe(context, args.request_plane.as_deref(), args.response_plane.as_deref())?;
    let load = args.load(match args.requests {
        Some(requests) => Until::Requests(requests),
        None => Until::Elapsed(args.duration.unwrap_or(DURATION)),
    });
    let report = match &args.target {
        Some(target) => measure(Subject::elsewhere(caller, target).await?, &load, context).await?,
        None => {
            let planes = Planes::of(&caller)?;
            let mut site = Site::new()?;
            site.prepare(&planes, &caller).await?;
            let subject = Subject::of_our_own(context, &site, &planes, &[args.answer()]).await?;
            measure(subject, &load, context).await?
        }
    };
    let ui = context.ui();
    if args.json {
        ui.print_json(&report)?;
    } else {
        ui.print_table(&table(&report))?;
    }
    if let Some(error) = &report.figures.first_error {
        ui.error(&Error::unexpected(format!("{} requests failed, the first with: {error}", report.figures.errors)));
    }
    Ok(if report.figures.errors == 0 { Exit::OK } else { Exit::FAILED })
}

async fn measure(mut subject: Subject, load: &Load, context: &Context) -> Result<Report> {
    let progress = Progress::line(context.ui());
    progress.say(format!("{}  warming up", subject.route()));
    rehearse(subject.callee(), load).await?;
    let tallies = Arc::new(Tallies::new()?);
    let watch = progress.watch(&subject.route().to_string(), vec![("", tallies.clone())]);
    let report = subject.measure(load, &tallies).await?;
    drop(watch);
    subject.stop().await;
    Ok(report)
}

fn table(report: &Report) -> Table {
    let Report { route, figures, resources } = report;
    let mut table = Table::new(["BENCH", ""]);
    table.row(["planes".to_owned(), route.to_string()]);
    let errors = figures.errors_by_kind.iter().map(|(kind, number)| format!(", {} {kind}", count(*number)));
    let errors = format!("{} errors{}", count(figures.errors), errors.collect::<String>());
    table.row(["requests".to_owned(), format!("{} in {:.2} s, {errors}", count(figures.requests), figures.seconds)]);
    let (requests, items) = (figures.requests_per_sec as u64, figures.items_per_sec as u64);
    table.row(["throughput".to_owned(), format!("{} requests/s, {} items/s", count(requests), count(items))]);
    table.row(["latency".to_owned(), figures.latency_us.text()]);
    table.row(["first item".to_owned(), figures.first_item_us.text()]);
    table.row(["cpu per request, caller / worker".to_owned(), resources.cpu()]);
    table.row(["memory, caller / worker".to_owned(), resources.memory()]);
    table.row(["links that carried answers".to_owned(), resources.links()]);
    for (instance, requests) in resources.instances() {
        table.row([format!("instance {instance}"), format!("{} requests", count(requests))]);
    }
    table
}
