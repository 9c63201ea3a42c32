// SPDX-License-Identifier: Apache-2.0
//! A response on an HTTP/2 stream: at once where it is all there, and chunk by chunk where it lasts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::Response;
use http::header::{self, HeaderValue};

use super::body::Body;
use super::date::Dates;
use super::listening::ANNOUNCED;

/// Sends the head of `response`, and its body if it is all there. What is left is still to be sent.
pub(super) fn begin(response: Response<Body>, respond: SendResponse<Bytes>, dates: &Dates) -> Option<Rest> {
    sent(try_begin(response, respond, dates)).flatten()
}

fn try_begin(
    response: Response<Body>,
    mut respond: SendResponse<Bytes>,
    dates: &Dates,
) -> Result<Option<Rest>, h2::Error> {
    let (mut head, mut body) = response.into_parts();
    let date = head.headers.entry(header::DATE);
    date.or_insert_with(|| dates.now());
    let whole = body.take_full();
    let is_empty = whole.as_ref().is_some_and(Bytes::is_empty);
    if let Some(whole) = whole.as_ref().filter(|whole| whole.len() > ANNOUNCED) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(whole.len()));
    }
    let mut out = respond.send_response(Response::from_parts(head, ()), is_empty)?;
    let Some(whole) = whole else { return Ok(Some(Rest { body, out, held: None })) };
    if !is_empty {
        out.send_data(whole, true)?;
    }
    Ok(None)
}

/// The rest of a response that lasts. Dropped when the link ends; ends when the client resets the stream.
pub(super) struct Rest {
    body: Body,
    out: SendStream<Bytes>,
    /// A chunk that waits until the client takes bytes.
    held: Option<Bytes>,
}

impl Future for Rest {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_write(cx).map(|written| sent(written).unwrap_or(()))
    }
}

impl Rest {
    /// Writes the chunks of the body. The next is made when the client took the last one, so a client that does not read
    /// stops whoever makes them.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Self { body, out, held } = self;
        loop {
            if let Poll::Ready(reason) = out.poll_reset(cx)? {
                return Poll::Ready(Err(reason.into()));
            }
            if held.is_some() {
                while out.capacity() == 0 {
                    match ready!(out.poll_capacity(cx)) {
                        Some(more) => drop(more?),
                        None => return Poll::Ready(Ok(())),
                    }
                }
                let over = body.is_over();
                out.send_data(held.take().unwrap_or_default(), over)?;
                if over {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(body.poll_chunk(cx)) {
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => {
                    // A claim to the link's window that says that there is something to send; `h2` raises it by itself.
                    out.reserve_capacity(1);
                    *held = Some(chunk);
                }
                None => return Poll::Ready(out.send_data(Bytes::new(), true)),
            }
        }
    }
}

/// A stream that cannot be written is one that the client has reset, or that went with its link.
fn sent<T>(outcome: Result<T, h2::Error>) -> Option<T> {
    outcome.inspect_err(|error| tracing::debug!(target: "biplane::http", "a response was cut: {error}")).ok()
}
