// SPDX-License-Identifier: Apache-2.0
//! A blocking reader, read by a thread.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{mpsc, watch};

/// Bytes of one read.
const PIECE: usize = 16 << 10;
/// Pieces that wait to be taken. The thread reads no further ahead.
const AHEAD: usize = 4;

/// What the thread read.
pub(super) struct Input {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    /// Tells by its drop that nobody reads any more.
    _open: watch::Sender<()>,
}

impl Input {
    pub(super) fn start(mut from: impl Read + Send + 'static, open: watch::Sender<()>) -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let read = move || {
            let mut piece = vec![0; PIECE];
            loop {
                let (read, is_last) = match from.read(&mut piece) {
                    Ok(0) => return,
                    Ok(count) => (Ok(Bytes::copy_from_slice(piece.get(..count).unwrap_or_default())), false),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => (Err(error), true),
                };
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("biplane-stdin".to_owned()).spawn(read)?;
        Ok(Self { pieces, current: Bytes::new(), _open: open })
    }
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.current = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.current.len().min(into.remaining());
        into.put_slice(self.current.get(..count).unwrap_or_default());
        self.current.advance(count);
        Poll::Ready(Ok(()))
    }
}
