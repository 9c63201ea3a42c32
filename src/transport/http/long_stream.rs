// SPDX-License-Identifier: Apache-2.0
//! The rest of an HTTP/1.1 response that lasts: its chunks (RFC 9112, section 7.1) are written by hand, so that a client
//! that listens costs neither hyper's buffers nor its machinery.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::listen::Events;

/// Requests that a client sends before this response is over are kept up to here; then it has to wait.
const MAX_AHEAD: usize = 16 << 10;

/// Events that either hyper writes, or whoever took them over.
#[derive(Clone)]
pub(super) struct Handover(Arc<Mutex<Option<Box<Events>>>>);

impl Handover {
    pub(super) fn new(events: Events) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(events)))))
    }

    /// Takes the events away from whoever wrote them until now, who then has an endless body.
    pub(super) fn take(&self) -> Option<Box<Events>> {
        self.0.lock().take()
    }

    /// The next chunk.
    pub(super) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut *self.0.lock() {
            Some(events) => events.poll_chunk(cx),
            None => Poll::Pending,
        }
    }

    /// Whether the end has been written.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|events| events.is_over())
    }
}

/// Writes `events` to their end, after which the link is as good as new; gives back what was read meanwhile. `None` if
/// the client went away, which ends the events.
pub(super) async fn write<S>(stream: &mut S, mut events: Box<Events>, ahead: Bytes) -> io::Result<Option<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut ahead = BytesMut::from(&ahead[..]);
    let mut out = Bytes::new();
    let mut over = false;
    let ended = poll_fn(|cx| {
        loop {
            while !out.is_empty() {
                let written = std::task::ready!(poll_write(stream, &out, &mut ahead, cx))?;
                match written {
                    Some(count) => out.advance(count),
                    None => return Poll::Ready(Ok(false)),
                }
            }
            if over {
                return Pin::new(&mut *stream).poll_flush(cx).map_ok(|()| true);
            }
            match events.poll_chunk(cx) {
                Poll::Ready(Some(text)) => {
                    over = events.is_over();
                    out = chunk(&text, over);
                }
                Poll::Ready(None) => {
                    over = true;
                    out = chunk(&[], true);
                }
                Poll::Pending => {
                    // TLS keeps what it could not write until it is asked to.
                    if let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_flush(cx) {
                        return Poll::Ready(Err(error));
                    }
                    std::task::ready!(poll_gone(stream, &mut ahead, cx))?;
                    return Poll::Ready(Ok(false));
                }
            }
        }
    });
    let whole: bool = ended.await?;
    Ok(whole.then(|| ahead.freeze()))
}

/// Writes some of `out`; `None` if the client is gone. Whoever waits to write notices that, too.
fn poll_write<S>(
    stream: &mut S,
    out: &[u8],
    ahead: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<usize>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match Pin::new(&mut *stream).poll_write(cx, out) {
        Poll::Ready(Ok(0)) => Poll::Ready(Ok(None)),
        Poll::Ready(written) => Poll::Ready(written.map(Some)),
        Poll::Pending => poll_gone(stream, ahead, cx).map_ok(|()| None),
    }
}

/// Ready when the client closed its side: it will not read the rest.
fn poll_gone<S: AsyncRead + Unpin>(stream: &mut S, ahead: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while ahead.len() < MAX_AHEAD {
        let mut space = [0; 256];
        let mut read = ReadBuf::new(&mut space);
        std::task::ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        ahead.extend_from_slice(read.filled());
    }
    Poll::Pending
}

/// One chunk, and if it is the last one the end of the body.
fn chunk(text: &[u8], last: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 32);
    if !text.is_empty() {
        out.put_slice(format!("{:x}\r\n", text.len()).as_bytes());
        out.put_slice(text);
        out.put_slice(b"\r\n");
    }
    if last {
        out.put_slice(b"0\r\n\r\n");
    }
    out.freeze()
}
