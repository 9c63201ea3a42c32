// SPDX-License-Identifier: Apache-2.0
//! The two ends of an answer: [`ResponseStream`] at the caller, [`ResponseSender`] at the handler.
//!
//! Both are a handle (`Arc` of a link and a key), so that a stream on a multiplexed link costs no channel and no box: the
//! state is the link's own slab slot. Links implement [`Source`] and [`Sink`]; everything that is no multiplexed link uses
//! [`pipe`], and whatever must wait before it has a stream uses [`ResponseStream::deferred`]. What is to be done when an answer
//! begins, ends or fails is an overseer's, beside the stream and not in front of it.
//!
//! Drop is cancel: a dropped [`ResponseStream`] tells the responder to stop ([`ControlMessage::Kill`]); a
//! [`ResponseSender`] dropped without [`close`](ResponseSender::close) is an error at the caller, never a clean end.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message};
pub use crate::proto::parcel::Parcel;

mod arrivals;
mod ends;
mod events;
mod origin;
mod overseer;
mod pipe;
mod place;
mod response;
pub(crate) mod roster;
mod supervisor;
mod unread;

pub use arrivals::Arrivals;
pub(crate) use arrivals::{Arrival, Queue, Waiting};
pub(crate) use ends::Ends;
use origin::Origin;
pub(crate) use overseer::Overseer;
pub use pipe::pipe;
use place::Sent;
pub use response::ResponseStream;
pub(crate) use supervisor::{Collected, Supervisor};

/// What comes on an answer, in order.
#[derive(Debug)]
pub enum Event {
    /// The next item.
    Item(Message),
    /// Something that the responder sends on account of this request: progress, a question back.
    Inbound(Inbound),
}

/// An item as its reader takes it.
#[derive(Debug)]
pub struct Taken {
    /// The item.
    pub message: Message,
    /// Nothing comes after it but what is queued, then the stream ends cleanly. Its key is free: no method is called with
    /// it again.
    pub is_last: bool,
    /// When it had come, for the last item of a source that knows: who wants to know how long the answer took need not look
    /// at the clock.
    pub arrived: Option<Instant>,
}

impl Taken {
    /// An item after which others may come.
    pub fn item(message: Message) -> Self {
        Self { message, is_last: false, arrived: None }
    }
}

/// The receiving side of streams, implemented by a link. `key` names one stream; a stale key is answered as an ended stream.
pub trait Source: Send + Sync + 'static {
    /// The next event; `None` after a clean end. After an error or an end it is not called again.
    fn poll_next(&self, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>>;
    /// [`Source::poll_next`] for a reader that wants items only: an [`Inbound`] that comes in between is forwarded. A source
    /// that has more may put it into `queue`, which is empty, and one that knows that nothing else comes says so: both save
    /// the reader further calls.
    fn poll_item(&self, key: u64, queue: &mut Arrivals, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
        let _ = queue;
        poll_next_item(self, key, cx)
    }
    /// What [`Source::poll_item`] had put into the queue was read: its credit comes back.
    fn give_back(&self, key: u64, credit: u32) {
        let _ = (key, credit);
    }
    /// Asks the responder to finish.
    fn control(&self, key: u64, message: ControlMessage);
    /// Hands an [`Inbound`] that the reader of the stream did not ask for to [`Connection::receive`](crate::Connection::receive).
    fn forward(&self, key: u64, inbound: Inbound) {
        let _ = (key, inbound);
    }
    /// The reader is gone: cancel what is not finished, free the key.
    fn release(&self, key: u64);
}

/// [`Source::poll_item`] by [`Source::poll_next`].
fn poll_next_item<S: Source + ?Sized>(source: &S, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Taken>>> {
    loop {
        return Poll::Ready(match std::task::ready!(source.poll_next(key, cx)) {
            Some(Ok(Event::Item(message))) => Some(Ok(Taken::item(message))),
            Some(Ok(Event::Inbound(inbound))) => {
                source.forward(key, inbound);
                continue;
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        });
    }
}

/// The sending side of streams, implemented by a link. A key has one or two holders: the sender and, while a handler runs,
/// its supervisor.
pub trait Sink: Send + Sync + 'static {
    /// Ready when there is credit for one item of any permitted size.
    fn poll_ready(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>>;
    /// Sends `item` once there is credit, as [`Sink::poll_ready`] and [`Sink::push`] after it.
    fn poll_send(&self, key: u64, item: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        std::task::ready!(self.poll_ready(key, cx))?;
        Poll::Ready(item.take().map_or(Ok(()), |item| self.push(key, Event::Item(item))))
    }
    /// [`Sink::poll_send`] for a sender that is likely to have more in a moment: takes back what `parcel` holds, sends
    /// `item`, and may lend the parcel credit for further items. Until it is taken back, nothing that is sent elsewhere on
    /// the stream goes out.
    fn poll_send_lending(
        &self,
        key: u64,
        item: &mut Option<Message>,
        parcel: &mut Parcel,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let _ = parcel;
        self.poll_send(key, item, cx)
    }
    /// Sends what `parcel` holds, and takes back the credit that was lent with it. Empty afterwards.
    fn take_back(&self, key: u64, parcel: &mut Parcel) {
        let _ = (key, parcel);
    }
    /// Queues an event. Called after [`Sink::poll_ready`] said ready; never blocks.
    fn push(&self, key: u64, event: Event) -> Result<()>;
    /// Tells the caller something beside the items.
    fn control(&self, key: u64, message: ControlMessage) -> Result<()>;
    /// Ready when everything queued has been handed to the system.
    fn poll_flush(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let _ = (key, cx);
        Poll::Ready(Ok(()))
    }
    /// Ends the stream: `Ok` is a clean end after all that was queued. Only the first call counts.
    fn end(&self, key: u64, outcome: Result<(), PeerError>);
    /// Ready when the caller wants no more; the link's death is [`ControlMessage::Kill`].
    fn poll_stopped(&self, key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage>;
    /// Ready when the caller is gone or said [`ControlMessage::Kill`]. A second waiter beside [`Sink::poll_stopped`], which
    /// stays until it is woken for that. From then on no item is taken.
    fn poll_killed(&self, key: u64, cx: &mut Context<'_>) -> Poll<()>;
    /// Adds a holder: the supervisor that sees to it that the stream ends as its handler did.
    fn retain(&self, key: u64);
    /// Takes a holder away. If it was the last one and nobody has ended the stream, it ends as `unended` says; then the key
    /// is free.
    fn release(&self, key: u64, unended: Unended);
    /// The handler is done: takes `parcel` back, ends the stream if that was an error, then takes `holders` away as
    /// [`Sink::release`] does, the supervisor and, with two, the sender.
    fn settle(&self, key: u64, parcel: Option<&mut Parcel>, outcome: Result<(), PeerError>, holders: u8) {
        if let Some(parcel) = parcel {
            self.take_back(key, parcel);
        }
        let unended = if outcome.is_ok() { Unended::Close } else { Unended::Abandon };
        if outcome.is_err() {
            self.end(key, outcome);
        }
        (0..holders).for_each(|_| self.release(key, unended));
    }
}

/// How a stream ends that nobody ended before its last holder went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unended {
    /// Cleanly: the handler returned `Ok`.
    Close,
    /// As an error: whoever had the sender dropped it.
    Abandon,
}

impl Unended {
    /// The outcome to end with.
    pub fn outcome(self) -> Result<(), PeerError> {
        match self {
            Self::Close => Ok(()),
            Self::Abandon => Err(PeerError::from(Error::unexpected(
                "the handler dropped its response sender without close() or fail()",
            ))),
        }
    }
}

/// Where a handler puts the items of its answer.
///
/// [`send`](Self::send) waits for the caller's credit, so a slow reader slows its own handler and nobody else. It takes
/// `&self` so that a handler can wait for it and for [`stopped`](Self::stopped) at once; one task sends at a time. Dropped
/// without [`close`](Self::close) or [`fail`](Self::fail), the caller gets an error, unless the handler that dropped it
/// then returned: its result decides.
pub struct ResponseSender {
    sink: Arc<dyn Sink>,
    key: u64,
    /// The stream has been retained for a supervisor already.
    has_spare: bool,
}

impl ResponseSender {
    /// The stream `key` of `sink`, of which this is the one holder.
    pub fn new(sink: Arc<dyn Sink>, key: u64) -> Self {
        Self { sink, key, has_spare: false }
    }

    /// The same as two holders, which the stream has already: one is for the supervisor that there is going to be.
    pub(crate) fn with_spare(mut self) -> Self {
        self.has_spare = true;
        self
    }

    /// Sends an item as soon as there is credit.
    ///
    /// Fails with `TooLarge` for an item over the limit (the stream goes on), `Cancelled` or `Closed` once the caller or
    /// the link is gone. Cancel-safe: a dropped future has sent nothing.
    ///
    /// Small items that a handler sends one after the other without waiting for anything go to the link together, at the
    /// latest when it waits or returns. That the caller went away meanwhile is told by a later send.
    pub fn send(&self, item: impl Into<Message>) -> impl Future<Output = Result<()>> + Send {
        let mut item = Some(item.into());
        poll_fn(move |cx| self.poll_send(&mut item, cx))
    }

    #[inline]
    fn poll_send(&self, item: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match place::sent(&self.sink, self.key) {
            None => self.sink.poll_send(self.key, item, cx),
            Some(Sent::Nothing) => {
                let polled = self.sink.poll_send(self.key, item, cx);
                if matches!(polled, Poll::Ready(Ok(()))) {
                    place::sent_first();
                }
                polled
            }
            Some(Sent::Lent) if item.as_ref().is_some_and(place::collect) => {
                *item = None;
                Poll::Ready(Ok(()))
            }
            Some(Sent::Some | Sent::Lent) => self.poll_send_lending(item, cx),
        }
    }

    #[inline(never)]
    fn poll_send_lending(&self, item: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut parcel = place::borrow();
        let polled = self.sink.poll_send_lending(self.key, item, &mut parcel, cx);
        place::put_back(parcel);
        polled
    }

    /// The sink, for what must not come before an item that was collected on this thread.
    fn sink(&self) -> &dyn Sink {
        if place::sent(&self.sink, self.key) == Some(Sent::Lent) {
            let mut parcel = place::borrow();
            self.sink.take_back(self.key, &mut parcel);
            place::put_back(parcel);
        }
        &*self.sink
    }

    /// Sends a message on account of this request that is not an item of its answer.
    pub async fn send_inbound(&self, inbound: Inbound) -> Result<()> {
        poll_fn(|cx| self.poll_ready(cx)).await?;
        self.sink().push(self.key, Event::Inbound(inbound))
    }

    /// Says something beside the items; [`ControlMessage::Stop`] announces that no further item comes.
    pub fn send_control(&self, message: ControlMessage) -> Result<()> {
        self.sink().control(self.key, message)
    }

    /// Waits until what was sent has been handed to the system. Not needed for progress: links flush by themselves.
    pub async fn flush(&self) -> Result<()> {
        poll_fn(|cx| self.sink().poll_flush(self.key, cx)).await
    }

    /// Ends the answer cleanly, after all items. Implies a flush.
    pub fn close(self) {
        self.sink().end(self.key, Ok(()));
    }

    /// Ends the answer with an error, after all items. The caller takes it that the request ran.
    pub fn fail(self, error: impl Into<PeerError>) {
        self.sink().end(self.key, Err(error.into().started()));
    }

    /// Turns the request down before anything of it ran: an error that says [`Retry::Safe`](crate::Retry) sends the caller
    /// elsewhere. For transports; a handler that was given the request has [`fail`](Self::fail).
    pub fn refuse(self, error: impl Into<PeerError>) {
        self.sink().end(self.key, Err(error.into()));
    }

    /// Waits until the caller wants no more, and says how urgently. The link's death is [`ControlMessage::Kill`].
    pub async fn stopped(&self) -> ControlMessage {
        poll_fn(|cx| self.sink.poll_stopped(self.key, cx)).await
    }

    /// Ready when an item may be sent.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.sink().poll_ready(self.key, cx)
    }

    /// The same sender, whose events pass through another sink on their way. Key and holders stay.
    #[cfg(feature = "conformance")]
    pub(crate) fn wrapped(mut self, wrap: impl FnOnce(Arc<dyn Sink>) -> Arc<dyn Sink>) -> Self {
        self.sink = wrap(self.sink.clone());
        self
    }

    /// A second holder, which decides how the stream ends if the sender does not.
    pub(crate) fn supervise(&mut self) -> Supervisor {
        self.supervise_by(None)
    }

    /// The same, which may be the one that has settled another stream.
    #[inline]
    pub(crate) fn supervise_by(&mut self, settled: Option<Supervisor>) -> Supervisor {
        if !std::mem::take(&mut self.has_spare) {
            self.sink.retain(self.key);
        }
        let reused = settled.and_then(|settled| settled.reused(&self.sink, self.key));
        reused.unwrap_or_else(|| Supervisor::new(self.sink.clone(), self.key))
    }
}

impl Drop for ResponseSender {
    fn drop(&mut self) {
        if self.has_spare {
            self.sink.release(self.key, Unended::Abandon);
        }
        if !place::is_left(&self.sink, self.key) {
            self.sink.release(self.key, Unended::Abandon);
        }
    }
}

impl fmt::Debug for ResponseSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseSender(key {})", self.key)
    }
}
