// SPDX-License-Identifier: Apache-2.0
//! A WebSocket as a wire of whole messages: text only, within limits, alive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::OWN_FRAME;
use super::burst::Burst;
use super::closing::{Fault, verdict};
use crate::error::{Detail, Error, Result};
use crate::io::BoxedBytes;
use crate::io::messages::{MessageWire, Received};

/// Silence after which the peer is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(30);

/// Time to answer in.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Pings and pongs that a peer may send in one second. A pong costs us nothing, a ping an answer.
const MAX_CONTROL: u32 = 10;

/// To tell the peer why, and to let it take notice.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Wire {
    socket: WebSocketStream<Burst<BoxedBytes>>,
    write_timeout: Duration,
    pulse: Pulse,
    control: Rate,
    state: State,
    /// Frees the link's place at its listener.
    _place: Option<OwnedSemaphorePermit>,
}

enum State {
    Open,
    /// We said why; until then the peer may take notice.
    Leaving {
        error: Option<Error>,
        until: Pin<Box<Sleep>>,
        flushed: bool,
    },
    /// We said goodbye, and wait for the peer's.
    Closing,
}

impl Wire {
    pub(super) fn new(
        socket: WebSocketStream<Burst<BoxedBytes>>,
        write_timeout: Duration,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { socket, write_timeout, pulse: Pulse::new(), control: Rate::default(), state: State::Open, _place: place }
    }

    fn take(&mut self, message: Message) -> Result<Option<Received>, Fault> {
        match message {
            Message::Text(text) => Ok(Some(Received::Message(Bytes::from(text)))),
            Message::Binary(_) => Err(Fault::binary()),
            Message::Ping(_) | Message::Pong(_) if self.control.is_over(MAX_CONTROL) => {
                Err(Fault::too_many_control_frames(MAX_CONTROL))
            }
            _ => Ok(None),
        }
    }

    fn leave(&mut self, fault: Fault) {
        let frame = fault.frame();
        // If even this cannot be queued, the link is gone, which the next read finds.
        let _ = Pin::new(&mut self.socket).start_send(Message::Close(Some(frame)));
        let until = Box::pin(sleep_until(Instant::now() + FAREWELL));
        self.state = State::Leaving { error: Some(fault.error), until, flushed: false };
    }

    /// Ready with the error once the peer had its chance to read why. What it still sends is read and dropped: a socket
    /// that is closed over unread bytes is reset, and the reason with it.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let State::Leaving { error, until, flushed } = &mut self.state else {
            return Poll::Ready(Error::closed("the WebSocket is closed"));
        };
        let mut over = until.as_mut().poll(cx).is_ready();
        if !*flushed {
            *flushed = poll_out(&mut self.socket, cx).is_ready();
        }
        let mut scratch = [0; 2048];
        for _ in 0..64 {
            if over {
                break;
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(self.socket.get_mut()).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(read) => over = read.is_err() || buffer.filled().is_empty(),
            }
        }
        if !over {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(error.take().unwrap_or_else(|| Error::closed("the WebSocket is closed")))
    }

    /// Asks for a sign of life where there was none, and gives up where it does not come.
    fn poll_pulse(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let traffic = self.socket.get_ref().traffic();
        let (read, written) = (traffic.read(), traffic.written());
        loop {
            match ready!(self.pulse.poll(read, written, self.write_timeout, cx)) {
                Beat::Ask => {
                    let ping = Message::Ping(Bytes::new());
                    if let Err(error) = Pin::new(&mut self.socket).start_send(ping) {
                        return Poll::Ready(lost(error));
                    }
                    if let Poll::Ready(Err(error)) = poll_out(&mut self.socket, cx) {
                        return Poll::Ready(lost(error));
                    }
                }
                Beat::Dead(silent_for) => {
                    return Poll::Ready(
                        Error::closed(format!("the peer was silent for {} s", silent_for.as_secs()))
                            .with_detail(Detail::PeerTimeout { silent_for })
                            .with_hint("the peer hangs, or the network between is cut"),
                    );
                }
                Beat::Stuck => {
                    let silent_for = self.write_timeout;
                    return Poll::Ready(
                        Error::closed(format!("the peer took no bytes for {} s", silent_for.as_secs_f32()))
                            .with_detail(Detail::PeerTimeout { silent_for })
                            .with_hint("the peer hangs; BIPLANE_WRITE_TIMEOUT sets how long that is borne"),
                    );
                }
            }
        }
    }
}

/// Flushes. The library hands the answer to a peer's close on, and then flushes no more.
fn poll_out(socket: &mut WebSocketStream<Burst<BoxedBytes>>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
    ready!(Pin::new(&mut *socket).poll_flush(cx))?;
    Pin::new(socket.get_mut()).poll_flush(cx).map_err(WsError::Io)
}

fn lost(error: WsError) -> Error {
    match Fault::of(error) {
        Ok(fault) => fault.error,
        Err(error) => error,
    }
}

impl MessageWire for Wire {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        loop {
            if let State::Leaving { .. } = self.state {
                return self.poll_left(cx).map(Err);
            }
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                    // The answer to it is queued, and goes while the link is dropped.
                    let _ = poll_out(&mut self.socket, cx);
                    return Poll::Ready(verdict(frame).map(|()| None));
                }
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => match Fault::of(error) {
                    Ok(fault) => {
                        self.leave(fault);
                        continue;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => return self.poll_pulse(cx).map(Err),
            };
            match self.take(message) {
                Ok(Some(received)) => return Poll::Ready(Ok(Some(received))),
                Ok(None) => {}
                Err(fault) => self.leave(fault),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let State::Leaving { .. } = self.state {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.socket).poll_ready(cx).map_err(lost);
        self.pulse.writing(polled.is_pending());
        polled
    }

    fn send(&mut self, message: Bytes) -> Result<()> {
        if !matches!(self.state, State::Open) {
            // Nothing follows a goodbye.
            return Ok(());
        }
        let mut socket = Pin::new(&mut self.socket);
        let mut rest = message;
        let mut opcode = OpCode::Data(Data::Text);
        // In parts, so that no peer has to hold, and no link has to keep, more than a part at a time.
        while rest.len() > OWN_FRAME {
            let part = rest.split_to(OWN_FRAME);
            socket.as_mut().start_send(Message::Frame(Frame::message(part, opcode, false))).map_err(lost)?;
            opcode = OpCode::Data(Data::Continue);
        }
        socket.start_send(Message::Frame(Frame::message(rest, opcode, true))).map_err(lost)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = poll_out(&mut self.socket, cx).map_err(lost);
        self.pulse.writing(polled.is_pending());
        polled
    }

    /// On a pipe, lines that are no JSON come from a library that prints. Nothing prints into a WebSocket.
    fn breaks_on_garbage(&mut self) -> bool {
        if let State::Open = self.state {
            self.leave(Fault::malformed());
        }
        true
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let State::Open = self.state {
            self.state = State::Closing;
            // A peer that has closed before us is no error.
            let _ = Pin::new(&mut self.socket).start_send(Message::Close(None));
        }
        if let Err(error) = ready!(poll_out(&mut self.socket, cx)) {
            return Poll::Ready(Err(lost(error)));
        }
        // Until the peer's close has come, what it sent before is read and dropped.
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
            }
        }
    }
}

/// Signs of life. One timer, set anew only when it fires.
struct Pulse {
    timer: Pin<Box<Sleep>>,
    heard: (u64, Instant),
    asked: Option<Instant>,
    /// What was written when the peer took no more, and since when.
    stuck: Option<(u64, Instant)>,
    is_blocked: bool,
}

enum Beat {
    Ask,
    Dead(Duration),
    Stuck,
}

impl Pulse {
    fn new() -> Self {
        let now = Instant::now();
        let timer = Box::pin(sleep_until(now + PING_AFTER));
        Self { timer, heard: (0, now), asked: None, stuck: None, is_blocked: false }
    }

    fn writing(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
    }

    fn poll(&mut self, read: u64, written: u64, write_timeout: Duration, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            let now = Instant::now();
            if read != self.heard.0 {
                self.heard = (read, now);
                self.asked = None;
            }
            self.stuck = match self.stuck {
                _ if !self.is_blocked => None,
                Some((before, since)) if before == written => Some((before, since)),
                _ => Some((written, now)),
            };
            if self.stuck.is_some_and(|(_, since)| now >= since + write_timeout) {
                return Poll::Ready(Beat::Stuck);
            }
            let next = match self.asked {
                Some(asked) if now >= asked + PONG_WITHIN => {
                    return Poll::Ready(Beat::Dead(now - self.heard.1));
                }
                Some(asked) => asked + PONG_WITHIN,
                None if now >= self.heard.1 + PING_AFTER => {
                    self.asked = Some(now);
                    return Poll::Ready(Beat::Ask);
                }
                None => self.heard.1 + PING_AFTER,
            };
            let next = self.stuck.map_or(next, |(_, since)| next.min(since + write_timeout));
            // A deadline that moved on is looked at when the old one comes, which spares the timer a move per message.
            if self.timer.is_elapsed() || self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            ready!(self.timer.as_mut().poll(cx));
        }
    }
}

/// Events of the second that runs.
#[derive(Default)]
struct Rate {
    second: Option<Instant>,
    count: u32,
}

impl Rate {
    /// Counts one more.
    fn is_over(&mut self, limit: u32) -> bool {
        let now = Instant::now();
        if self.second.is_none_or(|since| now >= since + Duration::from_secs(1)) {
            (self.second, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count > limit
    }
}
