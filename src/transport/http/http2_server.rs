// SPDX-License-Identifier: Apache-2.0
//! A server's HTTP/2 link: one task reads, runs what came, and writes what all streams have said in that turn.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::date::Dates;
use super::gather::Gathered;
use super::heartbeat::Heartbeat;
use super::http2_response::{Rest, begin};
use super::incoming::Incoming;
use super::listening::{LINK_WINDOW, MAX_FRAME, MAX_STREAMS, STREAM_WINDOW, Site};
use super::names::MAX_HEAD;
use crate::io::traffic::Counted;

/// Streams that a client reset before we looked at them, and streams that we reset: beyond these the link is closed. A
/// caller that drops all its requests at once stays below it; a flood of resets (CVE-2023-44487) does not.
const MAX_RESETS: usize = MAX_STREAMS as usize * 4;

/// Bytes of one stream that may wait to be written. A chunk that was begun is taken whole.
const SEND_BUFFER: usize = 256 << 10;

type Exchange = Pin<Box<dyn Future<Output = Option<Rest>> + Send>>;

/// Serves until the link ends, or until nothing is under way after `closing` was set.
pub(super) async fn serve<S>(
    stream: S,
    site: &Arc<impl Site>,
    mut closing: watch::Receiver<Option<Instant>>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Counted::new(stream);
    let traffic = stream.traffic().clone();
    let (stream, turn) = Gathered::new(stream);
    let mut link: Connection<_, Bytes> = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_RESETS))
        .max_header_list_size(MAX_HEAD as u32)
        .max_frame_size(MAX_FRAME)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(stream)
        .await?;
    let mut heartbeat = Heartbeat::new(link.ping_pong(), traffic);
    let mut running: FuturesUnordered<Exchange> = FuturesUnordered::new();
    // An answer that lasts keeps nothing of what led to it: its place is a tenth of an exchange's.
    let mut lasting: FuturesUnordered<Rest> = FuturesUnordered::new();
    let mut fresh: Vec<Exchange> = Vec::new();
    let dates = Arc::new(Dates::default());
    let mut closed = pin!(closing.changed());
    let mut closed_seen = false;
    poll_fn(|cx| {
        if !closed_seen && closed.as_mut().poll(cx).is_ready() {
            closed_seen = true;
            link.graceful_shutdown();
        }
        if heartbeat.poll_dead(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            // The link last: what its streams have just said then leaves in this turn.
            while let Poll::Ready(Some(rest)) = Pin::new(&mut running).poll_next(cx) {
                lasting.extend(rest);
            }
            while let Poll::Ready(Some(())) = Pin::new(&mut lasting).poll_next(cx) {}
            loop {
                match link.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        fresh.push(Box::pin(exchange(site.clone(), request, respond, dates.clone())));
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            if fresh.is_empty() {
                turn.end(cx);
                return Poll::Pending;
            }
            for mut exchange in fresh.drain(..) {
                // One that is over at once costs no place among the others.
                match exchange.as_mut().poll(cx) {
                    Poll::Ready(rest) => lasting.extend(rest),
                    Poll::Pending => running.push(exchange),
                }
            }
        }
    })
    .await
}

/// One request to the head of its response, and what is left of that. Dropped when the link ends; ends when the client
/// resets the stream.
async fn exchange(
    site: Arc<impl Site>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    dates: Arc<Dates>,
) -> Option<Rest> {
    let (head, body) = request.into_parts();
    let body = Incoming::http2(body, &head.headers);
    let mut answer = pin!(site.answer(Request::from_parts(head, body)));
    let response = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    });
    begin(response.await?, respond, &dates)
}
