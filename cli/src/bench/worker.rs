// SPDX-License-Identifier: Apache-2.0
//! The child's side: serves what it is told to, answers `report` on standard input with a line of JSON, and ends with its
//! standard input. So it cannot outlive the process that started it, however that one ends.

use std::time::Duration;

use biplane::{Biplane, Error, Handler, Request, ResponseSender, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::counters::Pools;
use super::load::Answer;
use super::usage;
use crate::context::Context;
use crate::exit::Exit;

/// The question that the parent writes as a line.
pub(super) const REPORT: &str = "report";

/// For what still runs when the parent wants no more.
const GRACE: Duration = Duration::from_millis(500);

/// A line of standard output: totals since the process began. The first comes unasked and says that the worker is published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WorkerReport {
    pub(super) cpu_time: Duration,
    pub(super) rss_kib: Option<u64>,
    pub(super) pools: Pools,
}

/// Serves `answers`, a JSON list of [`Answer`], until standard input ends.
pub(super) async fn run(answers: &str, context: &Context) -> Result<Exit> {
    let answers: Vec<Answer> = serde_json::from_str(answers)
        .map_err(|error| Error::config("what a worker serves is no list of answers").with_source(error))?;
    let biplane = context.biplane()?;
    let mut servings = Vec::new();
    for answer in answers {
        servings.push(biplane.serve(&answer.name.clone(), Answering::new(answer)).start().await?);
    }
    let ui = context.ui();
    ui.print_json(&report(&biplane))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    // An error of reading ends the worker as the end does: nobody is there.
    while let Ok(Some(line)) = lines.next_line().await {
        if line == REPORT {
            ui.print_json(&report(&biplane))?;
        }
    }
    drop(servings);
    biplane.shutdown(GRACE).await;
    Ok(Exit::OK)
}

fn report(biplane: &Biplane) -> WorkerReport {
    WorkerReport {
        cpu_time: usage::cpu_time(),
        rss_kib: usage::resident_kib(),
        pools: Pools::read(&biplane.telemetry().render()),
    }
}

/// The handler behind an [`Answer`].
struct Answering {
    answer: Answer,
    item: Option<Bytes>,
}

impl Answering {
    fn new(answer: Answer) -> Self {
        let item = answer.item_size.map(|size| Bytes::from(vec![b'x'; size as usize]));
        Self { answer, item }
    }
}

impl Handler for Answering {
    async fn handle(&self, request: Request, reply: ResponseSender) -> Result<()> {
        let item = self.item.clone().unwrap_or(request.message.body);
        for _ in 0..self.answer.items {
            reply.send(item.clone()).await?;
            if self.answer.is_paced {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}
