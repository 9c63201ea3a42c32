// SPDX-License-Identifier: Apache-2.0
//! One relayed connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::plan::{Action, Dice, Plan, Step};

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// Relays until both directions have ended or one was reset. A reset of either side is passed on to the other.
pub(super) async fn run(mut caller: TcpStream, target: SocketAddr, plan: Plan, number: u64) {
    let Ok(mut target) = TcpStream::connect(target).await else {
        // What a dead target looks like.
        let _ = caller.set_zero_linger();
        return;
    };
    // Both fail only where the socket is dead already, which the first read then says.
    let _ = (caller.set_nodelay(true), target.set_nodelay(true));
    let ended = {
        let (caller_read, caller_write) = caller.split();
        let (target_read, target_write) = target.split();
        let seed = plan.seed ^ number.rotate_left(32);
        let up = Direction::new(plan.to_target, seed).pump(caller_read, target_write);
        let down = Direction::new(plan.to_caller, !seed).pump(target_read, caller_write);
        tokio::try_join!(up, down)
    };
    if ended.is_err() {
        let _ = (caller.set_zero_linger(), target.set_zero_linger());
    }
}

struct Direction {
    steps: std::iter::Peekable<std::vec::IntoIter<Step>>,
    dice: Dice,
    passed: u64,
    flip: u8,
    split: Option<usize>,
    bytes_per_second: Option<u32>,
}

/// What a step leads to.
enum Verdict {
    GoOn,
    Cut,
}

impl Direction {
    fn new(steps: Vec<Step>, seed: u64) -> Self {
        Self {
            steps: steps.into_iter().peekable(),
            dice: Dice(seed),
            passed: 0,
            flip: 0,
            split: None,
            bytes_per_second: None,
        }
    }

    /// An error means that both sides are to be reset.
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            if let Verdict::Cut = self.act().await? {
                to.shutdown().await?;
                return swallow(from, buffer).await;
            }
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                // The other side may have gone first.
                let _ = to.shutdown().await;
                return Ok(());
            }
            let mut rest = &mut buffer[..read];
            while !rest.is_empty() {
                if let Verdict::Cut = self.act().await? {
                    to.shutdown().await?;
                    return swallow(from, buffer).await;
                }
                let (piece, later) = rest.split_at_mut(self.piece(rest.len()));
                if let Some(first) = piece.first_mut() {
                    *first ^= std::mem::take(&mut self.flip);
                }
                to.write_all(piece).await?;
                self.passed += piece.len() as u64;
                self.pace(piece.len()).await;
                rest = later;
            }
        }
    }

    /// Does every step whose place has been reached.
    async fn act(&mut self) -> io::Result<Verdict> {
        while let Some(Step { action, .. }) = self.steps.next_if(|step| step.at <= self.passed) {
            match action {
                Action::Cut => return Ok(Verdict::Cut),
                Action::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
                Action::Hold => std::future::pending().await,
                Action::Delay(delay) => tokio::time::sleep(delay).await,
                Action::Throttle(rate) => self.bytes_per_second = Some(rate.max(1)),
                Action::Flip(mask) => self.flip ^= mask,
                Action::Split(most) => self.split = Some(most.max(1)),
            }
        }
        Ok(Verdict::GoOn)
    }

    /// How many of `available` bytes may pass before there is something to do.
    fn piece(&mut self, available: usize) -> usize {
        let until_step = self.steps.peek().map_or(u64::MAX, |step| step.at - self.passed);
        let split = self.split.map_or(usize::MAX, |most| 1 + self.dice.below(most as u64) as usize);
        // A slow line delivers little at a time, not a lot after a long while.
        let slow = self.bytes_per_second.map_or(usize::MAX, |rate| (rate as usize / 20).max(1));
        available.min(split).min(slow).min(usize::try_from(until_step).unwrap_or(usize::MAX))
    }

    async fn pace(&self, bytes: usize) {
        if let Some(rate) = self.bytes_per_second {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / f64::from(rate))).await;
        } else if self.split.is_some() {
            // Lets the other end read the piece by itself.
            tokio::task::yield_now().await;
        }
    }
}

/// Reads and drops, so that whoever writes notices nothing.
async fn swallow(mut from: ReadHalf<'_>, mut buffer: Vec<u8>) -> io::Result<()> {
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}
