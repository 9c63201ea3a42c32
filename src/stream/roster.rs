// SPDX-License-Identifier: Apache-2.0
//! The streams that are open on something that can be closed.
//!
//! A connection, or one side of a plane, that is not a multiplexed link keeps a [`Roster`]. It refuses newcomers once
//! closing began, waits for those inside, and cuts whoever is left when the grace is over. The streams it hands out
//! enforce the deadline and the size limit where they are read.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep};

use super::{Arrivals, Event, ResponseStream, Source, Taken, poll_next_item};
use crate::connection::Inbound;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::message::ControlMessage;

/// Longer graces are cut to this, so that adding one to an instant cannot overflow.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

pub(crate) struct Roster {
    book: Mutex<Book>,
    idle: Notify,
    closed: watch::Sender<bool>,
}

struct Book {
    accepting: bool,
    streams: Slab<Weak<Tracked>>,
}

/// What a stream is admitted with.
pub(crate) struct Terms {
    /// When its reader stops waiting.
    pub(crate) deadline: Option<std::time::Instant>,
    /// Bytes of an item.
    pub(crate) max_item: usize,
    /// Where an [`Inbound`] goes that the reader did not ask for.
    pub(crate) forward: Option<Forward>,
}

pub(crate) type Forward = Box<dyn Fn(Inbound) + Send + Sync>;
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<ResponseStream>> + Send>>;

/// How a stream begins.
pub(crate) enum Beginning {
    /// It is polled by whoever reads, and dropped with the stream.
    Opening(Opening),
    /// It is there.
    Open(ResponseStream),
}

impl Roster {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            book: Mutex::new(Book { accepting: true, streams: Slab::new() }),
            idle: Notify::new(),
            closed: watch::Sender::new(false),
        })
    }

    /// Takes a stream in; `Closed` and safe to send elsewhere once closing began.
    pub(crate) fn admit(self: &Arc<Self>, beginning: Beginning, terms: Terms) -> Result<Arc<Tracked>> {
        let mut book = self.book();
        if !book.accepting {
            drop(book);
            return Err(refused());
        }
        let entry = book.streams.vacant_entry();
        let tracked = Arc::new(Tracked {
            roster: self.clone(),
            deadline: terms.deadline.map(Instant::from_std),
            max_item: terms.max_item,
            forward: terms.forward,
            state: Mutex::new(State {
                stage: match beginning {
                    Beginning::Opening(opening) => Stage::Opening(opening, None),
                    Beginning::Open(stream) => Stage::Open(stream),
                },
                slot: Some(entry.key()),
                held: None,
                timer: None,
                reader: None,
            }),
        });
        entry.insert(Arc::downgrade(&tracked));
        Ok(tracked)
    }

    /// An error unless newcomers are taken in.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.book().accepting { Ok(()) } else { Err(refused()) }
    }

    /// From now on nobody is taken in.
    pub(crate) fn refuse(&self) {
        self.book().accepting = false;
    }

    /// Refuses newcomers, waits for at most `grace` until nobody is inside, cuts the rest.
    pub(crate) async fn close(&self, grace: Duration) {
        self.refuse();
        let until = Instant::now() + grace.min(LONGEST_GRACE);
        loop {
            let idle = self.idle.notified();
            if self.book().streams.is_empty() || tokio::time::timeout_at(until, idle).await.is_err() {
                break;
            }
        }
        self.cut();
    }

    /// Ends everything now, as if the link had died.
    pub(crate) fn cut(&self) {
        self.refuse();
        let victims: Vec<_> = self.book().streams.iter().filter_map(|(_, stream)| stream.upgrade()).collect();
        for victim in victims {
            victim.fail(Error::peer_closed(0, false));
        }
        self.closed.send_replace(true);
    }

    #[cfg(feature = "mem")]
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Ready once everything was cut.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closed = self.closed.subscribe();
        async move {
            // An error means that the roster itself is gone, which is as closed as can be.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }

    fn leave(&self, slot: usize) {
        let mut book = self.book();
        book.streams.try_remove(slot);
        let idle = book.streams.is_empty();
        drop(book);
        if idle {
            self.idle.notify_waiters();
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }
}

fn refused() -> Error {
    Error::closed("the connection is closed or closing").with_retry(Retry::Safe).with_hint("connect again")
}

/// A stream on a roster. Read it through [`Tracked::stream`].
pub(crate) struct Tracked {
    roster: Arc<Roster>,
    deadline: Option<Instant>,
    max_item: usize,
    forward: Option<Forward>,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// The place on the roster, until the stream is over.
    slot: Option<usize>,
    /// What [`Tracked::poll_failed`] found and the reader has not seen yet.
    held: Option<Box<Option<Result<Event>>>>,
    timer: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

enum Stage {
    /// The control message waits for the stream that it is meant for.
    Opening(Opening, Option<ControlMessage>),
    Open(ResponseStream),
    Failed(Error),
    Over,
}

impl Tracked {
    /// The one handle to read it with; dropping that handle takes the stream off the roster.
    pub(crate) fn stream(self: Arc<Self>) -> ResponseStream {
        ResponseStream::new(self, 0)
    }

    /// Ready when the stream has failed before its reader asked for anything. Loses nothing.
    #[cfg(any(test, feature = "mem"))]
    pub(crate) fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut state = self.state();
        if state.held.is_none()
            && let Poll::Ready(found) = self.advance(&mut state, cx)
        {
            state.held = Some(Box::new(found));
        }
        match state.held.as_deref() {
            Some(Some(Err(error))) => Poll::Ready(error.duplicate()),
            _ => Poll::Pending,
        }
    }

    fn fail(&self, error: Error) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Over) {
            return;
        }
        let victim = std::mem::replace(&mut state.stage, Stage::Failed(error));
        let reader = state.reader.take();
        drop(state);
        drop(victim);
        reader.into_iter().for_each(Waker::wake);
    }

    fn advance(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let found = self.poll_stage(state, cx);
        let found = match found {
            Poll::Pending => match self.poll_deadline(state, cx) {
                Poll::Ready(error) => Some(Err(error)),
                Poll::Pending => {
                    state.wait(cx);
                    return Poll::Pending;
                }
            },
            Poll::Ready(Some(Ok(Event::Item(item)))) if item.size() > self.max_item => {
                Some(Err(Error::too_large("an item", self.max_item as u64, item.size() as u64)))
            }
            // The responder's clock and ours end the same request: the caller is told the same thing either way.
            Poll::Ready(Some(Err(error))) if error.kind() == ErrorKind::Timeout && self.is_late() => {
                Some(Err(Error::deadline(0)))
            }
            Poll::Ready(Some(Ok(_))) if self.is_late() => Some(Err(Error::deadline(0))),
            Poll::Ready(found) => found,
        };
        if !matches!(found, Some(Ok(_))) {
            state.stage = Stage::Over;
            state.timer = None;
        }
        Poll::Ready(found)
    }

    fn poll_stage(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        match std::task::ready!(state.poll_stream(cx)) {
            Some(Ok(stream)) => stream.poll_event(cx),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => Poll::Ready(None),
        }
    }

    /// Whether this adds nothing to what the stream says.
    fn is_plain(&self) -> bool {
        self.deadline.is_none() && self.max_item == usize::MAX
    }

    fn poll_deadline(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = state.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| Error::deadline(0))
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// The stream, once it is there; its failure, or nothing after its end.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<&mut ResponseStream>>> {
        if let Stage::Opening(opening, control) = &mut self.stage {
            match std::task::ready!(opening.as_mut().poll(cx)) {
                Ok(stream) => {
                    if let Some(message) = control.take() {
                        stream.control(message);
                    }
                    self.stage = Stage::Open(stream);
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        if let Stage::Failed(_) = self.stage
            && let Stage::Failed(error) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(match &mut self.stage {
            Stage::Open(stream) => Some(Ok(stream)),
            _ => None,
        })
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            reader => *reader = Some(cx.waker().clone()),
        }
    }
}

impl Source for Tracked {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let mut state = self.state();
        let found = match state.held.take() {
            Some(found) => *found,
            None => std::task::ready!(self.advance(&mut state, cx)),
        };
        if !matches!(found, Some(Ok(_)))
            && let Some(slot) = state.slot.take()
        {
            drop(state);
            self.roster.leave(slot);
        }
        Poll::Ready(found)
    }

    /// The stream's items as the stream gives them, several at once, where there is nothing to look after.
    fn poll_item(&self, key: u64, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        let mut state = self.state();
        if !self.is_plain() || state.held.is_some() {
            drop(state);
            return poll_next_item(self, key, cx);
        }
        let taken = match state.poll_stream(cx) {
            Poll::Ready(Some(Ok(stream))) => stream.poll_taken(queue, cx),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        };
        match &taken {
            Poll::Pending => state.wait(cx),
            Poll::Ready(Some(Ok(Taken { is_last: false, .. }))) => {}
            Poll::Ready(_) => {
                let stage = std::mem::replace(&mut state.stage, Stage::Over);
                let slot = state.slot.take();
                drop(state);
                drop(stage);
                slot.into_iter().for_each(|slot| self.roster.leave(slot));
            }
        }
        taken
    }

    fn give_back(&self, _key: u64, credit: u32) {
        if let Stage::Open(stream) = &self.state().stage {
            stream.give_back(credit);
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        let mut state = self.state();
        match &mut state.stage {
            Stage::Opening(_, waiting) if message == ControlMessage::Stop => *waiting = Some(message),
            // Nobody there yet who could be told: the request itself is given up.
            Stage::Opening(..) => {
                drop(state);
                self.fail(Error::cancelled("the caller ended the request before it was acknowledged"));
            }
            Stage::Open(stream) => stream.control(message),
            Stage::Failed(_) | Stage::Over => {}
        }
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        match &self.forward {
            Some(forward) => forward(inbound),
            None => {
                if let Stage::Open(stream) = &self.state().stage {
                    stream.forward(inbound);
                }
            }
        }
    }

    fn release(&self, _key: u64) {
        let mut state = self.state();
        let stage = std::mem::replace(&mut state.stage, Stage::Over);
        let slot = state.slot.take();
        drop(state);
        drop(stage);
        if let Some(slot) = slot {
            self.roster.leave(slot);
        }
    }
}

impl Drop for Tracked {
    /// For a stream that was never read: admitted, then given up before anybody held its handle.
    fn drop(&mut self) {
        let slot = self.state.get_mut().slot.take();
        if let Some(slot) = slot {
            self.roster.leave(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::pipe;

    const PLAIN: Terms = Terms { deadline: None, max_item: usize::MAX, forward: None };

    #[tokio::test]
    async fn closing_waits_for_those_inside_and_refuses_others() {
        let roster = Roster::new();
        let (sender, stream) = pipe(1024, 1024);
        let mut stream = roster.admit(Beginning::Open(stream), PLAIN).unwrap().stream();
        let closing = tokio::spawn({
            let roster = roster.clone();
            async move { roster.close(Duration::from_secs(30)).await }
        });
        while roster.check_open().is_ok() {
            tokio::task::yield_now().await;
        }
        let (_, late) = pipe(1, 1);
        assert_eq!(roster.admit(Beginning::Open(late), PLAIN).err().unwrap().kind(), ErrorKind::Closed);
        sender.send("x").await.unwrap();
        sender.close();
        assert!(stream.next().await.unwrap().is_ok());
        assert!(!closing.is_finished());
        assert!(stream.next().await.is_none());
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_left_is_cut_with_the_items_it_saw() {
        let roster = Roster::new();
        let (sender, stream) = pipe(1024, 1024);
        let mut stream = roster.admit(Beginning::Open(stream), PLAIN).unwrap().stream();
        sender.send("x").await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        roster.close(Duration::ZERO).await;
        assert_eq!(stream.next().await.unwrap().unwrap_err().items_seen(), Some(1));
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_silent_stream() {
        let roster = Roster::new();
        let (sender, stream) = pipe(1024, 1024);
        let deadline = Some((Instant::now() + Duration::from_secs(5)).into_std());
        let mut stream = roster.admit(Beginning::Open(stream), Terms { deadline, ..PLAIN }).unwrap().stream();
        assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(sender.stopped().await, ControlMessage::Kill);
    }

    #[tokio::test]
    async fn looking_for_a_failure_loses_nothing() {
        let roster = Roster::new();
        let (sender, stream) = pipe(1024, 1024);
        let tracked = roster.admit(Beginning::Open(stream), PLAIN).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(tracked.poll_failed(&mut cx).is_pending());
        sender.send("x").await.unwrap();
        assert!(tracked.poll_failed(&mut cx).is_pending());
        assert!(tracked.poll_failed(&mut cx).is_pending());
        let mut stream = tracked.stream();
        assert_eq!(&stream.next().await.unwrap().unwrap().body[..], b"x");
    }
}
