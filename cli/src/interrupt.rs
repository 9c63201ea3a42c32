// SPDX-License-Identifier: Apache-2.0
//! The signals that ask a process to end.

use biplane::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, from when this is made: none is lost between two calls of [`next`](Self::next).
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where it means something else.
    hangup: Option<Signal>,
}

impl Interrupts {
    /// From now on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self { hangup: Some(listen(SignalKind::hangup())?), ..Self::without_hangup()? })
    }

    /// SIGINT and SIGTERM only, for a program that SIGHUP does not end.
    pub(crate) fn without_hangup() -> Result<Self> {
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup: None })
    }

    /// Waits for the next one, and names it. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::unexpected("the signals cannot be listened to").with_source(error))
}
