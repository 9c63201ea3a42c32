// SPDX-License-Identifier: Apache-2.0
//! `biplane bench`: a closed loop of calls against a service, with worker and caller as separate processes.
//!
//! Without a name the bench brings its own worker: the same program in a child process, on loopback, with ports that the
//! system chooses and a file store of its own, all gone afterwards. This process is the caller.
//!
//! - `site` is the private place of a run, `worker` and `child` the two sides of the child, `broker` a NATS server;
//! - `subject` is a caller with what it calls, `drive` the loop, `tally` the figures, `report` what is shown;
//! - `single` and `matrix` are the two ways to run it.

use biplane::Result;
use clap::value_parser;

use crate::context::Context;
use crate::exit::Exit;

mod broker;
mod child;
mod counters;
mod drive;
mod ending;
mod format;
mod load;
mod matrix;
mod median;
mod progress;
mod report;
mod single;
mod site;
mod subject;
mod tally;
mod usage;
mod worker;

pub(crate) use self::drive::{drive, rehearse};
pub(crate) use self::ending::unless_interrupted;
pub(crate) use self::format::{count, micros};
pub(crate) use self::load::{Answer, Load, Until, seconds};
pub(crate) use self::progress::Progress;
pub(crate) use self::report::{Figures, Resources, Route};
pub(crate) use self::site::{Planes, Site, probe};
pub(crate) use self::subject::Subject;
pub(crate) use self::tally::Tallies;

/// What to measure.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane bench                                       the planes of the environment
    biplane bench --request-plane http --items 64 --paced --concurrency 256
    biplane bench --requests 100000 --json              an exact number of requests, for a script
    biplane bench --matrix                              every pair of planes in one table
    biplane bench words --payload 32                    a service that runs elsewhere

Figures of the worker (processor time, memory, links that call home) are known only if the bench brought the worker.")]
pub(crate) struct BenchArgs {
    /// A service or a URL; without it the bench brings a worker of its own
    #[arg(value_name = "NAME|URL", conflicts_with_all = ["matrix", "items", "paced", "item_size"])]
    target: Option<String>,
    /// What carries requests, in place of DYN_REQUEST_PLANE
    #[arg(long, value_name = "PLANE", conflicts_with = "matrix")]
    request_plane: Option<String>,
    /// What carries answers, in place of DYN_RESPONSE_PLANE
    #[arg(long, value_name = "PLANE", conflicts_with = "matrix")]
    response_plane: Option<String>,
    /// Every request plane with every response plane, in turn and several times, in one table
    #[arg(long)]
    matrix: bool,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = value_parser!(u32).range(..=MAX_BYTES))]
    payload: u32,
    /// Items of an answer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000_000))]
    items: u32,
    /// The worker yields after each item, as one does that waits for its model
    #[arg(long)]
    paced: bool,
    /// Bytes of an item; without it an item is the request's own bytes
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(..=MAX_BYTES))]
    item_size: Option<u32>,
    /// Calls under way at a time
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=16_384))]
    concurrency: u32,
    /// How long to measure; per pair with --matrix. Default 5, with --matrix 2
    #[arg(long, short, value_name = "SECONDS", conflicts_with = "requests", value_parser = load::seconds)]
    duration: Option<std::time::Duration>,
    /// How many requests to measure, exactly; per pair with --matrix
    #[arg(long, short = 'n', value_name = "N", value_parser = value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// What the child process is to serve: how the bench starts its worker
    #[arg(long, hide = true, value_name = "JSON", exclusive = true)]
    as_worker: Option<String>,
}

/// The largest message that the defaults permit.
const MAX_BYTES: i64 = 16 << 20;

pub(crate) async fn run(args: BenchArgs, context: &Context) -> Result<Exit> {
    if let Some(answers) = &args.as_worker {
        return worker::run(answers, context).await;
    }
    let work =
        async { if args.matrix { matrix::run(&args, context).await } else { single::run(&args, context).await } };
    unless_interrupted(work).await
}

impl BenchArgs {
    /// What the bench's own worker serves.
    fn answer(&self) -> Answer {
        Answer { name: Answer::BENCH.to_owned(), items: self.items, item_size: self.item_size, is_paced: self.paced }
    }

    fn load(&self, until: Until) -> Load {
        let load = Load::new(self.payload as usize, self.concurrency as usize, until);
        if self.target.is_some() { load } else { load.expecting(&self.answer()) }
    }
}
