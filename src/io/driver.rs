// SPDX-License-Identifier: Apache-2.0
//! The one task of a link: reads, hands on, writes, keeps time.
//!
//! A turn reads what is there, runs the handlers that it woke in place, and writes everything that they and all other
//! tasks queued in one call. Woken by senders alone, it first lets every other ready task run once, so that their frames
//! share a write: coalescing at the end of the scheduler's turn, without a timer.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::link::{MuxLink, Park};
use crate::error::{Detail, Error, PeerError};
use crate::proto::mux::Incoming;

/// A socket, a pipe, a TLS session over one.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// Bytes that one read may bring.
const READ_CHUNK: usize = 64 << 10;

/// Reads per turn, so that a busy link does not starve the others of its thread.
const READS_PER_TURN: usize = 16;

/// Time to say goodbye in.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Driver<Io> {
    io: Io,
    link: Arc<MuxLink>,
    write_timeout: Duration,
    input: BytesMut,
    writing: VecDeque<Bytes>,
    incoming: Vec<Incoming>,
    /// Since when the socket takes no more bytes.
    blocked_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    gave_way: bool,
    /// Bytes were written since the stream was last flushed: a TLS session may still hold them.
    unflushed: bool,
    /// `input` holds what came with the handshake and was not looked at yet.
    has_early_input: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Nothing is read any more; what is written gets until then.
    Leaving(Instant),
}

impl<Io: ByteStream> Driver<Io> {
    /// `input` is what was read behind the peer's prologue.
    pub(super) fn new(io: Io, link: Arc<MuxLink>, write_timeout: Duration, input: BytesMut) -> Self {
        Self {
            io,
            link,
            write_timeout,
            has_early_input: !input.is_empty(),
            input,
            writing: VecDeque::new(),
            incoming: Vec::new(),
            blocked_since: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            gave_way: false,
            unflushed: false,
            stage: Stage::Running,
        }
    }

    /// Reads once. True if bytes came.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.input.capacity() - self.input.len() < READ_CHUNK / 8 {
            self.input.reserve(READ_CHUNK);
        }
        match poll_read_buf(&mut self.io, &mut self.input, cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                self.link.with(|mux| mux.fail(Error::peer_closed(0, true)));
                self.leave();
                false
            }
            Poll::Ready(Ok(_)) => {
                self.handle_input();
                true
            }
            Poll::Ready(Err(error)) => {
                self.lose(error);
                false
            }
        }
    }

    fn handle_input(&mut self) {
        let (input, incoming) = (&mut self.input, &mut self.incoming);
        let fed = self.link.with(|mux| {
            let fed = mux.feed(input, Instant::now());
            incoming.extend(std::iter::from_fn(|| mux.next_incoming()));
            fed
        });
        for incoming in self.incoming.drain(..) {
            match incoming {
                Incoming::Request(request) => self.link.serve(request),
                Incoming::CallHome { key, token } => self.link.serve_call_home(key, token),
            }
        }
        if let Err(error) = fed {
            tracing::warn!(target: "biplane::link", peer = self.link.peer(), "closing a link: {error}");
            let reason = PeerError::from(&error);
            let writing = &mut self.writing;
            self.link.with(|mux| {
                mux.go_away(&reason);
                // `fail` forgets what waits; the reason must still go out.
                mux.take_output(writing);
                mux.fail(error);
            });
            self.leave();
        }
    }

    fn lose(&mut self, error: io::Error) {
        tracing::debug!(target: "biplane::link", peer = self.link.peer(), "link lost: {error}");
        self.link.with(|mux| mux.fail(Error::peer_closed(0, false).with_source(error)));
        self.writing.clear();
        self.unflushed = false;
        self.leave();
    }

    fn leave(&mut self) {
        if self.stage == Stage::Running {
            self.stage = Stage::Leaving(Instant::now() + FAREWELL);
        }
    }

    /// Writes what waits, as much as the socket takes. True if bytes went.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        loop {
            if self.writing.is_empty() {
                let writing = &mut self.writing;
                self.link.with(|mux| mux.take_output(writing));
            }
            let wrote = match self.writing.is_empty() {
                false => self.write_once(cx),
                true if self.unflushed => Pin::new(&mut self.io).poll_flush(cx).map_ok(|()| {
                    self.unflushed = false;
                    0
                }),
                true => {
                    self.blocked_since = None;
                    return progress;
                }
            };
            match wrote {
                Poll::Ready(Ok(0)) if !self.writing.is_empty() => self.lose(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(written)) => {
                    progress = true;
                    self.unflushed = true;
                    self.blocked_since = None;
                    advance(&mut self.writing, written);
                    self.link.wrote(written);
                }
                Poll::Ready(Err(error)) => self.lose(error),
                Poll::Pending => {
                    self.blocked_since.get_or_insert_with(Instant::now);
                    return progress;
                }
            }
        }
    }

    fn write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        match &self.writing {
            writing if writing.len() > 1 && io.is_write_vectored() => {
                let mut slices = [IoSlice::new(&[]); 64];
                let mut used = 0;
                for (slice, segment) in slices.iter_mut().zip(writing) {
                    *slice = IoSlice::new(segment);
                    used += 1;
                }
                io.poll_write_vectored(cx, &slices[..used])
            }
            writing => io.poll_write(cx, writing.front().map_or(&[], |segment| &segment[..])),
        }
    }

    /// Waits for its time or for a waker. True if the time has come.
    fn wait(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let blocked = self.blocked_since.map(|since| since + self.write_timeout);
        let leaving = match self.stage {
            Stage::Leaving(until) => Some(until),
            Stage::Running => None,
        };
        let Some(until) = [until, blocked, leaving].into_iter().flatten().min() else { return false };
        if self.timer.deadline() != until.into() {
            self.timer.as_mut().reset(until.into());
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        if self.blocked_since.is_some_and(|since| now >= since + self.write_timeout) {
            let silent_for = self.write_timeout;
            let error = Error::closed(format!("the peer took no bytes for {} s", silent_for.as_secs_f32()))
                .with_detail(Detail::PeerTimeout { silent_for })
                .with_hint("the peer hangs; BIPLANE_WRITE_TIMEOUT sets how long that is borne");
            self.writing.clear();
            self.link.with(|mux| mux.fail(error));
            self.leave();
        }
        self.link.with(|mux| mux.handle_timeout(now));
        if self.input.is_empty() {
            // A link that had time to wait needs no buffer meanwhile.
            self.input = BytesMut::new();
        }
    }

    /// Whether there is nothing more to do: all is written and the peer knows that no more comes, or time is over.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let Stage::Leaving(until) = self.stage else { return false };
        Instant::now() >= until
            || (self.writing.is_empty() && !self.unflushed && Pin::new(&mut self.io).poll_shutdown(cx).is_ready())
    }
}

impl<Io: ByteStream> Future for Driver<Io> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.link.unpark();
        if std::mem::take(&mut this.has_early_input) {
            this.handle_input();
        }
        for _ in 0..READS_PER_TURN {
            let did_read = this.stage == Stage::Running && !this.link.is_choked() && this.read(cx);
            if !did_read && !this.gave_way && this.writing.is_empty() && this.link.is_shared_and_busy() {
                this.gave_way = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.gave_way = false;
            let did_write = this.write(cx);
            if this.has_left(cx) {
                return Poll::Ready(());
            }
            if did_read || did_write {
                continue;
            }
            let until = match this.link.park(cx.waker(), this.blocked_since.is_some()) {
                Park::Busy => continue,
                Park::Finish if this.stage == Stage::Running => {
                    this.leave();
                    continue;
                }
                Park::Finish => None,
                Park::Until(until) => until,
            };
            if !this.wait(until, cx) {
                return Poll::Pending;
            }
            this.link.unpark();
            this.handle_timeout();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<Io> Drop for Driver<Io> {
    /// However the driver ends, with the runtime too, nobody may wait for it.
    fn drop(&mut self) {
        self.link.finish(Error::closed("the link was closed"));
    }
}

fn advance(writing: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = writing.front_mut() {
        if written < front.len() {
            front.advance(written);
            return;
        }
        written -= front.len();
        writing.pop_front();
    }
}

/// One read into the spare room of `input`.
fn poll_read_buf<Io: AsyncRead + Unpin>(
    io: &mut Io,
    input: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    use tokio::io::AsyncReadExt;
    let mut read = std::pin::pin!(io.read_buf(input));
    read.as_mut().poll(cx)
}
