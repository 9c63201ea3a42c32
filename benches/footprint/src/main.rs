// SPDX-License-Identifier: Apache-2.0
//! What Biplane takes of memory, tasks and descriptors. `cargo xtask bench-memory` runs one figure after another, each in
//! processes of its own: what one leaves in an allocator must not count for the next.

mod bridge;
mod buffers;
mod descriptors;
mod idle;
mod logical;
mod pool;
mod reading;
mod report;
mod server;
mod settings;

use std::future::Future;
use std::process::ExitCode;

use crate::report::Report;

const USAGE: &str = "\
usage: biplane-footprint FIGURE [--count N]

  idle         TCP links that nobody uses: what each takes at a server and at a client
  logical P    logical connections over a hundredth as many links on the plane P (tcp, http): tasks, memory, and what they
               reach when a million requests a second are offered
  pool         what the pool keeps for each link
  descriptors  files that are open while answers call home, with the pool and without
  buffers      what is allocated with a pool of buffers and without
  bridge       a task and two channels for each connection, against a connection

  --count N    how many links, connections or answers (default: 10000; descriptors: 1000)";

/// Why a figure could not be had.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T = ()> = Result<T, Failure>;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let figure = count(&mut words).and_then(|count| figure(&words, count));
    match figure {
        Ok(report) if report.is_met() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(3),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn figure(words: &[String], count: Option<usize>) -> Outcome<Report> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let many = count.unwrap_or(10_000);
    match words.as_slice() {
        ["idle"] => run(idle::measure(many)),
        ["logical", plane] => run(logical::measure(plane, many)),
        ["pool"] => run(pool::measure(many)),
        ["descriptors"] => run(descriptors::measure(count.unwrap_or(1000))),
        ["buffers"] => buffers::measure(),
        ["bridge"] => run(bridge::measure(many)),
        // The other process of a figure.
        ["serve", plane, settings @ ..] => run(async {
            server::serve(plane, settings).await?;
            Ok(Report::new(""))
        }),
        _ => Err(USAGE.into()),
    }
}

/// Takes `--count N` out of `words`.
fn count(words: &mut Vec<String>) -> Outcome<Option<usize>> {
    let Some(at) = words.iter().position(|word| word == "--count") else { return Ok(None) };
    let value = words.drain(at..).nth(1).ok_or("--count needs a value")?;
    Ok(Some(value.parse()?))
}

/// One thread: its memory is the runtime's own least.
fn run<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
