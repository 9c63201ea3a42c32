// SPDX-License-Identifier: Apache-2.0
//! `biplane conformance`: the caller's part of the suite against a live endpoint.

use std::sync::Arc;

use biplane::conformance::{LiveOptions, Outcome, Report, against};
use biplane::{Biplane, Connection, Error, Result};
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::ui::{Cell, Style, Table};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane serve echo --echo --on http,tcp
    biplane conformance http://127.0.0.1:8081/v1/rpc/echo
    biplane conformance tcp://127.0.0.1:9001/echo

The endpoint must answer each request with its body, as one item. The exit code is 0 if no case failed, else 1.")]
pub(crate) struct ConformanceArgs {
    /// The endpoint; a service's name asks its instances on the planes of the environment
    #[arg(value_name = "URL")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ConformanceArgs, context: &Context) -> Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    let biplane = context.biplane()?;
    let (connection, options) = endpoint(&biplane, &args.target).await?;
    context.ui().note(format_args!("asking {}: some cases take seconds", args.target));
    let report = tokio::select! {
        report = against(connection, options) => report,
        _ = interrupts.next() => return Ok(Exit::INTERRUPTED),
    };
    if args.json {
        context.ui().print_json(&as_json(&report))?;
    } else {
        context.ui().print_table(&table(&report))?;
    }
    Ok(if report.passed() { Exit::OK } else { Exit::FAILED })
}

async fn endpoint(biplane: &Biplane, target: &str) -> Result<(Arc<dyn Connection>, LiveOptions)> {
    if !target.contains(':') {
        let service = biplane.service(target).await?;
        let subject = service.subject().clone();
        // A service that is closed opens again with the next request, so there is no use after close.
        return Ok((Arc::new(service), LiveOptions { may_close: false, ..LiveOptions::new(subject) }));
    }
    let Some(named) = biplane.target(target)?.subject()? else {
        return Err(Error::config(format!("{target} names no endpoint"))
            .with_hint("write it as the URL's path, as in tcp://127.0.0.1:9001/echo"));
    };
    let (connection, subject) = biplane.request_face(target).await?;
    Ok((connection, LiveOptions::new(subject.unwrap_or(named))))
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(["CASE", "OUTCOME", "WHY"]);
    for (name, outcome) in &report.cases {
        let (word, style, why) = told(outcome);
        table.row([Cell::from(*name), Cell::styled(word, style), why.into()]);
    }
    table
}

fn as_json(report: &Report) -> serde_json::Value {
    let case = |(name, outcome): &(&'static str, Outcome)| {
        let (word, _, why) = told(outcome);
        json!({ "case": name, "outcome": word, "why": why })
    };
    json!({ "passed": report.passed(), "cases": report.cases.iter().map(case).collect::<Vec<_>>() })
}

fn told(outcome: &Outcome) -> (&'static str, Style, &str) {
    match outcome {
        Outcome::Passed => ("passed", Style::Good, ""),
        Outcome::Failed(why) => ("failed", Style::Bad, why),
        Outcome::Skipped(why) => ("skipped", Style::Warn, why),
    }
}
