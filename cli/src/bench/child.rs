// SPDX-License-Identifier: Apache-2.0
//! The parent's side of the bench's own worker.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use biplane::{Error, Result};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::load::Answer;
use super::site::{Planes, Site};
use super::worker::{REPORT, WorkerReport};
use crate::context::Context;

/// To start, bind and publish; and to answer a question. Far above what either takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// To end in order.
const GRACE: Duration = Duration::from_secs(3);

/// A worker in a process of its own. Drop kills it.
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts this program as a worker that serves `answers` on the request plane of `planes`.
    pub(super) async fn start(context: &Context, site: &Site, planes: &Planes, answers: &[Answer]) -> Result<Self> {
        let failed = |error| Error::unexpected("the bench cannot start its worker").with_source(error);
        let answers = serde_json::to_string(answers)
            .map_err(|error| Error::unexpected("answers that are no JSON").with_source(error))?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        if let Some(file) = context.config_file() {
            command.arg("--config").arg(file);
        }
        if context.ui().is_quiet() {
            command.arg("--quiet");
        }
        command
            .args(["bench", "--as-worker", &answers])
            .envs(site.env(planes))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own: Ctrl-C is for the parent, which then ends the worker in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::unexpected("the worker came without its pipes"));
        };
        let mut worker = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        worker.read::<WorkerReport>().await?;
        Ok(worker)
    }

    /// What it has used so far.
    pub(super) async fn report(&mut self) -> Result<WorkerReport> {
        if let Err(error) = self.stdin.write_all(format!("{REPORT}\n").as_bytes()).await {
            return Err(self.gone().await.with_source(error));
        }
        self.read().await
    }

    /// Ends it in order, or by force where that takes long.
    pub(super) async fn stop(self) {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        if timeout(GRACE, child.wait()).await.is_err() {
            // An error says that it ended meanwhile.
            let _ = child.kill().await;
        }
    }

    async fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .map_err(|_| Error::timeout(format!("the bench's worker said nothing for {} s", PATIENCE.as_secs())))?;
        match line {
            Ok(Some(line)) => serde_json::from_str(&line)
                .map_err(|error| Error::protocol("the bench's worker wrote something else").with_source(error)),
            Ok(None) | Err(_) => Err(self.gone().await),
        }
    }

    async fn gone(&mut self) -> Error {
        let status = timeout(GRACE, self.child.wait()).await.ok().and_then(Result::ok);
        let how = status.map_or_else(|| "without a status".to_owned(), |status: ExitStatus| status.to_string());
        Error::closed(format!("the bench's worker ended ({how})")).with_hint("what it wrote above says why")
    }
}
