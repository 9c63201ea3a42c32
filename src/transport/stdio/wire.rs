// SPDX-License-Identifier: Apache-2.0
//! The wire to a child: lines, until the child ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::child::{Child, Watched};
use super::ended::{self, Ended};
use crate::error::{Error, Result};
use crate::io::messages::{Lines, MessageWire, Received};
use crate::proto::json;

/// What the envelope may add to a message of the largest size.
const ENVELOPE: usize = 8 << 10;

/// From a closed pipe to the child's end, which tells more. It comes at once, unless the child lives on.
const EXPLAINED: Duration = Duration::from_millis(200);

type Ending = Pin<Box<dyn Future<Output = Option<Arc<Ended>>> + Send>>;

pub(super) struct ChildWire {
    child: Watched,
    /// Absent once the wire is closing: both pipes are closed with it.
    lines: Option<Lines<ChildStdout, ChildStdin>>,
    hold: Option<oneshot::Sender<()>>,
    /// Absent once it has told the end.
    ending: Option<Ending>,
    start: Start,
    start_timeout: Duration,
    /// Since a pipe was found closed.
    is_shut: Option<Pin<Box<Sleep>>>,
}

/// A child may take long to say its first word, for instance because it is being downloaded.
enum Start {
    /// Nothing has been asked.
    Unasked,
    /// Something has, and it may answer until then.
    Asked(Pin<Box<Sleep>>),
    /// It has said something.
    Answered,
}

impl ChildWire {
    pub(super) fn new(child: Child, max_message: usize, start_timeout: Duration) -> Self {
        let Child { watched, stdin, stdout, hold } = child;
        let mut ended = watched.ended.clone();
        let ending: Ending =
            Box::pin(async move { ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()) });
        Self {
            child: watched,
            lines: Some(Lines::new(stdout, stdin, max_message.saturating_add(ENVELOPE))),
            hold: Some(hold),
            ending: Some(ending),
            start: Start::Unasked,
            start_timeout,
            is_shut: None,
        }
    }

    /// Ready when the child has ended; `None` without a word from its keeper.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Ended>>> {
        let Some(ending) = &mut self.ending else { return Poll::Ready(self.child.ended.borrow().clone()) };
        let ended = ready!(ending.as_mut().poll(cx));
        self.ending = None;
        Poll::Ready(ended)
    }

    /// Ready with the reason when the child has ended, or does not end although it closed a pipe.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if let Poll::Ready(ended) = self.poll_ended(cx) {
            return Poll::Ready(ended.map_or_else(
                || Error::closed("the server was ended with the runtime"),
                |ended| ended.error(&self.child.name),
            ));
        }
        if let Some(shut) = &mut self.is_shut {
            ready!(shut.as_mut().poll(cx));
            return Poll::Ready(ended::shut(&self.child.name, &self.said()));
        }
        if let Start::Asked(until) = &mut self.start {
            ready!(until.as_mut().poll(cx));
            return Poll::Ready(ended::silent(&self.child.name, self.start_timeout, &self.said()));
        }
        Poll::Pending
    }

    /// A pipe is closed. Why, the child's end will tell.
    fn shut(&mut self) {
        self.is_shut.get_or_insert_with(|| Box::pin(tokio::time::sleep(EXPLAINED)));
    }

    fn said(&self) -> parking_lot::MutexGuard<'_, crate::io::process::Tail> {
        self.child.said.lock()
    }

    /// `done`, or the child's end in place of an error of its pipe.
    fn or_end(&mut self, done: Poll<Result<()>>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match done {
            Poll::Ready(Err(_)) => {
                self.shut();
                self.poll_end(cx).map(Err)
            }
            done => done,
        }
    }
}

impl MessageWire for ChildWire {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        if self.is_shut.is_none()
            && let Some(lines) = &mut self.lines
        {
            // What a child said before it ended is still read, and only then its end.
            match lines.poll_receive(cx) {
                Poll::Ready(Ok(Some(received))) => {
                    self.start = Start::Answered;
                    return Poll::Ready(Ok(Some(received)));
                }
                Poll::Ready(Ok(None) | Err(_)) => self.shut(),
                Poll::Pending => {}
            }
        }
        self.poll_end(cx).map(Err)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(lines) = &mut self.lines else { return Poll::Ready(Ok(())) };
        let done = lines.poll_ready(cx);
        self.or_end(done, cx)
    }

    fn send(&mut self, message: Bytes) -> Result<()> {
        if matches!(self.start, Start::Unasked)
            && json::get(&message, &["method"]).is_some()
            && json::get(&message, &["id"]).is_some()
        {
            self.start = Start::Asked(Box::pin(tokio::time::sleep(self.start_timeout)));
        }
        match &mut self.lines {
            Some(lines) => lines.send(message),
            None => Ok(()),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(lines) = &mut self.lines else { return Poll::Ready(Ok(())) };
        let done = lines.poll_flush(cx);
        self.or_end(done, cx)
    }

    /// Closes the child's standard input and waits for its end, which its keeper sees to.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(lines) = &mut self.lines {
            // An error means that the child reads no more.
            let _ = ready!(lines.poll_flush(cx));
            self.lines = None;
            self.hold = None;
        }
        self.poll_ended(cx).map(|_| Ok(()))
    }
}
