// SPDX-License-Identifier: Apache-2.0
//! Our own standard input and output as a listener of one connection.
//!
//! Both are read and written by threads of their own: they may block, and a runtime that shuts down waits for whatever
//! blocks on its own threads. A thread that still reads when the process ends is no obstacle to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use self::input::Input;
use self::output::Output;
use super::{ID, id};
use crate::connection::{Connection, ConnectionInfo, Listener};
use crate::error::{Error, Phase, Result};
use crate::io::messages::{self, Lines, Settings};
use crate::target::TransportAddress;

mod input;
mod output;

/// What the envelope may add to a message of the largest size.
const ENVELOPE: usize = 8 << 10;

/// Whether this runtime has them in use already. There is one pair per process, and it is for one peer.
#[derive(Debug, Default)]
pub(super) struct OwnStreams {
    are_taken: AtomicBool,
}

impl OwnStreams {
    pub(super) fn listen(&self, max_message: usize) -> Result<OwnListener> {
        if self.are_taken.swap(true, Ordering::AcqRel) {
            return Err(Error::config("standard input and output are listened on already")
                .with_transport(ID)
                .with_phase(Phase::Listen)
                .with_hint("listen on `stdio:` once"));
        }
        let (open, closed) = watch::channel(());
        Ok(OwnListener { max_message, open: Mutex::new(Some(open)), closed })
    }
}

pub(super) struct OwnListener {
    max_message: usize,
    /// Goes to the connection, and with it.
    open: Mutex<Option<watch::Sender<()>>>,
    closed: watch::Receiver<()>,
}

#[async_trait]
impl Listener for OwnListener {
    fn local_address(&self) -> TransportAddress {
        TransportAddress::new(id(), "")
    }

    /// One connection, and `None` once it is over.
    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else {
            // Only ever an error, when the sender is dropped.
            let _ = self.closed.clone().changed().await;
            return Ok(None);
        };
        let failed = |error| Error::unexpected("no thread for standard input and output").with_source(error);
        let input = Input::start(std::io::stdin(), open).map_err(failed)?;
        let output = Output::start(std::io::stdout()).map_err(failed)?;
        let lines = Lines::new(input, output, self.max_message.saturating_add(ENVELOPE));
        let info = ConnectionInfo::new(ID, "standard input and output", messages::CLAIMS);
        Ok(Some(messages::connection(lines, info, Settings::listener(self.max_message))))
    }
}
