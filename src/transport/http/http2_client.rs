// SPDX-License-Identifier: Apache-2.0
//! A caller's HTTP/2 session: one task drives it. Requests go to `h2` as they are made and their responses come back to who
//! asked, with no task and no channel between.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::gather::Gathered;
use super::heartbeat::Heartbeat;
use super::incoming::Incoming;
use super::link::SendFailure;
use super::listening::{ANNOUNCED, LINK_WINDOW, MAX_FRAME, MAX_STREAMS, STREAM_WINDOW};
use crate::io::traffic::{Counted, Traffic};

/// Streams that we reset are remembered while frames for them may still be under way; a frame for a forgotten one ends
/// the link. All of a link's callers may give up at once, a few times within the second that the memory lasts.
const REMEMBERED_RESETS: usize = MAX_STREAMS as usize * 16;

/// Streams that are opened before the peer has said how many it takes.
const FIRST_STREAMS: usize = 100;

/// A session. Its task ends when the session is dropped and all exchanges are over, or when the link does.
pub(super) struct Http2Session {
    sender: SendRequest<Bytes>,
    traffic: Traffic,
}

impl Http2Session {
    /// Begins to speak over `stream`.
    pub(super) async fn over<S>(stream: S, max_head: u32) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Counted::new(stream);
        let traffic = stream.traffic().clone();
        let (stream, turn) = Gathered::new(stream);
        let (sender, mut link) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(FIRST_STREAMS)
            .max_frame_size(MAX_FRAME)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(LINK_WINDOW)
            .max_header_list_size(max_head)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .handshake(stream)
            .await?;
        let mut heartbeat = Heartbeat::new(link.ping_pong(), traffic.clone());
        tokio::spawn(async move {
            let mut link = pin!(link);
            let ended = poll_fn(|cx| match heartbeat.poll_dead(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => match link.as_mut().poll(cx) {
                    Poll::Ready(ended) => Poll::Ready(Some(ended)),
                    Poll::Pending => {
                        turn.end(cx);
                        Poll::Pending
                    }
                },
            });
            match ended.await {
                None => tracing::debug!(target: "biplane::http", "a link ended: its peer is silent"),
                Some(Err(error)) => tracing::debug!(target: "biplane::http", "a link ended: {error}"),
                Some(Ok(())) => {}
            }
        });
        Ok(Self { sender, traffic })
    }

    /// Whether a request can be sent: neither has the link ended, nor did the peer say that it is about to.
    pub(super) fn is_open(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Queues a request. `h2` keeps within the peer's limits on streams and bytes.
    pub(super) fn send(&self, mut head: Request<()>, body: Bytes) -> Result<Sent, SendFailure> {
        if body.len() > ANNOUNCED {
            head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        // A handle whose last stream waits for its turn takes no other: every request has its own.
        let mut sender = self.sender.clone();
        let written_before = self.traffic.written();
        let unsent = |error| SendFailure { unsent: true, cause: Some(Box::new(error)) };
        let (response, mut out) = sender.send_request(head, body.is_empty()).map_err(unsent)?;
        if !body.is_empty() {
            out.send_data(body, true).map_err(unsent)?;
        }
        Ok(Sent { response, traffic: self.traffic.clone(), written_before })
    }
}

/// A request that waits for the head of its response. Dropping it resets the stream.
pub(super) struct Sent {
    response: ResponseFuture,
    traffic: Traffic,
    written_before: u64,
}

impl Future for Sent {
    type Output = Result<Response<Incoming>, SendFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.response).poll(cx).map(|outcome| match outcome {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let body = Incoming::http2(body, &head.headers);
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                // By RFC 9113, section 8.7, a refused stream was not looked at. Nor was one of which no byte went out.
                let refused = error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
                let unsent = refused || self.traffic.written() == self.written_before;
                Err(SendFailure { unsent, cause: Some(Box::new(error)) })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// Of what a session sends first: the preface, which is sent before anything can be queued.
    const PREFACE: usize = 24;

    fn head() -> Request<()> {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = http::Uri::from_static("http://host/path");
        head
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_died_in_silence_is_noticed() {
        let (ours, _theirs) = duplex(1 << 16);
        let mut session = Http2Session::over(ours, 1 << 14).await.unwrap();
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert!(session.is_open());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!session.is_open());
        assert!(session.send(head(), Bytes::new()).err().unwrap().unsent);
    }

    #[tokio::test]
    async fn what_no_byte_went_out_of_was_not_sent() {
        let (ours, theirs) = duplex(PREFACE);
        let session = Http2Session::over(ours, 1 << 14).await.unwrap();
        let sent = session.send(head(), Bytes::from_static(b"body")).ok().unwrap();
        tokio::task::yield_now().await;
        drop(theirs);
        assert!(sent.await.err().unwrap().unsent);

        let (ours, mut theirs) = duplex(1 << 16);
        let session = Http2Session::over(ours, 1 << 14).await.unwrap();
        let sent = session.send(head(), Bytes::from_static(b"body")).ok().unwrap();
        let mut seen = vec![0; PREFACE + 64];
        theirs.read_exact(&mut seen).await.unwrap();
        drop(theirs);
        assert!(!sent.await.err().unwrap().unsent);
    }
}
