// SPDX-License-Identifier: Apache-2.0
//! Whole bodies that come in.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;

use crate::error::{Detail, Error, Result};

/// Bytes beyond the limit that are still read away, so that a link outlives a message that is somewhat too large:
/// HTTP/1.1 has no other way to come to the next request.
const DRAIN: usize = 1 << 20;

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
        let claimed = body.size_hint().lower();
        if claimed > (limit + DRAIN) as u64 {
            return Err(Error::too_large("the body", limit as u64, claimed));
        }
        Ok(Self { body, limit, claimed, whole: Bytes::new(), more: BytesMut::new(), got: 0 })
    }

    /// Waits for the next bytes; false if no more come after them. Cancel-safe.
    pub(super) async fn more(&mut self) -> Result<bool> {
        let Some(chunk) = next_chunk(&mut self.body).await? else { return Ok(false) };
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
        Ok(!self.body.is_end_stream())
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

/// The next bytes of a body; `None` at its end. Trailers are skipped.
async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
            Some(Err(error)) => return Err(cut(error)),
        }
    }
}

/// A body that ended before its end, as the details know it: in order by a FIN, or not.
pub(super) fn cut(error: hyper::Error) -> Error {
    if error.is_parse() {
        return Error::protocol("the body is malformed").with_detail(Detail::Malformed).with_source(error);
    }
    let orderly = error.is_incomplete_message()
        || causes(&error)
            .filter_map(io_kind)
            .any(|kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe));
    Error::peer_closed(0, orderly).with_source(error)
}

/// Whether the peer says that it did not look at the request (RFC 9113, section 8.7).
pub(super) fn is_refused_stream(error: &hyper::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

fn causes<'a>(error: &'a hyper::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

/// HTTP/2 tells of a FIN as of a broken pipe.
fn io_kind(cause: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let own = cause.downcast_ref::<std::io::Error>();
    own.or_else(|| cause.downcast_ref::<h2::Error>().and_then(h2::Error::get_io)).map(std::io::Error::kind)
}
