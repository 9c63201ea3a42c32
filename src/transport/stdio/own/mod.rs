// SPDX-License-Identifier: Apache-2.0
//! Our own standard input and output as a listener of one connection.
//!
//! Both are read and written by threads of their own: they may block, and a runtime that shuts down waits for whatever
//! blocks on its own threads. A thread that still reads when the process ends is no obstacle to its end.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::input::Input;
use self::output::Output;
use self::wire::OwnWire;
use super::{ID, id};
use crate::connection::{Connection, ConnectionInfo, Listener};
use crate::error::{Error, Phase, Result};
use crate::io::messages::{self, Lines, Settings};
use crate::target::TransportAddress;

mod input;
mod output;
mod wire;

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
        let open = self.open.lock().take();
        let Some(open) = open else {
            // Only ever an error, when the sender is dropped.
            let _ = self.closed.clone().changed().await;
            return Ok(None);
        };
        let failed = |error| Error::unexpected("no thread for standard input and output").with_source(error);
        connection(std::io::stdin(), std::io::stdout(), open, self.max_message).map(Some).map_err(failed)
    }
}

/// Ready at once: both threads start here. `open` goes when the connection does.
fn connection(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    open: watch::Sender<()>,
    max_message: usize,
) -> io::Result<Arc<dyn Connection>> {
    let (input, output) = (Input::start(input, open)?, Output::start(output)?);
    let lines = Lines::new(input, output, max_message.saturating_add(ENVELOPE));
    let info = ConnectionInfo::new(ID, "standard input and output", messages::CLAIMS);
    Ok(messages::connection(OwnWire::new(lines), info, Settings::listener(max_message)))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::connection::Inbound;

    const ASK: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";

    #[tokio::test]
    async fn what_was_asked_before_the_end_is_answered_and_then_the_connection_ends() {
        let (stdin, mut theirs) = io::pipe().unwrap();
        let (answers, stdout) = io::pipe().unwrap();
        let (open, mut closed) = watch::channel(());
        let connection = connection(stdin, stdout, open, 1024).unwrap();
        theirs.write_all(ASK.as_bytes()).unwrap();
        drop(theirs);
        let Some(Inbound::Request(_, reply)) = connection.receive().await.unwrap() else { panic!("no request") };
        // Long after the end of the input was read, as far as a test can know.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(closed.has_changed().is_ok(), "the connection did not wait");
        reply.send("{}").await.unwrap();
        reply.close();
        assert!(connection.receive().await.unwrap().is_none());
        assert!(closed.changed().await.is_err());
        let mut line = String::new();
        BufReader::new(answers).read_line(&mut line).unwrap();
        assert!(line.contains("\"result\":{}"), "{line}");
    }

    #[tokio::test]
    async fn the_pair_is_given_once_and_the_listener_ends_with_its_connection() {
        let streams = OwnStreams::default();
        let listener = streams.listen(1024).unwrap();
        assert!(streams.listen(1024).is_err_and(|error| error.phase() == Some(Phase::Listen)));
        let open = listener.open.lock().take().unwrap();
        let (stdin, theirs) = io::pipe().unwrap();
        let connection = connection(stdin, io::sink(), open, 1024).unwrap();
        drop(theirs);
        assert!(listener.accept().await.unwrap().is_none());
        drop(connection);
    }
}
