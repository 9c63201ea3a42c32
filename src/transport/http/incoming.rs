// SPDX-License-Identifier: Apache-2.0
//! Bodies that come in, by either version.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::Body;

use crate::error::{Detail, Error, Result};

/// Bytes beyond the limit that are still read away, so that a link outlives a message that is somewhat too large:
/// HTTP/1.1 has no other way to come to the next request.
const DRAIN: usize = 1 << 20;

/// The body of a request to us, or of a response. Dropped before its end, an HTTP/2 stream is reset.
pub(super) enum Incoming {
    /// By hyper.
    Http1(hyper::body::Incoming),
    /// As it comes, and how long it says that it is.
    Http2(RecvStream, u64),
}

impl Incoming {
    /// The body that came with `headers`.
    pub(super) fn http2(stream: RecvStream, headers: &HeaderMap) -> Self {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        Self::Http2(stream, length.and_then(|length| length.parse().ok()).unwrap_or(0))
    }

    /// The next bytes; `None` at the end. Trailers are skipped.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self {
            Self::Http1(body) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(cut(error)))),
                    Some(Ok(frame)) => {
                        if let Ok(chunk) = frame.into_data() {
                            return Poll::Ready(Some(Ok(chunk)));
                        }
                    }
                }
            },
            Self::Http2(stream, _) => match ready!(stream.poll_data(cx)) {
                None => Poll::Ready(None),
                Some(Err(error)) => Poll::Ready(Some(Err(cut2(error)))),
                Some(Ok(chunk)) => {
                    // Who reads makes room for more. It fails where nothing more can come.
                    let _ = stream.flow_control().release_capacity(chunk.len());
                    Poll::Ready(Some(Ok(chunk)))
                }
            },
        }
    }

    /// Whether all has been read, as far as that is known already.
    fn is_over(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(stream, _) => stream.is_end_stream(),
        }
    }

    /// How long it says that it is at least.
    fn claimed(&self) -> u64 {
        match self {
            Self::Http1(body) => body.size_hint().lower(),
            Self::Http2(_, length) => *length,
        }
    }
}

/// Reads `body` to its end, at most `limit` bytes. Waits as long as the peer does: bound it from outside.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes> {
    let mut reading = Reading::new(body, limit)?;
    while reading.more().await? {}
    reading.finish()
}

/// A body that is being read.
pub(super) struct Reading {
    body: Incoming,
    limit: usize,
    claimed: u64,
    whole: Bytes,
    more: BytesMut,
    got: usize,
}

impl Reading {
    /// Reads at most `limit` bytes. A body that says that it is far longer is refused at once.
    pub(super) fn new(body: Incoming, limit: usize) -> Result<Self> {
        let claimed = body.claimed();
        if claimed > (limit + DRAIN) as u64 {
            return Err(Error::too_large("the body", limit as u64, claimed));
        }
        Ok(Self { body, limit, claimed, whole: Bytes::new(), more: BytesMut::new(), got: 0 })
    }

    /// Waits for the next bytes; false if no more come after them. Cancel-safe.
    pub(super) async fn more(&mut self) -> Result<bool> {
        if self.body.is_over() {
            return Ok(false);
        }
        let Some(chunk) = poll_fn(|cx| self.body.poll_chunk(cx)).await.transpose()? else { return Ok(false) };
        self.got += chunk.len();
        if self.got > self.limit + DRAIN {
            return Ok(false);
        } else if self.got > self.limit {
            self.whole = Bytes::new();
            self.more = BytesMut::new();
        } else if self.whole.is_empty() && self.more.is_empty() {
            // The common case: one chunk, no copy.
            self.whole = chunk;
        } else {
            if self.more.is_empty() {
                self.more = BytesMut::from(std::mem::take(&mut self.whole));
            }
            self.more.extend_from_slice(&chunk);
        }
        // A body that told its length ends with it; asking once more would cost its link another turn.
        Ok(!self.body.is_over())
    }

    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.got as u64
    }

    /// The whole body.
    pub(super) fn finish(self) -> Result<Bytes> {
        if self.got > self.limit {
            return Err(Error::too_large("the body", self.limit as u64, self.claimed.max(self.got as u64)));
        }
        Ok(if self.more.is_empty() { self.whole } else { self.more.freeze() })
    }
}

/// A body that ended before its end, as the details know it: in order by a FIN, or not.
fn cut(error: hyper::Error) -> Error {
    if error.is_parse() {
        return Error::protocol("the body is malformed").with_detail(Detail::Malformed).with_source(error);
    }
    let io = std::iter::successors(std::error::Error::source(&error), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let orderly = error.is_incomplete_message() || io.is_some_and(is_fin);
    Error::peer_closed(0, orderly).with_source(error)
}

/// As [`cut`]. A stream that the peer reset without a complaint ended in order, too.
fn cut2(error: h2::Error) -> Error {
    let orderly =
        matches!(error.reason(), Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL)) || error.get_io().is_some_and(is_fin);
    Error::peer_closed(0, orderly).with_source(error)
}

/// HTTP/2 tells of a FIN as of a broken pipe.
fn is_fin(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe)
}
