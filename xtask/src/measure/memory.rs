// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask gateway-memory`: what sessions and clients leave behind, and what an idle session takes.

use std::path::Path;
use std::time::Duration;

use super::bridges::Bridge;
use super::load::{Load, whole};
use super::usage::Process;
use super::{Goal, judge};
use crate::{Outcome, peers};

/// Freed memory goes back to the system after a while; that is waited for.
const SETTLES: Duration = Duration::from_secs(3);
const THOUSAND: &str = "1000";

/// The state of the gateway at one moment.
#[derive(Clone, Copy)]
struct Moment {
    memory: u64,
    descriptors: usize,
    children: usize,
}

pub(crate) fn run(words: &[&str]) -> Outcome {
    let [] = words else { return Err("gateway-memory takes no arguments".to_owned()) };
    let program = peers::program()?;
    let (fixture, load) = (peers::fixture(true)?, peers::load()?);
    let gateway = Bridge::ours(&program, &fixture)?;
    let process = gateway.process();
    let sessions = |count: &str| whole(&load, &["sessions", &gateway.url, "--count", count]);

    println!("\n{:34} {:>9} {:>11} {:>8}", "", "RSS KiB", "descriptors", "children");
    moment("started", process);
    sessions("100")?;
    let warm = moment("100 sessions opened, used, closed", process);
    sessions(THOUSAND)?;
    let first = moment("1,000 sessions more", process);
    sessions(THOUSAND)?;
    let second = moment("1,000 sessions more", process);
    let held = hold(&load, &gateway.url)?;
    let idle = moment("1,000 sessions open and idle", process);
    held.finish()?;
    let closed = moment("those closed", process);
    whole(&load, &["clients", &gateway.url, "--count", "10000"])?;
    let clients = moment("10,000 modern clients", process);

    let share =
        |after: &Moment, before: &Moment| 100.0 * (after.memory as f64 - before.memory as f64) / before.memory as f64;
    let more = |what: &str, after: usize, before: usize| Goal {
        what: what.to_owned(),
        is: after as f64 - before as f64,
        at_most: 0.0,
        unit: "more",
    };
    judge(&[
        Goal {
            what: "memory that the second thousand adds".to_owned(),
            is: share(&second, &first),
            at_most: 10.0,
            unit: "%",
        },
        Goal {
            what: "memory of an idle session with its connection".to_owned(),
            is: (idle.memory as f64 - second.memory as f64) / 1000.0,
            at_most: 16.0,
            unit: "KiB",
        },
        Goal {
            what: "memory that 10,000 modern clients add".to_owned(),
            is: share(&clients, &closed),
            at_most: 10.0,
            unit: "%",
        },
        more("children after two thousand sessions", second.children, warm.children),
        more("descriptors after two thousand sessions", second.descriptors, warm.descriptors),
        more("descriptors after 10,000 clients", clients.descriptors, warm.descriptors),
    ])
}

/// A thousand sessions with their connections, until the value is finished.
fn hold(load: &Path, url: &str) -> Outcome<Load> {
    let mut load = Load::start(load, &["sessions", url, "--count", THOUSAND, "--hold"])?;
    load.line()?;
    Ok(load)
}

fn moment(what: &str, process: Process) -> Moment {
    std::thread::sleep(SETTLES);
    let moment = Moment { memory: process.memory(), descriptors: process.descriptors(), children: process.children() };
    println!("{what:34} {:>9} {:>11} {:>8}", moment.memory, moment.descriptors, moment.children);
    moment
}
