// SPDX-License-Identifier: Apache-2.0
//! Ctrl-C, and the other ways to be asked to go.

use std::future::Future;

use biplane::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

/// Runs `work` to its end, or drops it when the process is asked to go: what it holds (children, files) goes with it.
pub(crate) async fn unless_interrupted(work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let listen = |kind| signal(kind).map_err(|error| Error::unexpected("cannot listen for signals").with_source(error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Ok(Exit::INTERRUPTED),
        _ = terminate.recv() => Ok(Exit::INTERRUPTED),
        _ = hang_up.recv() => Ok(Exit::INTERRUPTED),
    }
}
