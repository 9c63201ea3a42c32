// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask gateway-bench`: `tools/call` through our gateway and through the best other bridge, to the same server over
//! stdio, turn and turn about: a machine that is slower for a while is so for both.

use std::time::Duration;

use super::bridges::Bridge;
use super::load::{Calls, calls, direct};
use super::{Goal, judge};
use crate::{Outcome, peers};

const SESSIONS: [usize; 2] = [1, 32];
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

pub(crate) fn run(words: &[&str]) -> Outcome {
    let (rounds, alone) = read(words)?;
    let program = peers::program()?;
    let (fixture, load) = (peers::fixture(true)?, peers::load()?);
    let ours = Bridge::ours(&program, &fixture)?;
    let theirs = if alone { None } else { Some(Bridge::theirs(&peers::bridge()?, &fixture)?) };
    let bridges: Vec<(&str, &Bridge)> =
        std::iter::once(("biplane", &ours)).chain(theirs.as_ref().map(|theirs| ("mcp-proxy", theirs))).collect();

    let server = [fixture.to_str().unwrap_or_default(), "--stdio"];
    let mut straight = Vec::new();
    let mut through = vec![vec![Vec::new(); SESSIONS.len()]; bridges.len()];
    for round in 1..=rounds {
        println!("  round {round} of {rounds}");
        straight.push(direct(&load, &server, TIME)?);
        for (at, sessions) in SESSIONS.into_iter().enumerate() {
            for ((_, bridge), runs) in bridges.iter().zip(&mut through) {
                runs[at].push(calls(&load, &bridge.url, sessions, bridge.tool, TIME, bridge.process())?);
            }
        }
    }

    println!("\n{:10} {:>8} {:>9} {:>9} {:>9} {:>12}", "", "sessions", "calls/s", "p50 us", "p99 us", "CPU us/call");
    let straight = median(&straight);
    show("direct", 1, &straight);
    let mut medians = Vec::new();
    for ((name, _), runs) in bridges.iter().zip(&through) {
        let own: Vec<Calls> = runs.iter().map(|runs| median(runs)).collect();
        own.iter().zip(SESSIONS).for_each(|(calls, sessions)| show(name, sessions, calls));
        medians.push(own);
    }
    let mut goals = vec![Goal {
        what: "p50 at one session above the direct call".to_owned(),
        is: (medians[0][0].p50_us - straight.p50_us) / 1000.0,
        at_most: 0.15,
        unit: "ms",
    }];
    if let [ours, theirs] = medians.as_slice() {
        goals.push(Goal {
            what: "CPU of a call at 32 sessions, as a share of the other's".to_owned(),
            is: ours[1].cpu_us / theirs[1].cpu_us,
            at_most: 0.5,
            unit: "times",
        });
    }
    judge(&goals)
}

/// How many rounds, and whether the other bridge is left out.
fn read(words: &[&str]) -> Outcome<(usize, bool)> {
    match words {
        [] => Ok((ROUNDS, false)),
        ["--alone", rest @ ..] => Ok((read(rest)?.0, true)),
        ["--rounds", number, rest @ ..] => {
            let rounds = number.parse().map_err(|_| format!("{number} is no number of rounds"))?;
            Ok((rounds, read(rest)?.1))
        }
        [other, ..] => Err(format!("gateway-bench knows no {other}; it knows --rounds N and --alone")),
    }
}

/// The median of each figure by itself.
fn median(runs: &[Calls]) -> Calls {
    let middle = |figure: fn(&Calls) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or_default()
    };
    Calls {
        rate: middle(|calls| calls.rate),
        p50_us: middle(|calls| calls.p50_us),
        p99_us: middle(|calls| calls.p99_us),
        cpu_us: middle(|calls| calls.cpu_us),
    }
}

fn show(name: &str, sessions: usize, calls: &Calls) {
    let Calls { rate, p50_us, p99_us, cpu_us } = calls;
    println!("{name:10} {sessions:>8} {rate:>9.0} {p50_us:>9.1} {p99_us:>9.1} {cpu_us:>12.1}");
}
