// SPDX-License-Identifier: Apache-2.0
//! The caller's side of an answer: from the chunks of a body to items.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Sleep;

use super::control::Control;
use super::incoming::Incoming;
use super::link::Hold;
use super::links::Links;
use crate::connection::Inbound;
use crate::error::{Detail, Error, ErrorKind, PeerError, Phase, Result};
use crate::message::{ControlMessage, Message, Subject};
use crate::proto::body::{BodyDecoder, BodyEvent};
use crate::stream::{Arrivals, Event, ResponseStream, Source, Taken};
use crate::target::TransportId;

/// From the last item to the end of its HTTP message, which is on its way if the responder is ours.
const TAIL_TIMEOUT: Duration = Duration::from_secs(1);

/// Items that a reader takes at once, of those that have come.
const MAX_TAKEN: usize = 128;

/// Bytes that the shortest form of an item has beside the item.
const LEAST_FRAMING: usize = 5;

/// The body of an answer, and how to control who writes it.
pub(super) struct Opened {
    pub(super) body: Incoming,
    pub(super) decoder: BodyDecoder,
    pub(super) hold: Hold,
    pub(super) control: Option<Control>,
}

/// An answer, as the source of a [`ResponseStream`].
pub(super) struct Answer(Mutex<State>);

struct State {
    stage: Stage,
    over_by: Instant,
    /// Between two items, where the configuration has one.
    read_timeout: Option<Duration>,
    /// Where there is such a time.
    last_read: Option<Instant>,
    /// Made when the answer first has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Who to wake when the answer is ended from outside.
    reader: Option<Waker>,
}

enum Stage {
    Reading(Box<Opened>),
    /// The end has been read, with this outcome. The rest of the HTTP message is read too: its link is then of use again.
    Tail(Box<Opened>, Option<Error>, Pin<Box<Sleep>>),
    Over(Option<Error>),
}

impl Answer {
    /// The stream of an answer whose head is there, which must be over at `over_by`.
    pub(super) fn stream(opened: Opened, links: &Links, over_by: Instant) -> ResponseStream {
        let state = State {
            stage: Stage::Reading(Box::new(opened)),
            over_by,
            read_timeout: links.config().limits.read_timeout,
            last_read: links.config().limits.read_timeout.map(|_| Instant::now()),
            timer: None,
            reader: None,
        };
        ResponseStream::new(Arc::new(Self(Mutex::new(state))), 0)
    }

    /// Ends the answer with `error`, at its reader and at its responder.
    fn abort(&self, error: Error) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Over(_)) {
            return;
        }
        let stage = std::mem::replace(&mut state.stage, Stage::Over(Some(error)));
        let reader = state.reader.take();
        drop(state);
        // Dropped without the lock: it wakes others. An HTTP/2 stream is reset by this, an HTTP/1.1 link closed.
        drop(stage);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> (MutexGuard<'_, State>, Poll<Option<Result<Read>>>) {
        let mut state = self.state();
        let read = state.poll_read(cx);
        if read.is_pending() {
            match &mut state.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                reader => *reader = Some(cx.waker().clone()),
            }
        }
        (state, read)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Source for Answer {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let (_state, read) = self.poll_read(cx);
        read.map(|read| {
            read.map(|read| {
                read.map(|read| match read {
                    Read::Item(item) => Event::Item(item),
                    Read::Notification(subject, message) => Event::Inbound(Inbound::Notification(subject, message)),
                })
            })
        })
    }

    /// All that one chunk of the body has is taken under one lock.
    fn poll_item(&self, _key: u64, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        loop {
            let (mut state, read) = self.poll_read(cx);
            return Poll::Ready(match std::task::ready!(read) {
                Some(Ok(Read::Item(message))) => {
                    let is_last = state.take_more(queue);
                    Some(Ok(Taken { is_last, ..Taken::item(message) }))
                }
                // Nobody asked for it, and there is nowhere to forward it to.
                Some(Ok(Read::Notification(..))) => continue,
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        if message == ControlMessage::Kill {
            return self.abort(Error::cancelled("the caller killed the request").with_phase(Phase::Respond));
        }
        if let Stage::Reading(opened) = &self.state().stage {
            opened.control(message);
        }
    }

    fn release(&self, _key: u64) {
        self.abort(Error::cancelled("the stream was dropped"));
    }
}

impl Opened {
    fn control(&self, message: ControlMessage) {
        match self.control.as_ref().and_then(|control| Some((control, control.place(message)?))) {
            Some((control, place)) => control.links.delete(place),
            None => tracing::debug!(target: "biplane::http::response", "the responder named no place for control"),
        }
    }
}

/// What a body has beside its end.
enum Read {
    Item(Message),
    Notification(Subject, Message),
}

impl State {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Read>>> {
        loop {
            let outcome = match &mut self.stage {
                Stage::Over(error) => return Poll::Ready(error.take().map(Err)),
                Stage::Reading(opened) => match opened.poll_event(cx) {
                    Poll::Ready(Ok(BodyEvent::Item(item))) => {
                        self.has_read();
                        return Poll::Ready(Some(Ok(Read::Item(item))));
                    }
                    Poll::Ready(Ok(BodyEvent::Notification(subject, message))) => {
                        self.has_read();
                        return Poll::Ready(Some(Ok(Read::Notification(subject, message))));
                    }
                    Poll::Ready(Ok(BodyEvent::Done)) => {
                        self.finish(None);
                        continue;
                    }
                    Poll::Ready(Ok(BodyEvent::Error(peer))) => {
                        self.fail(peer);
                        continue;
                    }
                    Poll::Ready(Err(error)) => Some(error.with_phase(Phase::Respond)),
                    Poll::Pending => match self.poll_late(cx) {
                        Poll::Ready(error) => Some(error),
                        Poll::Pending => return Poll::Pending,
                    },
                },
                Stage::Tail(opened, outcome, timer) => {
                    let complete = std::task::ready!(opened.poll_tail(timer.as_mut(), cx));
                    if complete {
                        opened.hold.complete();
                    }
                    outcome.take()
                }
            };
            self.stage = Stage::Over(outcome.map(|error| error.with_transport(TransportId::HTTP)));
        }
    }

    /// Moves what the body has at hand into `queue`. Whether the answer ended with that, and its link is of use again.
    fn take_more(&mut self, queue: &mut Arrivals) -> bool {
        // Where the time between two items is limited, the time that their reader takes must not count.
        let mut left = if self.read_timeout.is_some() { 0 } else { MAX_TAKEN };
        while left > 0 {
            let Stage::Reading(opened) = &mut self.stage else { break };
            left = opened.take_plain(queue, left).saturating_sub(1);
            match opened.decoder.next_event() {
                Ok(Some(BodyEvent::Item(item))) => queue.put(item),
                Ok(Some(BodyEvent::Notification(..))) => {}
                Ok(Some(BodyEvent::Done)) => self.finish(None),
                Ok(Some(BodyEvent::Error(peer))) => self.fail(peer),
                Ok(None) => break,
                Err(error) => {
                    let error = error.with_phase(Phase::Respond).with_transport(TransportId::HTTP);
                    self.stage = Stage::Over(Some(error));
                }
            }
        }
        matches!(self.stage, Stage::Over(None))
    }

    fn fail(&mut self, peer: PeerError) {
        let error = Error::from(peer);
        // Both ends watch the same deadline; whoever is first, it is the caller's own.
        let is_late = error.kind() == ErrorKind::Timeout && Instant::now() >= self.over_by;
        let error = if is_late { Error::deadline(0) } else { error };
        self.finish(Some(error.with_phase(Phase::Respond)));
    }

    fn has_read(&mut self) {
        if let Some(last_read) = &mut self.last_read {
            *last_read = Instant::now();
        }
    }

    fn finish(&mut self, outcome: Option<Error>) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over(None)) {
            Stage::Reading(opened) if !opened.hold.link().is_multiplexed() => {
                Stage::Tail(opened, outcome, Box::pin(tokio::time::sleep(TAIL_TIMEOUT)))
            }
            _ => Stage::Over(outcome.map(|error| error.with_transport(TransportId::HTTP))),
        };
    }

    /// Ready when the answer has been waited for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let silent_by = self.last_read.zip(self.read_timeout).and_then(|(last, timeout)| last.checked_add(timeout));
        let by = silent_by.map_or(self.over_by, |silent_by| silent_by.min(self.over_by));
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(by.into())));
        if timer.deadline() != by.into() {
            timer.as_mut().reset(by.into());
        }
        std::task::ready!(timer.as_mut().poll(cx));
        let error = match self.read_timeout {
            Some(silent_for) if by != self.over_by => {
                Error::timeout(format!("no item for {silent_for:?}")).with_detail(Detail::PeerTimeout { silent_for })
            }
            _ => Error::deadline(0),
        };
        Poll::Ready(error.with_phase(Phase::Respond))
    }
}

impl Opened {
    /// Moves at most `most` of the items that need no further look into `queue`; says how many more it may take.
    fn take_plain(&mut self, queue: &mut Arrivals, most: usize) -> usize {
        let mut left = most;
        while left > 0
            && let Some(item) = self.decoder.next_plain()
        {
            if left == most {
                // What comes together is mostly alike: the place for it is made once.
                queue.reserve((1 + self.decoder.at_hand() / (item.len() + LEAST_FRAMING)).min(most));
            }
            queue.put(Message::new(item));
            left -= 1;
        }
        left
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent>> {
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => return Poll::Ready(Ok(event)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match std::task::ready!(self.body.poll_chunk(cx)) {
                Some(Ok(chunk)) => self.decoder.push(chunk),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // The HTTP message is whole, the answer is not.
                None => return Poll::Ready(Err(Error::peer_closed(0, true))),
            }
        }
    }

    /// Whether the body ended with the answer; what comes after the answer's end is not looked at.
    fn poll_tail(&mut self, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<bool> {
        match self.body.poll_chunk(cx) {
            Poll::Ready(None) => Poll::Ready(true),
            Poll::Ready(Some(_)) => Poll::Ready(false),
            Poll::Pending => timer.poll(cx).map(|()| false),
        }
    }
}
