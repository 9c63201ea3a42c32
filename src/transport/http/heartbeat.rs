// SPDX-License-Identifier: Apache-2.0
//! HTTP/2 pings, so that the silent death of a peer is noticed. Any byte is a sign of life; the one timer of a link is set
//! anew only when it has fired.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use crate::io::traffic::Traffic;

/// Silence after which a peer is asked, and for how long it may then say nothing.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Watches one link.
pub(super) struct Heartbeat {
    ping: Option<PingPong>,
    traffic: Traffic,
    /// Bytes that had come when the timer was set.
    seen: u64,
    /// A ping is under way.
    asked: bool,
    timer: Pin<Box<Sleep>>,
}

impl Heartbeat {
    /// `ping` is the link's own; it gives it away once.
    pub(super) fn new(ping: Option<PingPong>, traffic: Traffic) -> Self {
        Self { ping, traffic, seen: 0, asked: false, timer: Box::pin(sleep(PING_EVERY)) }
    }

    /// Ready when the peer must be taken for dead.
    pub(super) fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ping) = &mut self.ping else { return Poll::Pending };
        loop {
            if self.asked && ping.poll_pong(cx).is_ready() {
                self.asked = false;
            }
            ready!(self.timer.as_mut().poll(cx));
            let read = self.traffic.read();
            let is_silent = read == self.seen;
            self.seen = read;
            if is_silent && self.asked {
                return Poll::Ready(());
            }
            // Where no ping can be sent, the last one is under way or the link is about to end.
            self.asked |= is_silent && ping.send_ping(Ping::opaque()).is_ok();
            let next = if self.asked { PING_TIMEOUT } else { PING_EVERY };
            self.timer.as_mut().reset(Instant::now() + next);
        }
    }
}
