// SPDX-License-Identifier: Apache-2.0
//! The sending half of a connection, shared by everybody who has something to say on it.

use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::net::tcp::OwnedWriteHalf;

use super::batch::Batch;

pub(super) struct Line<S> {
    state: Mutex<State<S>>,
    socket: OwnedWriteHalf,
}

/// What the one lock of a connection guards.
pub(super) struct State<S> {
    pub(super) batch: Batch,
    /// There while the writer has nothing to do; whoever is there then may send for himself.
    parked: Option<Waker>,
    pub(super) rest: S,
}

impl<S> Line<S> {
    pub(super) fn new(socket: OwnedWriteHalf, rest: S) -> Self {
        Self { state: Mutex::new(State { batch: Batch::default(), parked: None, rest }), socket }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is queued, if the writer is not at it; the writer gets what the system does not take.
    pub(super) fn send_now(&self, state: &mut State<S>) {
        if state.parked.is_none() || state.batch.is_empty() {
            return;
        }
        let sent = state.batch.write(|parts| self.try_write(parts));
        if !matches!(sent, Ok(bytes) if state.batch.advance(bytes)) {
            state.wake_writer();
        }
    }

    fn try_write(&self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [one] => self.socket.try_write(one),
            many => self.socket.try_write_vectored(many),
        }
    }

    /// The writer: sends whatever comes into the batch. `waits_for_more` says whether others are likely to add to it.
    pub(super) async fn write(&self, waits_for_more: impl Fn(&S) -> bool) -> io::Result<()> {
        let mut batch = Batch::default();
        loop {
            let mut waited = false;
            poll_fn(|cx| {
                let mut state = self.lock();
                if state.batch.is_empty() {
                    state.parked = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                state.parked = None;
                if !waited && waits_for_more(&state.rest) {
                    waited = true;
                    drop(state);
                    // Behind everybody who is ready now, but not behind the sockets: those come when nobody is.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                std::mem::swap(&mut state.batch, &mut batch);
                Poll::Ready(())
            })
            .await;
            loop {
                match batch.write(|parts| self.try_write(parts)) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(bytes) => {
                        if batch.advance(bytes) {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.writable().await?,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

impl<S> State<S> {
    /// To be called when the batch is no longer empty.
    pub(super) fn wake_writer(&mut self) {
        if let Some(writer) = self.parked.take() {
            writer.wake();
        }
    }

    pub(super) fn writer_is_parked(&self) -> bool {
        self.parked.is_some()
    }
}
