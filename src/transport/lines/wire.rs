// SPDX-License-Identifier: Apache-2.0
//! Lines, with a word for a peer that speaks our own multiplexed links instead: the schemes are the same, and the mistake is
//! easily made.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Error, PeerError, Result};
use crate::io::messages::{Lines, MessageWire, Received};
use crate::proto::jsonrpc::{Id, Packet};
use crate::proto::prologue;

pub(super) struct LineWire<R, W> {
    lines: Lines<Judged<R>, W>,
    is_link: Arc<AtomicBool>,
    /// The peer is being told.
    refused: bool,
}

impl<R, W> LineWire<R, W> {
    pub(super) fn new(reader: R, writer: W, max: usize) -> Self {
        let is_link = Arc::new(AtomicBool::new(false));
        let judged = Judged { reader, is_judged: false, is_link: is_link.clone() };
        Self { lines: Lines::new(judged, writer, max), is_link, refused: false }
    }
}

fn misdialled() -> Error {
    Error::protocol("the peer speaks Biplane's multiplexed links, this end speaks JSON-RPC as lines")
        .with_hint("put lines+ before the URL at both ends, or at neither")
}

impl<R, W> MessageWire for LineWire<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        if !self.refused {
            match ready!(self.lines.poll_receive(cx)) {
                Err(_) if self.is_link.load(Ordering::Relaxed) => {
                    let refusal = Packet::Response { id: Id::NULL, outcome: Err(PeerError::from(misdialled())) };
                    self.lines.send(refusal.to_bytes())?;
                    self.refused = true;
                }
                received => return Poll::Ready(received),
            }
        }
        // Its own prologue check says the rest when it reads a brace.
        let _ = ready!(self.lines.poll_close(cx));
        Poll::Ready(Err(misdialled()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.lines.poll_ready(cx)
    }

    fn send(&mut self, message: Bytes) -> Result<()> {
        self.lines.send(message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.lines.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.lines.poll_close(cx)
    }
}

/// Fails at its first read if what comes is a prologue.
struct Judged<R> {
    reader: R,
    is_judged: bool,
    is_link: Arc<AtomicBool>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Judged<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, into))?;
        if !self.is_judged {
            self.is_judged = true;
            if into.filled().get(before..).is_some_and(prologue::begins) {
                self.is_link.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}
