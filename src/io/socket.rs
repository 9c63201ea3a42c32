// SPDX-License-Identifier: Apache-2.0
//! A link's byte stream, in two halves where the socket allows it.
//!
//! A plain socket takes bytes from whoever holds its writing half, without a task or a waker: so a request that is alone
//! on its link need not wait for the driver's turn. TLS and whatever else keeps state between writes stays whole, and only
//! its driver writes.

use std::any::Any;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};

use super::bytes::BoxedBytes;
use crate::proto::mux::Batch;

/// Segments of one vectored write.
const SLICES: usize = 64;

/// What a driver reads from and, if it has no halves, writes to.
pub(super) struct Socket(Ends);

enum Ends {
    Whole(BoxedBytes),
    Reader(Reader),
    Gone,
}

enum Reader {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
}

/// The writing half of a plain socket.
pub(super) enum Writer {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
}

impl Socket {
    /// Takes `io` apart if it is a plain socket.
    pub(super) fn new(io: BoxedBytes) -> (Self, Option<Writer>) {
        let mut io = Some(io);
        if let Some(stream) = plain::<TcpStream>(&mut io) {
            let (reader, writer) = stream.into_split();
            return (Self(Ends::Reader(Reader::Tcp(reader))), Some(Writer::Tcp(writer)));
        }
        #[cfg(unix)]
        if let Some(stream) = plain::<UnixStream>(&mut io) {
            let (reader, writer) = stream.into_split();
            return (Self(Ends::Reader(Reader::Unix(reader))), Some(Writer::Unix(writer)));
        }
        (Self(io.map_or(Ends::Gone, Ends::Whole)), None)
    }

    /// Whether a write may be held back until [`Socket::poll_flush`].
    pub(super) fn holds_back(&self) -> bool {
        matches!(self.0, Ends::Whole(_))
    }

    /// One read into the spare room of `input`.
    pub(super) fn poll_read(&mut self, input: &mut impl BufMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Ends::Whole(io) => std::pin::pin!(io.read_buf(input)).poll(cx),
            Ends::Reader(Reader::Tcp(reader)) => std::pin::pin!(reader.read_buf(input)).poll(cx),
            #[cfg(unix)]
            Ends::Reader(Reader::Unix(reader)) => std::pin::pin!(reader.read_buf(input)).poll(cx),
            Ends::Gone => Poll::Ready(Ok(0)),
        }
    }

    /// One write of what comes next in `batch`. `writer` is the socket's own half, if it has halves.
    pub(super) fn poll_write(
        &mut self,
        writer: &mut Option<Writer>,
        batch: &Batch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match (&mut self.0, writer) {
            (Ends::Whole(io), _) => write(Pin::new(io), batch, cx),
            (Ends::Reader(_), Some(writer)) => write(writer.as_pin(), batch, cx),
            (Ends::Reader(_), None) | (Ends::Gone, _) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Sends what a session held back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Ends::Whole(io) => Pin::new(io).poll_flush(cx),
            Ends::Reader(_) | Ends::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Says that no more is written.
    pub(super) fn poll_shutdown(&mut self, writer: &mut Option<Writer>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (&mut self.0, writer) {
            (Ends::Whole(io), _) => Pin::new(io).poll_shutdown(cx),
            (Ends::Reader(_), Some(writer)) => writer.as_pin().poll_shutdown(cx),
            (Ends::Reader(_), None) | (Ends::Gone, _) => Poll::Ready(Ok(())),
        }
    }
}

impl Writer {
    /// Writes what the socket takes at once: bytes, or `None` for nothing, be it full or broken. The driver's next write
    /// finds out which.
    pub(super) fn try_write(&self, batch: &Batch) -> Option<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = fill(&mut slices, batch);
        let slices = slices.get(..used).unwrap_or_default();
        let written = match self {
            Self::Tcp(writer) => writer.try_write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(writer) => writer.try_write_vectored(slices),
        };
        written.ok()
    }

    fn as_pin(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match self {
            Self::Tcp(writer) => Pin::new(writer),
            #[cfg(unix)]
            Self::Unix(writer) => Pin::new(writer),
        }
    }
}

fn write<W: AsyncWrite + ?Sized>(io: Pin<&mut W>, batch: &Batch, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    if let Some(piece) = batch.as_single() {
        return io.poll_write(cx, piece);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = fill(&mut slices, batch);
    if io.is_write_vectored() {
        return io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default());
    }
    io.poll_write(cx, slices.first().map_or(&[], |slice| &slice[..]))
}

/// The next pieces of `batch`, as many as fit. Returns how many.
fn fill<'a>(slices: &mut [IoSlice<'a>], batch: &'a Batch) -> usize {
    let mut used = 0;
    for (slice, piece) in slices.iter_mut().zip(batch.pieces()) {
        *slice = IoSlice::new(piece);
        used += 1;
    }
    used
}

/// Takes what is a `T` out of `io`.
fn plain<T: Any>(io: &mut Option<BoxedBytes>) -> Option<Box<T>> {
    let inner: &dyn Any = &**io.as_ref()?;
    if !inner.is::<T>() {
        return None;
    }
    let io: Box<dyn Any> = io.take()?;
    io.downcast().ok()
}
