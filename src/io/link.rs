// SPDX-License-Identifier: Apache-2.0
//! A multiplexed link in use: the [`Mux`] behind a lock, shared by its one driver and by everyone who has a stream on it.
//!
//! The lock is held for the length of a state change and never while waiting, waking or calling out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result, Retry};
use crate::message::{ControlMessage, Request};
use crate::plane::ReplyTo;
use crate::pool::Link;
use crate::proto::mux::{IncomingRequest, Key, Mux};
use crate::proto::open::{Open, TOKEN_LEN};
use crate::stream::{Event, ResponseSender, ResponseStream, Sink, Source, Unended};
use crate::target::TransportId;

/// What a link does with what its peer asks for. The default refuses everything.
pub trait Service: Send + Sync + 'static {
    /// The peer sent a request. Called on the link's driver: must not block.
    fn request(&self, link: &Arc<MuxLink>, request: Request, reply_to: ReplyTo, reply: ResponseSender) {
        let _ = (link, reply_to);
        let error = Error::refused(format!("this end of the link serves no requests (asked for {})", request.subject));
        reply.refuse(PeerError::from(
            error.with_retry(Retry::Safe).with_hint("check that the address is a request plane's"),
        ));
    }

    /// The peer opened the answer to a request that was made elsewhere: [`MuxLink::claim`] or [`MuxLink::refuse`] it.
    fn call_home(&self, link: &Arc<MuxLink>, key: Key, token: [u8; TOKEN_LEN]) {
        let _ = token;
        link.refuse(key, &PeerError::from(Error::refused("this end of the link waits for no answers")));
    }

    /// A stream's reader does not want this message: it goes to whoever receives for the connection.
    fn forward(&self, inbound: Inbound) {
        drop(inbound);
    }

    /// The inbox of an accepted connection.
    #[doc(hidden)]
    fn inbox(&self) -> Option<Arc<super::connection::Inbox>> {
        None
    }
}

/// A service that refuses everything: the end of a link that only asks.
#[derive(Debug)]
pub struct NoService;

impl Service for NoService {}

/// One end of a link. Its driver keeps it alive until [`MuxLink::close`], [`MuxLink::abort`] or the peer ends it.
pub struct MuxLink {
    transport: TransportId,
    peer: String,
    streams_per_link: usize,
    service: Arc<dyn Service>,
    state: Mutex<State>,
    /// Tells those who wait for the end. They come and go as often as somebody receives, so none may leave a trace.
    ended: Notify,
}

struct State {
    mux: Mux,
    /// Parked driver, to be woken when there is output or an earlier deadline.
    driver: Option<Waker>,
    /// What the parked driver's timer is set to.
    timer: Option<Instant>,
    /// The parked driver waits for the socket to take more: further output is no reason to wake it.
    blocked: bool,
    flush_waiters: Vec<Waker>,
    closing: bool,
    finished: bool,
}

/// What the driver is to do next.
pub(super) enum Park {
    /// Nothing, until woken or until this time.
    Until(Option<Instant>),
    /// There is output.
    Busy,
    /// Everything is done and flushed: shut the socket down.
    Finish,
}

impl MuxLink {
    pub(super) fn new(
        transport: TransportId,
        peer: String,
        mux: Mux,
        service: Arc<dyn Service>,
        streams: usize,
    ) -> Self {
        Self {
            transport,
            peer,
            streams_per_link: streams,
            service,
            state: Mutex::new(State {
                mux,
                driver: None,
                timer: None,
                blocked: false,
                flush_waiters: Vec::new(),
                closing: false,
                finished: false,
            }),
            ended: Notify::new(),
        }
    }

    /// The other end, for people.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Who carries it.
    pub fn transport(&self) -> &TransportId {
        &self.transport
    }

    /// Sends a request whose answer comes back on this link. Does not wait.
    ///
    /// `lease` is kept until the stream is over on both ends. A streaming request's items are pumped by a task of their
    /// own: only this rare kind of request costs one.
    pub fn open(
        self: &Arc<Self>,
        request: Request,
        reply_to: ReplyTo,
        lease: Option<Box<dyn Send>>,
    ) -> Result<ResponseStream> {
        let Request { subject, context, message, items } = request;
        let open = Open::Request { subject, context, reply_to };
        let key = self.open_with(lease, |mux| mux.open_request(&open, message, items.is_some(), Instant::now));
        let key = key.map_err(|error| self.name(error))?;
        if let Some(items) = items {
            tokio::spawn(pump(items, ResponseSender::new(self.clone(), key as u64)));
        }
        Ok(ResponseStream::new(self.clone(), key as u64))
    }

    /// Opens the answer to a request that the peer made elsewhere.
    pub fn open_call_home(
        self: &Arc<Self>,
        token: [u8; TOKEN_LEN],
        lease: Option<Box<dyn Send>>,
    ) -> Result<ResponseSender> {
        let key = self.open_with(lease, |mux| mux.open_call_home(token));
        Ok(ResponseSender::new(self.clone(), key.map_err(|error| self.name(error))? as u64))
    }

    fn open_with(&self, mut lease: Option<Box<dyn Send>>, open: impl FnOnce(&mut Mux) -> Result<Key>) -> Result<Key> {
        self.with(|mux| {
            let key = open(mux)?;
            if let Some(lease) = lease.take() {
                mux.attach(key, lease);
            }
            Ok(key)
        })
        // A lease that was not attached is dropped here and not before: it asks this link how it is, which takes the lock.
    }

    /// Takes an answer that came in; `deadline` bounds it.
    pub fn claim(self: &Arc<Self>, key: Key, deadline: Option<Instant>) -> ResponseStream {
        self.with(|mux| mux.claim(key, deadline));
        ResponseStream::new(self.clone(), key as u64)
    }

    /// Turns a stream down that came in.
    pub fn refuse(&self, key: Key, error: &PeerError) {
        self.with(|mux| mux.refuse(key, error));
    }

    /// Refuses new streams, lets those that run finish for at most `grace`, then ends the link. Returns when it is ended.
    pub async fn close_within(&self, grace: Duration) {
        self.close();
        if tokio::time::timeout(grace, self.closed()).await.is_err() {
            self.abort(Error::closed("the connection was closed before this request was finished"));
            self.closed().await;
        }
    }

    /// Ends the link now: every stream fails with `error`.
    pub fn abort(&self, error: Error) {
        self.with(|mux| mux.fail(error));
        self.wake_driver();
    }

    /// Waits until the driver is done and the socket is closed. Cancel-safe.
    pub async fn closed(&self) {
        loop {
            let ended = self.ended.notified();
            if self.state().finished {
                return;
            }
            ended.await;
        }
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.state().mux.open_streams()
    }

    /// Why the link is dead, if it is.
    pub fn dead(&self) -> Option<Error> {
        self.state().mux.dead().map(Error::duplicate)
    }

    pub(super) fn serve(self: &Arc<Self>, incoming: IncomingRequest) {
        let IncomingRequest { key, subject, context, reply_to, message, has_items } = incoming;
        let items = has_items.then(|| ResponseStream::new(self.clone(), key as u64));
        let request = Request { subject, context, message, items };
        self.service.request(self, request, reply_to, ResponseSender::new(self.clone(), key as u64));
    }

    pub(super) fn serve_call_home(self: &Arc<Self>, key: Key, token: [u8; TOKEN_LEN]) {
        self.service.call_home(self, key, token);
    }

    fn name(&self, error: Error) -> Error {
        error.with_transport(&self.transport).with_target(&self.peer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the mux, then wakes whom the change concerns.
    pub(super) fn with<R>(&self, change: impl FnOnce(&mut Mux) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.mux);
        let after = state.mux.take_after();
        let driver = if state.driver.is_some() && state.needs_driver() { state.driver.take() } else { None };
        drop(state);
        after.run();
        driver.into_iter().for_each(Waker::wake);
        result
    }

    fn wake_driver(&self) {
        let driver = self.state().driver.take();
        driver.into_iter().for_each(Waker::wake);
    }

    /// The driver has nothing to do: parks it, unless something came up meanwhile. `blocked`: the socket takes no bytes.
    pub(super) fn park(&self, waker: &Waker, blocked: bool) -> Park {
        let mut state = self.state();
        if state.mux.has_output() && !blocked {
            return Park::Busy;
        }
        let is_done = state.mux.dead().is_some() || (state.closing && state.mux.is_drained());
        if is_done && state.mux.is_flushed() {
            return Park::Finish;
        }
        let timer = state.mux.poll_timeout();
        state.timer = timer;
        state.blocked = blocked;
        match &mut state.driver {
            Some(driver) => driver.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
        Park::Until(timer)
    }

    /// Output waits and more than one stream may add to it: worth one scheduler turn before it is written.
    pub(super) fn is_shared_and_busy(&self) -> bool {
        let state = self.state();
        state.mux.has_output() && state.mux.open_streams() > 1
    }

    /// The peer reads so little that it should not be heard before it does.
    pub(super) fn is_choked(&self) -> bool {
        self.state().mux.is_choked()
    }

    /// The driver runs: nobody need wake it.
    pub(super) fn unpark(&self) {
        self.state().driver = None;
    }

    /// The driver wrote `bytes`.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        state.mux.wrote(bytes);
        let waiters = std::mem::take(&mut state.flush_waiters);
        let after = state.mux.take_after();
        drop(state);
        after.run();
        waiters.into_iter().for_each(Waker::wake);
    }

    /// The driver is gone, by its end or by the runtime's.
    pub(super) fn finish(&self, error: Error) {
        let mut state = self.state();
        state.mux.fail(error);
        state.finished = true;
        let after = state.mux.take_after();
        let waiters = std::mem::take(&mut state.flush_waiters);
        drop(state);
        after.run();
        waiters.into_iter().for_each(Waker::wake);
        self.ended.notify_waiters();
    }
}

impl State {
    fn needs_driver(&self) -> bool {
        (self.mux.has_output() && !self.blocked)
            || match (self.timer, self.mux.poll_timeout()) {
                (Some(set), Some(wanted)) => wanted < set,
                (None, wanted) => wanted.is_some(),
                (Some(_), None) => true,
            }
            || (self.closing && self.mux.is_drained())
    }
}

/// Sends the items of a streaming request.
async fn pump(mut items: ResponseStream, sender: ResponseSender) {
    loop {
        let item = tokio::select! {
            item = items.next() => item,
            // The responder is done, or the link is: nobody reads further items.
            _ = sender.stopped() => return,
        };
        match item {
            Some(Ok(item)) => {
                if sender.send(item).await.is_err() {
                    return;
                }
            }
            Some(Err(error)) => return sender.fail(error),
            None => return sender.close(),
        }
    }
}

impl Source for MuxLink {
    fn poll_next(&self, key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let event = std::task::ready!(self.with(|mux| mux.poll_recv(key as Key, cx)));
        Poll::Ready(match event {
            Some(Err(error)) => Some(Err(self.name(error))),
            event => event,
        })
    }

    fn control(&self, key: u64, message: ControlMessage) {
        self.with(|mux| mux.control(key as Key, message));
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        self.service.forward(inbound);
    }

    fn release(&self, key: u64) {
        self.with(|mux| mux.release_reader(key as Key));
    }
}

impl Sink for MuxLink {
    fn poll_ready(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|mux| mux.poll_ready(key as Key, cx))
    }

    fn push(&self, key: u64, event: Event) -> Result<()> {
        match event {
            Event::Item(message) => self.with(|mux| mux.push(key as Key, message)),
            Event::Inbound(Inbound::Notification(subject, message)) => {
                self.with(|mux| mux.push_notification(key as Key, &subject, message))
            }
            Event::Inbound(Inbound::Request(..)) => {
                Err(Error::unsupported("a mux stream carries notifications back to its caller, not requests")
                    .with_hint("send the request on the connection"))
            }
        }
    }

    fn control(&self, key: u64, message: ControlMessage) -> Result<()> {
        self.with(|mux| mux.control(key as Key, message));
        Ok(())
    }

    fn poll_flush(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        if let Some(error) = state.mux.dead() {
            return Poll::Ready(Err(error.duplicate()));
        }
        if state.mux.is_stream_flushed(key as Key) {
            return Poll::Ready(Ok(()));
        }
        if !state.flush_waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            state.flush_waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn end(&self, key: u64, outcome: Result<(), PeerError>) {
        self.with(|mux| mux.end(key as Key, outcome));
    }

    fn poll_stopped(&self, key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        self.with(|mux| mux.poll_stopped(key as Key, cx))
    }

    fn poll_killed(&self, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|mux| mux.poll_killed(key as Key, cx))
    }

    fn retain(&self, key: u64) {
        self.with(|mux| mux.retain_writer(key as Key));
    }

    fn release(&self, key: u64, unended: Unended) {
        self.with(|mux| mux.release_writer(key as Key, unended));
    }
}

/// A pool holds links that their drivers hold too.
impl Link for Arc<MuxLink> {
    fn is_usable(&self) -> bool {
        MuxLink::is_usable(self)
    }

    fn refusal(&self) -> Option<Error> {
        self.state().mux.refusal()
    }

    fn has_room(&self) -> bool {
        MuxLink::has_room(self)
    }

    fn ping(&self) {
        self.with(|mux| mux.ping(Instant::now()));
    }

    fn close(&self) {
        MuxLink::close(self);
    }
}

impl MuxLink {
    /// Whether a new stream may be opened.
    pub fn is_usable(&self) -> bool {
        let state = self.state();
        state.mux.is_open() && !state.closing
    }

    /// Whether another stream is better put here than on a further link.
    pub fn has_room(&self) -> bool {
        let state = self.state();
        state.mux.has_room() && state.mux.open_streams() < self.streams_per_link
    }

    /// Refuses new streams; the link ends when those that run are over.
    pub fn close(&self) {
        self.state().closing = true;
        self.with(|mux| mux.go_away(&PeerError::from(Error::closed("the peer is closing this link"))));
        self.wake_driver();
    }
}

impl fmt::Debug for MuxLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MuxLink({} {}, {} streams)", self.transport, self.peer, self.open_streams())
    }
}
