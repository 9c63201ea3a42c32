// SPDX-License-Identifier: Apache-2.0
//! A multiplexed link in use: the [`Mux`] behind a lock, shared by its one driver and by everyone who has a stream on it.
//!
//! The lock is held for the length of a state change and never while waiting, waking or calling out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::connection::Inbound;
use crate::dispatch::Turn;
use crate::error::{Error, PeerError, Result, Retry};
use crate::message::{Message, Request};
use crate::plane::ReplyTo;
use crate::pool::Link;
use crate::proto::mux::{IncomingRequest, Key, Mux};
use crate::proto::open::{Asking, TOKEN_LEN};
use crate::stream::{ResponseSender, ResponseStream};
use crate::target::TransportId;

mod streams;
#[cfg(test)]
mod tests;
mod turn;

use turn::State;
pub(super) use turn::{Asleep, Park, Step};

/// What a link does with what its peer asks for. The default refuses everything.
pub trait Service: Send + Sync + 'static {
    /// The peer sent a request, with others of the same turn. Called on the link's driver: must not block.
    fn request(
        &self,
        link: &Arc<MuxLink>,
        turn: &mut Turn,
        request: Request,
        reply_to: ReplyTo,
        reply: ResponseSender,
    ) {
        let _ = (link, turn, reply_to);
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

    /// Whether requests go to handlers, beside each of which somebody watches over its answer.
    #[doc(hidden)]
    fn is_supervised(&self) -> bool {
        false
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
    state: Mutex<State>,
    fixed: Box<Fixed>,
}

/// What does not change as long as a link lives. By itself, because it then fits between what the runtime keeps for a link
/// at aligned places, where nothing else does.
struct Fixed {
    transport: TransportId,
    peer: Box<str>,
    streams_per_link: u32,
    service: Arc<dyn Service>,
    is_supervised: bool,
    /// Tells those who wait for the end. They come and go as often as somebody receives, so none may leave a trace.
    ended: Notify,
}

impl MuxLink {
    pub(super) fn new(
        transport: TransportId,
        peer: String,
        mux: Mux,
        service: Arc<dyn Service>,
        streams: usize,
    ) -> Self {
        let is_supervised = service.is_supervised();
        let mux = if is_supervised { mux.with_supervisors() } else { mux };
        let fixed = Fixed {
            transport,
            peer: peer.into_boxed_str(),
            streams_per_link: u32::try_from(streams).unwrap_or(u32::MAX),
            service,
            is_supervised,
            ended: Notify::new(),
        };
        Self { state: Mutex::new(State::new(mux)), fixed: Box::new(fixed) }
    }

    /// The other end, for people.
    pub fn peer(&self) -> &str {
        &self.fixed.peer
    }

    /// Who carries it.
    pub fn transport(&self) -> &TransportId {
        &self.fixed.transport
    }

    /// Sends a request whose answer comes back on this link. Does not wait.
    ///
    /// `lease` is kept until the stream is over on both ends. A streaming request's items are pumped by a task of their
    /// own: only this rare kind of request costs one. The clock `now` is asked for a request that has a deadline.
    pub fn open(
        self: &Arc<Self>,
        request: Request,
        reply_to: ReplyTo,
        lease: Option<Box<dyn Send>>,
        now: impl FnOnce() -> Instant,
    ) -> Result<ResponseStream> {
        let Request { subject, context, message, items } = request;
        let asking = Asking { subject: &subject, context: &context, reply_to: &reply_to };
        let Some(items) = items else { return self.ask(asking, &message, lease, now) };
        let opened = self.open_with(lease, false, |mux| mux.ask(asking, &message, true, now));
        let key = opened.map_err(|error| self.name(error))?;
        tokio::spawn(pump(*items, ResponseSender::new(self.clone(), key as u64)));
        Ok(ResponseStream::new(self.clone(), key as u64))
    }

    /// [`open`](Self::open) for a request without items whose parts the caller keeps.
    pub(crate) fn ask(
        self: &Arc<Self>,
        asking: Asking<'_>,
        message: &Message,
        lease: Option<Box<dyn Send>>,
        now: impl FnOnce() -> Instant,
    ) -> Result<ResponseStream> {
        match self.open_with(lease, true, |mux| mux.ask(asking, message, false, now)) {
            Ok(key) => Ok(ResponseStream::new(self.clone(), key as u64)),
            Err(error) => Err(self.name(error)),
        }
    }

    /// Opens the answer to a request that the peer made elsewhere.
    pub fn open_call_home(
        self: &Arc<Self>,
        token: [u8; TOKEN_LEN],
        lease: Option<Box<dyn Send>>,
    ) -> Result<ResponseSender> {
        let key = self.open_with(lease, false, |mux| mux.open_call_home(token));
        Ok(ResponseSender::new(self.clone(), key.map_err(|error| self.name(error))? as u64))
    }

    /// Opens a stream, which `says_all` if nothing more is to be said on it. A lease that was not attached is dropped at the
    /// end and not before: it asks this link how it is, which takes the lock.
    #[inline]
    fn open_with(
        &self,
        mut lease: Option<Box<dyn Send>>,
        says_all: bool,
        open: impl FnOnce(&mut Mux) -> Result<Key>,
    ) -> Result<Key> {
        self.with_opening(says_all, |mux| attached(open(mux), mux, &mut lease))
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
            let ended = self.fixed.ended.notified();
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

    pub(super) fn serve(self: &Arc<Self>, turn: &mut Turn, incoming: IncomingRequest) {
        let IncomingRequest { key, subject, context, reply_to, message, has_items } = incoming;
        let items = has_items.then(|| Box::new(ResponseStream::new(self.clone(), key as u64)));
        let request = Request { subject, context, message, items };
        let mut reply = ResponseSender::new(self.clone(), key as u64);
        if self.fixed.is_supervised {
            reply = reply.with_spare();
        }
        self.fixed.service.request(self, turn, request, reply_to, reply);
    }

    pub(super) fn serve_call_home(self: &Arc<Self>, key: Key, token: [u8; TOKEN_LEN]) {
        self.fixed.service.call_home(self, key, token);
    }

    fn name(&self, error: Error) -> Error {
        error.with_transport(&self.fixed.transport).with_target(&self.fixed.peer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[inline]
fn attached(opened: Result<Key>, mux: &mut Mux, lease: &mut Option<Box<dyn Send>>) -> Result<Key> {
    if let (Ok(key), Some(lease)) = (&opened, lease.take_if(|_| opened.is_ok())) {
        mux.attach(*key, lease);
    }
    opened
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

impl State {
    fn is_usable(&self) -> bool {
        self.mux.is_open() && !self.closing
    }

    fn has_room(&self, streams: u32) -> bool {
        self.mux.has_room() && self.mux.open_streams() < streams as usize
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

    fn takes_lease(&self) -> bool {
        let state = self.state();
        state.is_usable() && state.has_room(self.fixed.streams_per_link)
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
        self.state().is_usable()
    }

    /// Whether another stream is better put here than on a further link.
    pub fn has_room(&self) -> bool {
        self.state().has_room(self.fixed.streams_per_link)
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
        write!(f, "MuxLink({} {}, {} streams)", self.transport(), self.peer(), self.open_streams())
    }
}
