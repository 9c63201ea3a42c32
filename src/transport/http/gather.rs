// SPDX-License-Identifier: Apache-2.0
//! What an HTTP/2 link says in one turn of its task, in as few writes as that fits into.
//!
//! `h2` writes each body of some size by itself, with a system call for each. A link of many streams says many of them in a
//! turn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait for the end of a turn. More are written before it.
const MOST: usize = 64 << 10;

/// A buffer that a turn filled less than this is not kept for the next one.
const WORTH_KEEPING: usize = 16 << 10;

/// Slices that are written at once behind what waits.
const SLICES: usize = 3;

/// A stream whose writes wait for [`Turn::end`].
pub(super) struct Gathered<S>(Arc<Mutex<State<S>>>);

/// The task that drives a link says by this when its turn is over. What is written before the first time does not wait.
pub(super) struct Turn<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    waiting: BytesMut,
    waits: bool,
    /// Bytes that this turn said.
    said: usize,
    /// Why what waited could not be written.
    failed: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathered<S> {
    pub(super) fn new(stream: S) -> (Self, Turn<S>) {
        let state =
            Arc::new(Mutex::new(State { stream, waiting: BytesMut::new(), waits: false, said: 0, failed: None }));
        (Self(state.clone()), Turn(state))
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock()
    }
}

impl<S: AsyncWrite + Unpin> Turn<S> {
    /// Writes what waits. Where the system does not take it all now, the task is woken when it does, to come back here;
    /// where it fails, the task is woken at once, and its link finds the failure.
    pub(super) fn end(&self, cx: &mut Context<'_>) {
        let mut state = self.0.lock();
        state.waits = true;
        if let Poll::Ready(Err(error)) = state.poll_end(cx) {
            state.failed = Some(error);
            state.waiting = BytesMut::new();
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Takes `slices` together, or as the stream does.
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.waits && self.waiting.len() + length <= MOST {
            slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
            self.said += length;
            return Poll::Ready(Ok(length));
        }
        loop {
            let mut all = [IoSlice::new(&[]); 1 + SLICES];
            let (first, rest) = all.split_at_mut(1);
            first.fill(IoSlice::new(&self.waiting));
            rest.iter_mut().zip(slices).for_each(|(place, slice)| *place = IoSlice::new(slice));
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
            let waited = self.waiting.len();
            self.waiting.advance(written.min(waited));
            // A stream that takes nothing is for the one above to make out.
            if written == 0 || written > waited {
                self.said += written;
                return Poll::Ready(Ok(written.saturating_sub(waited)));
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        if std::mem::take(&mut self.said) < WORTH_KEEPING {
            self.waiting = BytesMut::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        match state.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut state.stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.state().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// At the end of the turn, once there are turns.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.waits { Poll::Ready(Ok(())) } else { Pin::new(&mut state.stream).poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        ready!(state.poll_waiting(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_said_in_a_turn_leaves_with_its_end() {
        let (ours, mut theirs) = duplex(1 << 20);
        let (mut gathered, turn) = Gathered::new(ours);
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = [0; 5];
        gathered.write_all(b"first").await.unwrap();
        theirs.read_exact(&mut seen).await.unwrap();
        turn.end(&mut cx);
        gathered.write_all(b"se").await.unwrap();
        gathered.flush().await.unwrap();
        let mut buffer = ReadBuf::new(&mut seen);
        assert!(Pin::new(&mut theirs).poll_read(&mut cx, &mut buffer).is_pending());
        let slices = [IoSlice::new(b"co"), IoSlice::new(b"nd")];
        assert_eq!(gathered.write_vectored(&slices).await.unwrap(), 4);
        turn.end(&mut cx);
        let mut seen = [0; 6];
        theirs.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"second");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_arrives_in_order() {
        let (ours, mut theirs) = duplex(1000);
        let (mut gathered, turn) = Gathered::new(ours);
        turn.end(&mut Context::from_waker(Waker::noop()));
        let said: Vec<u8> = (0..MOST * 3).map(|at| (at % 251) as u8).collect();
        let expected = said.clone();
        let writing = tokio::spawn(async move {
            for part in said.chunks(1999) {
                gathered.write_all(part).await.unwrap();
                assert!(gathered.state().waiting.len() <= MOST);
            }
            gathered.shutdown().await.unwrap();
        });
        let mut seen = Vec::new();
        theirs.read_to_end(&mut seen).await.unwrap();
        writing.await.unwrap();
        assert!(seen == expected);
        drop(turn);
    }

    #[tokio::test]
    async fn a_failure_at_the_end_of_a_turn_is_the_links() {
        let (ours, theirs) = duplex(10);
        let (mut gathered, turn) = Gathered::new(ours);
        let mut cx = Context::from_waker(Waker::noop());
        turn.end(&mut cx);
        gathered.write_all(b"lost").await.unwrap();
        drop(theirs);
        turn.end(&mut cx);
        assert_eq!(gathered.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
