// SPDX-License-Identifier: Apache-2.0
//! The one task of a link: reads, hands on, writes, keeps time.
//!
//! A turn reads what is there, runs the handlers that it woke in place, and writes everything that they and all other
//! tasks queued in one call. Woken by senders alone, it first lets every other ready task run once, so that their frames
//! share a write: coalescing at the end of the scheduler's turn, without a timer.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::bytes::BoxedBytes;
use super::link::{Asleep, MuxLink, Park, Step};
use super::read_buffer::ReadBuffer;
use super::socket::{Socket, Writer};
use crate::dispatch::Turn;
use crate::error::{Detail, Error, PeerError};
use crate::proto::frame;
use crate::proto::mux::{After, Batch, Incoming, LazyQueue};

/// A socket, a pipe, a TLS session over one.
pub trait ByteStream: AsyncRead + AsyncWrite + Any + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Any + Send + Unpin> ByteStream for T {}

/// Reads per turn, so that a busy link does not starve the others of its thread.
const READS_PER_TURN: usize = 16;

/// Bytes of the first read after a time without a buffer.
const FIRST_READ: usize = 1024;

/// How long a link has to be busy in order to be taken for a busy one, and to be quiet for a quiet one.
const IDLE: Duration = Duration::from_secs(1);

/// Turns with reads or writes within [`IDLE`] that make a link a busy one, which keeps its buffers between them. Any other
/// gives them back with every turn: thousands of links that come up together, or are pinged together, hold none of them at
/// once, nor do hundreds on which a burst of streams is opened.
const BUSY_FROM: u8 = 8;

/// Time to say goodbye in.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    socket: Socket,
    /// The socket's writing half while the driver runs. Parked, it leaves it with the link.
    writer: Option<Writer>,
    link: Arc<MuxLink>,
    write_timeout: Duration,
    /// What a turn works with. Only a busy link keeps it, or one that could not empty it.
    desk: Option<Box<Desk>>,
    /// Since when the socket takes no more bytes.
    blocked_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// When to see whether the link is busy. There is none while it is silent.
    idle_check: Option<Instant>,
    /// Turns with reads or writes since then.
    activity: u8,
    /// This turn is one of them.
    is_counted: bool,
    is_busy: bool,
    gave_way: bool,
    /// Bytes were written since the stream was last flushed: a TLS session may still hold them.
    unflushed: bool,
    /// The desk holds what came with the handshake and was not looked at yet.
    has_early_input: bool,
    stage: Stage,
}

/// What a turn needs room for.
#[derive(Default)]
struct Desk {
    input: ReadBuffer,
    /// What is being written.
    batch: Batch,
    incoming: LazyQueue<Incoming>,
    after: After,
}

impl Desk {
    fn is_clear(&self) -> bool {
        self.input.bytes.is_empty() && self.batch.is_empty() && self.incoming.is_empty() && self.after.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Nothing is read any more; what is written gets until then.
    Leaving(Instant),
}

impl Driver {
    /// `input` is what was read behind the peer's prologue.
    pub(super) fn new(io: BoxedBytes, link: Arc<MuxLink>, write_timeout: Duration, input: BytesMut) -> Self {
        let (socket, writer) = Socket::new(io);
        Self {
            socket,
            writer,
            link,
            write_timeout,
            has_early_input: !input.is_empty(),
            desk: (!input.is_empty()).then(|| Box::new(Desk { input: ReadBuffer::new(input), ..Desk::default() })),
            blocked_since: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            idle_check: None,
            activity: 0,
            is_counted: false,
            is_busy: false,
            gave_way: false,
            unflushed: false,
            stage: Stage::Running,
        }
    }

    /// Reads once. True if bytes came. `may_hear` learns whether the peer reads what we say.
    fn read(&mut self, desk: &mut Desk, may_hear: &mut bool, cx: &mut Context<'_>) -> bool {
        match self.poll_read(&mut desk.input, cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                self.link.with(|mux| mux.fail(Error::peer_closed(0, true)));
                self.leave();
                false
            }
            Poll::Ready(Ok(_)) => {
                self.handle_input(desk, may_hear);
                true
            }
            Poll::Ready(Err(error)) => {
                self.lose(desk, error);
                false
            }
        }
    }

    fn poll_read(&mut self, input: &mut ReadBuffer, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.is_busy && input.is_gone() {
            // A quiet link gets a buffer when something comes, and for that alone.
            let mut first = [0; FIRST_READ];
            let read = self.socket.poll_read(&mut &mut first[..], cx);
            if let Poll::Ready(Ok(count)) = read {
                let first = first.get(..count).unwrap_or_default();
                if count < FIRST_READ {
                    input.bytes = BytesMut::from(first);
                } else {
                    // There is more.
                    input.prepare(count);
                    input.bytes.extend_from_slice(first);
                }
            }
            return read;
        }
        input.prepare(frame::missing(&input.bytes));
        let spare = input.spare();
        let read = self.socket.poll_read(&mut input.bytes, cx);
        if let Poll::Ready(Ok(count)) = read {
            input.came(count, spare);
        }
        read
    }

    fn handle_input(&mut self, desk: &mut Desk, may_hear: &mut bool) {
        self.was_active();
        let now = Instant::now();
        let mut turn = Turn::new(now);
        let link = &self.link;
        let serve = |incoming: &mut LazyQueue<Incoming>| {
            while let Some(incoming) = incoming.pop_front() {
                match incoming {
                    Incoming::Request(request) => link.serve(&mut turn, request),
                    Incoming::CallHome { key, token } => link.serve_call_home(key, token),
                }
            }
        };
        let Desk { input, incoming, after, .. } = desk;
        let fed = link.feed(now, &mut input.bytes, incoming, after, serve);
        drop(turn);
        if let Ok(heard) = fed {
            *may_hear = heard;
        }
        if let Err(error) = fed {
            tracing::warn!(target: "biplane::link", peer = self.link.peer(), "closing a link: {error}");
            let reason = PeerError::from(&error);
            let mut last_words = VecDeque::new();
            self.link.with(|mux| {
                mux.go_away(&reason);
                // `fail` forgets what waits; the reason must still go out.
                mux.take_output(&mut last_words);
                mux.fail(error);
            });
            last_words.into_iter().for_each(|words: Bytes| desk.batch.push(words));
            self.leave();
        }
    }

    fn lose(&mut self, desk: &mut Desk, error: io::Error) {
        tracing::debug!(target: "biplane::link", peer = self.link.peer(), "link lost: {error}");
        self.link.with(|mux| mux.fail(Error::peer_closed(0, false).with_source(error)));
        desk.batch.clear();
        self.unflushed = false;
        self.leave();
    }

    fn leave(&mut self) {
        if self.stage == Stage::Running {
            self.stage = Stage::Leaving(Instant::now() + FAREWELL);
        }
    }

    /// Writes what waits, as much as the socket takes. True if bytes went. `may_hear` learns whether the peer reads.
    fn write(&mut self, desk: &mut Desk, may_hear: &mut bool, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        loop {
            let wrote = match desk.batch.is_empty() {
                false => self.socket.poll_write(&mut self.writer, &desk.batch, cx),
                true if self.unflushed => self.socket.poll_flush(cx).map_ok(|()| {
                    self.unflushed = false;
                    0
                }),
                true => {
                    self.blocked_since = None;
                    return progress;
                }
            };
            match wrote {
                Poll::Ready(Ok(0)) if !desk.batch.is_empty() => self.lose(desk, io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(written)) => {
                    progress = true;
                    self.was_active();
                    self.unflushed = self.socket.holds_back();
                    self.blocked_since = None;
                    desk.batch.advance(written);
                    *may_hear = self.link.wrote(written, &mut desk.batch);
                }
                Poll::Ready(Err(error)) => self.lose(desk, error),
                Poll::Pending => {
                    self.blocked_since.get_or_insert_with(Instant::now);
                    return progress;
                }
            }
        }
    }

    /// Waits for its time or for a waker. True if the time has come.
    fn wait(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(until) = self.wanted(until) else { return false };
        // One that fires too early finds nothing to do, once; one set anew for every message costs each of them.
        if self.timer.is_elapsed() || self.timer.deadline() > until.into() {
            self.timer.as_mut().reset(until.into());
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn wanted(&self, until: Option<Instant>) -> Option<Instant> {
        let blocked = self.blocked_since.map(|since| since + self.write_timeout);
        let leaving = match self.stage {
            Stage::Leaving(until) => Some(until),
            Stage::Running => None,
        };
        [until, blocked, leaving, self.idle_check].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, desk: &mut Desk) {
        let now = Instant::now();
        if self.blocked_since.is_some_and(|since| now >= since + self.write_timeout) {
            let silent_for = self.write_timeout;
            let error = Error::closed(format!("the peer took no bytes for {} s", silent_for.as_secs_f32()))
                .with_detail(Detail::PeerTimeout { silent_for })
                .with_hint("the peer hangs; BIPLANE_WRITE_TIMEOUT sets how long that is borne");
            desk.batch.clear();
            self.link.with(|mux| mux.fail(error));
            self.leave();
        }
        self.link.with(|mux| mux.handle_timeout(now));
        let time = tokio::time::Instant::now().into_std();
        if self.idle_check.is_some_and(|check| check <= time) {
            self.is_busy = std::mem::take(&mut self.activity) >= BUSY_FROM;
            self.idle_check = self.is_busy.then(|| time + IDLE);
            if !self.is_busy {
                desk.input.shrink();
            }
        }
    }

    fn was_active(&mut self) {
        if std::mem::replace(&mut self.is_counted, true) {
            return;
        }
        self.activity = self.activity.saturating_add(1);
        self.is_busy |= self.activity >= BUSY_FROM;
    }

    fn turn(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Poll<()> {
        let mut may_hear = self.link.unpark(&mut self.writer, &mut desk.batch);
        if std::mem::take(&mut self.has_early_input) {
            self.handle_input(desk, &mut may_hear);
        }
        for _ in 0..READS_PER_TURN {
            let did_read = self.stage == Stage::Running && may_hear && self.read(desk, &mut may_hear, cx);
            let give_way = !did_read && !self.gave_way;
            if desk.batch.is_empty() && self.link.collect(&mut desk.batch, give_way) == Step::GiveWay {
                self.gave_way = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.gave_way = false;
            let did_write = self.write(desk, &mut may_hear, cx);
            if self.has_left(desk, cx) {
                return Poll::Ready(());
            }
            if did_read || did_write {
                continue;
            }
            let until = match self.park(cx) {
                Park::Busy => continue,
                Park::Finish if self.stage == Stage::Running => {
                    self.leave();
                    continue;
                }
                Park::Finish => None,
                Park::Until(until) => until,
            };
            if !self.wait(until, cx) {
                return Poll::Pending;
            }
            may_hear = self.link.unpark(&mut self.writer, &mut desk.batch);
            self.handle_timeout(desk);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn park(&mut self, cx: &mut Context<'_>) -> Park {
        if self.idle_check.is_none() && self.activity > 0 {
            self.idle_check = Some(tokio::time::Instant::now().into_std() + IDLE);
        }
        let timer = if self.timer.is_elapsed() { None } else { Some(self.timer.deadline().into_std()) };
        let asleep = Asleep { is_blocked: self.blocked_since.is_some(), timer, is_quiet: !self.is_busy };
        self.link.park(cx.waker(), asleep, &mut self.writer)
    }

    /// Whether there is nothing more to do: all is written and the peer knows that no more comes, or time is over.
    fn has_left(&mut self, desk: &Desk, cx: &mut Context<'_>) -> bool {
        let Stage::Leaving(until) = self.stage else { return false };
        Instant::now() >= until
            || (desk.batch.is_empty() && !self.unflushed && self.socket.poll_shutdown(&mut self.writer, cx).is_ready())
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut desk = self.desk.take().unwrap_or_default();
        self.is_counted = false;
        let turn = self.turn(&mut desk, cx);
        if self.is_busy || !desk.is_clear() {
            self.desk = Some(desk);
        }
        turn
    }
}

impl Drop for Driver {
    /// However the driver ends, with the runtime too, nobody may wait for it.
    fn drop(&mut self) {
        self.link.finish(Error::closed("the link was closed"));
    }
}
