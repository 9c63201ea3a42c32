// SPDX-License-Identifier: Apache-2.0
//! `drive`: a closed loop of callers, each with one request in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;

use crate::command::{Amount, Drive};
use crate::serve::say;
use crate::{Caller, Cell, Failure, Outcome, Peer, Usage, Work, usage};

/// A look at the clock costs a tenth of the cheapest request, so only every so many of them are timed where many are in
/// flight.
const TIMED_OF: u64 = 16;
/// Enough for a p99 of any run.
const MOST_TIMES: usize = 1 << 18;

/// Under callgrind things take fifty times as long; nothing takes longer than this unless it hangs.
const LONGEST: Duration = Duration::from_secs(900);

pub(crate) async fn run<P: Peer>(peer: &P, command: &Drive) -> Outcome {
    let cell = command.cell;
    // A thread, because a runtime that hangs notices nothing.
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST);
        eprintln!("it hangs: {} s have passed", LONGEST.as_secs());
        std::process::exit(1);
    });
    // Kept to the end when there is nobody else to serve.
    let (address, _serving) = match &command.address {
        Some(address) => (address.clone(), None),
        None => {
            let serving = peer.serve().await?;
            (serving.address.clone(), Some(serving))
        }
    };
    // Within a process, looking also lets the others have their turn.
    let timed_of = if cell.in_flight == 1 || peer.within_process() { 1 } else { TIMED_OF };
    let callers = peer.connect(&address, cell.in_flight).await?;
    if callers.len() != cell.in_flight {
        return Err(format!("{} callers for {} in flight", callers.len(), cell.in_flight).into());
    }
    let (callers, _) = round(callers, cell, Amount::Requests(cell.warm_up), timed_of, true).await?;
    if command.wait {
        say("{\"ready\":true}")?;
        std::io::stdin().read_line(&mut String::new())?;
    }

    let before = (Usage::now(), usage::processor(&command.watch), Instant::now());
    let (callers, mut measured) = round(callers, cell, command.amount, timed_of, false).await?;
    let seconds = before.2.elapsed().as_secs_f64();
    let own = Usage::now().since(before.0);
    let watched = usage::processor(&command.watch).saturating_sub(before.1);
    drop(callers);

    measured.times.sort_unstable();
    let at = |share: f64| {
        let place = (measured.times.len() as f64 * share) as usize;
        measured.times.get(place.min(measured.times.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    let requests = measured.requests;
    say(&format!(
        "{{\"requests\":{requests},\"seconds\":{seconds:.6},{},\"watched_cpu_ns\":{watched},\
         \"cpu_us_per_request\":{:.4},\"requests_per_second\":{:.1},\"p50_us\":{:.2},\"p99_us\":{:.2}}}",
        own.json(),
        (own.cpu_ns + watched) as f64 / 1e3 / requests.max(1) as f64,
        requests as f64 / seconds,
        at(0.50).as_secs_f64() * 1e6,
        at(0.99).as_secs_f64() * 1e6,
    ))
}

/// What came of a round, or of one caller's part in it.
#[derive(Default)]
struct Measured {
    requests: u64,
    times: Vec<Duration>,
}

/// Lets all callers work until the amount is reached.
async fn round<C: Caller>(
    callers: Vec<C>,
    cell: &Cell,
    amount: Amount,
    timed_of: u64,
    check: bool,
) -> Outcome<(Vec<C>, Measured)> {
    let left = match amount {
        Amount::Requests(requests) => i64::try_from(requests)?,
        Amount::Time(_) => i64::MAX,
    };
    let left = Arc::new(AtomicI64::new(left));
    let body = cell.body();
    let start = |caller| {
        let part = Part { caller, work: cell.work, body: body.clone(), left: left.clone(), timed_of, check };
        let room = MOST_TIMES / cell.in_flight;
        tokio::spawn(part.run(room))
    };
    let parts: Vec<JoinHandle<_>> = callers.into_iter().map(start).collect();
    if let Amount::Time(time) = amount {
        tokio::time::sleep(time).await;
        left.store(0, Ordering::Relaxed);
    }
    let (mut callers, mut whole) = (Vec::with_capacity(parts.len()), Measured::default());
    for part in parts {
        let (caller, measured) = part.await??;
        callers.push(caller);
        whole.requests += measured.requests;
        whole.times.extend(measured.times);
    }
    Ok((callers, whole))
}

/// One caller's part in a round.
struct Part<C> {
    caller: C,
    work: Work,
    body: Bytes,
    left: Arc<AtomicI64>,
    timed_of: u64,
    check: bool,
}

impl<C: Caller> Part<C> {
    /// A loop for each kind of work, with as little in it as can be: what it costs is in every figure.
    async fn run(mut self, room: usize) -> Outcome<(C, Measured)> {
        let mut clock = Clock { of: self.timed_of, until: 1, times: Vec::with_capacity(room), room };
        let mut requests = 0;
        match self.work {
            Work::Unary { size } => {
                while self.takes_one() {
                    let start = clock.start().await;
                    let body = self.caller.unary(self.body.clone()).await?;
                    clock.stop(start);
                    requests += 1;
                    if body.len() != size || (self.check && body != self.body) {
                        return Err(wrong("bytes", body.len(), size));
                    }
                }
            }
            Work::Stream(ask) => {
                while self.takes_one() {
                    let start = clock.start().await;
                    let items = self.caller.stream(ask).await?;
                    clock.stop(start);
                    requests += 1;
                    if items != ask.items {
                        return Err(wrong("items", items as usize, ask.items as usize));
                    }
                }
            }
            Work::CallHome => {
                while self.takes_one() {
                    clock.keep(self.caller.call_home().await?);
                    requests += 1;
                }
            }
        }
        Ok((self.caller, Measured { requests, times: clock.times }))
    }

    fn takes_one(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) > 0
    }
}

/// Looks at the clock once in a while.
struct Clock {
    of: u64,
    until: u64,
    times: Vec<Duration>,
    room: usize,
}

impl Clock {
    async fn start(&mut self) -> Option<Instant> {
        self.until -= 1;
        if self.until > 0 {
            return None;
        }
        self.until = self.of;
        // A peer within this process may never have to wait; the others, and the timer, want their turn all the same.
        consume_budget().await;
        Some(Instant::now())
    }

    fn stop(&mut self, start: Option<Instant>) {
        if let Some(start) = start {
            self.keep(start.elapsed());
        }
    }

    fn keep(&mut self, time: Duration) {
        if self.times.len() < self.room {
            self.times.push(time);
        }
    }
}

#[cold]
fn wrong(what: &str, are: usize, of: usize) -> Failure {
    format!("the answer is wrong: {are} {what} where {of} were to come, or other ones").into()
}
