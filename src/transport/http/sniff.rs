// SPDX-License-Identifier: Apache-2.0
//! HTTP/1.1 and HTTP/2 on one port: the client's first bytes tell (RFC 9113, section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::idle::Activity;
use crate::config::HttpVersion;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear what the client speaks; the stream that comes back gives those bytes again.
pub(super) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(HttpVersion, Replayed<S>)> {
    let mut seen = [0; PREFACE.len()];
    let mut length = 0;
    while let Some(rest) = seen.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let read = stream.read(rest).await?;
        length += read;
        let so_far = seen.get(..length).unwrap_or_default();
        if read == 0 || !PREFACE.starts_with(so_far) {
            return Ok((HttpVersion::Http1, Replayed::new(Bytes::copy_from_slice(so_far), stream)));
        }
    }
    Ok((HttpVersion::Http2, Replayed::new(Bytes::from_static(PREFACE), stream)))
}

/// A stream that begins with bytes that were read from it before.
pub(super) struct Replayed<S> {
    before: Bytes,
    stream: S,
    activity: Option<Activity>,
}

impl<S> Replayed<S> {
    /// `stream`, of which `before` was read already.
    pub(super) fn new(before: Bytes, stream: S) -> Self {
        Self { before, stream, activity: None }
    }

    /// Tells `activity` of every read and write.
    pub(super) fn watched_by(mut self, activity: Activity) -> Self {
        self.activity = Some(activity);
        self
    }

    /// The stream itself. What was to be given again has been: whoever got something read it all.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>, offered: usize) {
        if let Some(activity) = &self.activity {
            let taken = if let Poll::Ready(Ok(taken)) = written { *taken } else { 0 };
            activity.wrote(taken, offered);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = if this.before.is_empty() {
            Pin::new(&mut this.stream).poll_read(cx, buffer)
        } else {
            let count = this.before.len().min(buffer.remaining());
            buffer.put_slice(&this.before.split_to(count));
            Poll::Ready(Ok(()))
        };
        if buffer.filled().len() > before
            && let Some(activity) = &this.activity
        {
            activity.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&written, bytes.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&written, slices.iter().map(|slice| slice.len()).sum());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn the_first_bytes_tell_and_are_given_again() {
        for (bytes, version) in [
            (PREFACE.to_vec(), HttpVersion::Http2),
            ([PREFACE, b"more"].concat(), HttpVersion::Http2),
            (b"POST / HTTP/1.1\r\n".to_vec(), HttpVersion::Http1),
            (b"PRI * HTTP/1.1".to_vec(), HttpVersion::Http1),
            (b"P".to_vec(), HttpVersion::Http1),
            (Vec::new(), HttpVersion::Http1),
        ] {
            for step in [1, 5, 100] {
                let (mut client, server) = tokio::io::duplex(4);
                let sent = bytes.clone();
                tokio::spawn(async move {
                    for part in sent.chunks(step) {
                        client.write_all(part).await.unwrap();
                    }
                });
                let (found, mut stream) = sniff(server).await.unwrap();
                let mut read = Vec::new();
                stream.read_to_end(&mut read).await.unwrap();
                assert_eq!((found, read), (version, bytes.clone()));
            }
        }
    }
}
