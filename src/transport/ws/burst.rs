// SPDX-License-Identifier: Apache-2.0
//! The bytes below a WebSocket, in bursts. The library reads and writes a few KiB at a time, which is what an idle link
//! may keep; all that has come is read with one call here, and all that is said until a flush is written with one.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::io::messages::chunk::Chunk;
use crate::io::traffic::{Counted, Traffic};

/// Bytes that wait for a flush. Beyond this they are written before more are taken.
const MAX_WAITING: usize = 64 << 10;

/// As much at once is written as it is: copying would cost more than the call that it spares.
const LARGE: usize = 16 << 10;

/// A stream that holds buffers only while there is something in them.
pub(super) struct Burst<S> {
    stream: Counted<S>,
    input: BytesMut,
    chunk: Chunk,
    output: BytesMut,
    /// Bytes of the last burst that was written: the next one is given as many at once.
    expected: usize,
}

impl<S> Burst<S> {
    pub(super) fn new(stream: S) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { stream: Counted::new(stream), input, chunk: Chunk::new(), output, expected: 0 }
    }

    /// What has gone over the stream itself.
    pub(super) fn traffic(&self) -> &Traffic {
        self.stream.traffic()
    }
}

impl<S: AsyncWrite + Unpin> Burst<S> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.expected = self.output.len().min(MAX_WAITING);
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        self.output = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Burst<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, input, chunk, .. } = &mut *self;
        if input.is_empty() {
            let came = if buffer.remaining() >= chunk.size() {
                let before = buffer.filled().len();
                Pin::new(stream).poll_read(cx, buffer).map_ok(|()| buffer.filled().len() - before)
            } else {
                input.reserve(chunk.size());
                pin!(stream.read_buf(input)).poll(cx)
            };
            match came {
                Poll::Ready(came) => chunk.came(came?),
                Poll::Pending => {
                    chunk.over();
                    *input = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
        let taken = input.len().min(buffer.remaining());
        buffer.put_slice(input.get(..taken).unwrap_or_default());
        input.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Burst<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() >= LARGE {
            ready!(self.poll_write_out(cx))?;
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if self.output.len() >= MAX_WAITING {
            ready!(self.poll_write_out(cx))?;
        }
        let room = if self.output.is_empty() { self.expected.max(bytes.len()) } else { bytes.len() };
        self.output.reserve(room);
        self.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_written_goes_with_the_flush_and_leaves_no_buffer() {
        let (near, mut far) = duplex(1 << 20);
        let mut near = Burst::new(near);
        for _ in 0..100 {
            near.write_all(&[b'x'; 50]).await.unwrap();
        }
        assert_eq!(near.traffic().written(), 0);
        near.flush().await.unwrap();
        assert_eq!((near.traffic().written(), near.output.capacity()), (5000, 0));
        let mut read = vec![0; 5000];
        far.read_exact(&mut read).await.unwrap();
        assert!(read.iter().all(|byte| *byte == b'x'));
    }

    #[tokio::test]
    async fn no_more_waits_than_the_bound_and_large_pieces_keep_their_place() {
        let (near, mut far) = duplex(1 << 20);
        let mut near = Burst::new(near);
        near.write_all(b"a").await.unwrap();
        near.write_all(&[b'b'; LARGE]).await.unwrap();
        assert_eq!(near.traffic().written(), 1 + LARGE as u64);
        while near.traffic().written() == 1 + LARGE as u64 {
            near.write_all(&[b'c'; 1000]).await.unwrap();
            assert!(near.output.len() < MAX_WAITING + 1000);
        }
        let mut read = vec![0; 1 + LARGE];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!((read[0], read[1], read[LARGE]), (b'a', b'b', b'b'));
    }

    #[tokio::test]
    async fn small_reads_get_what_came_in_order() {
        let (near, mut far) = duplex(1 << 20);
        let mut near = Burst::new(near);
        let sent: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
        far.write_all(&sent).await.unwrap();
        drop(far);
        let (mut got, mut piece) = (Vec::new(), [0; 700]);
        loop {
            match near.read(&mut piece).await.unwrap() {
                0 => break,
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        assert_eq!(got, sent);
        assert_eq!(near.traffic().read(), 20_000);
    }
}
