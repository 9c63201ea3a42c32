// SPDX-License-Identifier: Apache-2.0
//! The classic bridge from messages to a transport, a task with a channel in and a channel out for each connection, against
//! a connection that is called. Both over the same links.

use std::sync::Arc;

use biplane::Connection;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{Mutex, mpsc};

use crate::logical::{Caller, ON_A_LINK};
use crate::reading::{Reading, allocations, each, processor};
use crate::report::Report;
use crate::settings::{BODY, ECHO, echo, request};
use crate::{Failure, Outcome};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 20;

/// What a task stands behind.
struct Bridge {
    requests: mpsc::Sender<Bytes>,
    answers: Mutex<mpsc::Receiver<Outcome<Bytes>>>,
}

impl Bridge {
    fn new(connection: Arc<dyn Connection>) -> Self {
        let (requests, mut arriving) = mpsc::channel(16);
        let (outgoing, answers) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Some(body) = arriving.recv().await {
                let mut asked = request(ECHO);
                asked.message.body = body;
                let answer = connection.request(asked).await.map(|answer| answer.body).map_err(Failure::from);
                if outgoing.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Self { requests, answers: Mutex::new(answers) }
    }

    async fn call(&self) -> Outcome {
        self.requests.send(BODY).await?;
        let answer = self.answers.lock().await.recv().await.ok_or("the task has ended")??;
        if answer != BODY { Err("another body came back".into()) } else { Ok(()) }
    }
}

pub(crate) async fn measure(count: usize) -> Outcome<Report> {
    let mut caller = Caller::start("tcp", count.div_ceil(ON_A_LINK)).await?;
    let mut report = Report::new(&format!("{count} connections at a caller, over {} links", caller.links.len()));

    let before = Reading::here()?;
    caller.connect().await?;
    let after = Reading::here()?;
    idle(&mut report, "a connection", (after, before), count);
    let connections: Vec<_> = caller.links.iter().flat_map(|link| link.connections.iter().cloned()).collect();
    used(&mut report, "a connection", &connections, async |connection| echo(&**connection).await).await?;

    let before = Reading::here()?;
    let bridges: Vec<Bridge> = connections.iter().cloned().map(Bridge::new).collect();
    stream::iter(&bridges).map(Ok::<_, Failure>).try_for_each(Bridge::call).await?;
    let after = Reading::here()?;
    idle(&mut report, "a task and two channels before it", (after, before), count);
    used(&mut report, "a task and two channels before it", &bridges, Bridge::call).await?;
    Ok(report)
}

fn idle(report: &mut Report, what: &str, (after, before): (Reading, Reading), count: usize) {
    let (rss, heap) = after.growth(before, count);
    report.figure(&format!("{what}: allocated while idle"), heap, "B");
    report.figure(&format!("{what}: RSS while idle"), rss, "B");
    report.figure(&format!("{what}: tasks"), each(after.tasks, before.tasks, count), "");
}

/// One request after another on all of them, as many at a time as usual.
async fn used<'a, C>(
    report: &mut Report,
    what: &str,
    connections: &'a [C],
    call: impl AsyncFn(&'a C) -> Outcome,
) -> Outcome {
    let requests = ROUNDS * connections.len();
    let (allocated, started) = (allocations().0, processor());
    let each_once = connections.iter().cycle().take(requests);
    let mut calls = stream::iter(each_once).map(|connection| call(connection)).buffer_unordered(IN_FLIGHT);
    while let Some(called) = calls.next().await {
        called?;
    }
    let took = processor() - started;
    report.figure(&format!("{what}: the caller's CPU for a request"), took.as_secs_f64() * 1e6 / requests as f64, "us");
    report.figure(&format!("{what}: the caller's allocations"), each(allocations().0, allocated, requests), "");
    Ok(())
}
