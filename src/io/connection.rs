// SPDX-License-Identifier: Apache-2.0
//! Connections over byte links: requests both ways, notifications, one link each.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;

use super::accept::{Accepting, Reception};
use super::bytes::{Door, Links};
use super::link::{MuxLink, Service};
use crate::capability::TransportCapabilities;
use crate::connection::{Connection, ConnectionInfo, Inbound, Listener, Transport};
use crate::dispatch::Turn;
use crate::error::{Error, PeerError, Result, Retry};
use crate::message::{Message, Request, RequestContext, Subject};
use crate::plane::ReplyTo;
use crate::proto::open::Asking;
use crate::stream::{ResponseSender, ResponseStream};
use crate::target::{Target, TransportAddress};

/// Requests of the peer that wait for [`Connection::receive`]; one more is refused.
const MAX_WAITING: usize = 1024;

/// Notifications on their way that the peer has not received; one more waits.
const MAX_UNTAKEN: usize = 256;

/// How long one more waits.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepted connections that wait for [`Listener::accept`]; one more is closed.
const MAX_BACKLOG: usize = 128;

/// Connections of a byte transport.
#[derive(Clone, Debug)]
pub struct MuxTransport {
    links: Links,
    capabilities: TransportCapabilities,
}

impl MuxTransport {
    /// Connections over `links` that claim `capabilities`.
    pub fn new(links: Links, capabilities: TransportCapabilities) -> Self {
        Self { links, capabilities }
    }

    fn info(&self, peer: &str) -> ConnectionInfo {
        ConnectionInfo::new(self.links.transport.id(), peer, self.capabilities)
    }
}

#[async_trait]
impl Transport for MuxTransport {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let address = self.links.transport.address(target)?;
        let inbox = Arc::new(Inbox::default());
        let link = self.links.dial(&address, inbox.clone(), usize::MAX).await?;
        Ok(Arc::new(MuxConnection::new(self.info(&address), link, inbox)))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        let address = self.links.transport.address(target)?;
        let listener = self.links.transport.bind(Door::At(&address)).await?;
        let (sender, receiver) = mpsc::channel(MAX_BACKLOG);
        let lobby = Lobby { transport: self.clone(), sender };
        let accepting = Accepting::start(self.links.clone(), listener, lobby);
        Ok(Box::new(MuxListener { transport: self.clone(), accepting, receiver: tokio::sync::Mutex::new(receiver) }))
    }
}

struct MuxListener {
    transport: MuxTransport,
    accepting: Accepting,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
}

#[async_trait]
impl Listener for MuxListener {
    fn local_address(&self) -> TransportAddress {
        TransportAddress::new(self.transport.links.transport.id(), self.accepting.address())
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        Ok(self.receiver.lock().await.recv().await)
    }
}

struct Lobby {
    transport: MuxTransport,
    sender: mpsc::Sender<Arc<dyn Connection>>,
}

impl Reception for Lobby {
    fn service(&self) -> Arc<dyn Service> {
        Arc::new(LobbyInbox(Arc::new(Inbox::default())))
    }

    fn welcome(&self, link: &Arc<MuxLink>, service: Arc<dyn Service>) {
        let Some(inbox) = service.inbox() else { return };
        let connection = MuxConnection::new(self.transport.info(link.peer()), link.clone(), inbox);
        // A connection that nobody can take is dropped, which closes it.
        let _ = self.sender.try_send(Arc::new(connection));
    }
}

struct LobbyInbox(Arc<Inbox>);

impl Service for LobbyInbox {
    fn request(
        &self,
        link: &Arc<MuxLink>,
        turn: &mut Turn,
        request: Request,
        reply_to: ReplyTo,
        reply: ResponseSender,
    ) {
        self.0.request(link, turn, request, reply_to, reply);
    }

    fn forward(&self, inbound: Inbound) {
        self.0.forward(inbound);
    }

    fn inbox(&self) -> Option<Arc<Inbox>> {
        Some(self.0.clone())
    }
}

/// One logical connection on a link of its own. Drop closes it once its streams are over.
struct MuxConnection {
    info: ConnectionInfo,
    link: Arc<MuxLink>,
    inbox: Arc<Inbox>,
    /// Notifications that the peer has not received yet, in order.
    untaken: tokio::sync::Mutex<VecDeque<ResponseStream>>,
}

impl MuxConnection {
    fn new(info: ConnectionInfo, link: Arc<MuxLink>, inbox: Arc<Inbox>) -> Self {
        Self { info, link, inbox, untaken: tokio::sync::Mutex::default() }
    }
}

#[async_trait]
impl Connection for MuxConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.link.open(request, ReplyTo::Inline, None, Instant::now)
    }

    fn open_kept(
        &self,
        subject: &Subject,
        context: &RequestContext,
        message: &Message,
        now: Instant,
    ) -> Result<ResponseStream> {
        self.link.ask(Asking { subject, context, reply_to: &ReplyTo::Inline }, message, None, || now)
    }

    /// The peer closes a notification's stream when it receives it; only so many may be on their way at once.
    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        let request = Request::new(subject.clone(), message);
        let mut untaken = self.untaken.lock().await;
        loop {
            let is_full = untaken.len() >= MAX_UNTAKEN;
            let Some(oldest) = untaken.front_mut() else { break };
            let taken = poll_fn(|cx| match oldest.poll_item(cx) {
                Poll::Pending if is_full => Poll::Pending,
                polled => Poll::Ready(polled.is_ready()),
            });
            let taken = tokio::time::timeout(NOTIFY_TIMEOUT, taken).await.map_err(|_| {
                Error::overloaded(format!("the peer has {MAX_UNTAKEN} notifications that it does not receive"))
            })?;
            if !taken {
                break;
            }
            untaken.pop_front();
        }
        untaken.push_back(self.link.open(request, ReplyTo::Nothing, None, Instant::now)?);
        Ok(())
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        tokio::select! {
            biased;
            inbound = self.inbox.next() => Ok(Some(inbound)),
            () = self.link.closed() => Ok(None),
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        // Whether they are ever received is the peer's affair, and nothing to wait for.
        if let Ok(mut untaken) = self.untaken.try_lock() {
            untaken.clear();
        }
        self.link.close_within(grace).await;
        Ok(())
    }
}

impl std::fmt::Debug for MuxConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MuxConnection({:?})", self.link)
    }
}

impl Drop for MuxConnection {
    fn drop(&mut self) {
        self.inbox.close();
        self.link.close();
    }
}

/// What the peer sent unasked and nobody has received yet.
#[derive(Default)]
pub struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// A notification's sender is closed when it is received: that is its sender's credit.
    queue: VecDeque<(Inbound, Option<ResponseSender>)>,
    receiver: Option<Waker>,
    /// The connection is gone: nobody will ever receive.
    closed: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }

    fn put(&self, inbound: Inbound, taken: Option<ResponseSender>) {
        let mut waiting = self.waiting();
        if waiting.closed {
            drop(waiting);
            return turn_down(inbound, taken);
        }
        waiting.queue.push_back((inbound, taken));
        let receiver = waiting.receiver.take();
        drop(waiting);
        receiver.into_iter().for_each(Waker::wake);
    }

    fn is_full(&self) -> bool {
        self.waiting().queue.len() >= MAX_WAITING
    }

    async fn next(&self) -> Inbound {
        let (inbound, taken) = poll_fn(|cx| {
            let mut waiting = self.waiting();
            match waiting.queue.pop_front() {
                Some(entry) => Poll::Ready(entry),
                None => {
                    waiting.receiver = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        taken.into_iter().for_each(ResponseSender::close);
        inbound
    }

    /// Turns down what waits and what will still come. What waits holds the link and the link holds this: without an end
    /// to it, neither would ever be freed.
    fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let queue = std::mem::take(&mut waiting.queue);
        drop(waiting);
        queue.into_iter().for_each(|(inbound, taken)| turn_down(inbound, taken));
    }
}

fn turn_down(inbound: Inbound, taken: Option<ResponseSender>) {
    let reply = match inbound {
        Inbound::Request(_, reply) => Some(reply),
        Inbound::Notification(..) => taken,
    };
    let error =
        || Error::refused("this connection was closed before anyone received the message").with_retry(Retry::Safe);
    reply.into_iter().for_each(|reply| reply.refuse(error()));
}

impl Service for Inbox {
    fn request(
        &self,
        _link: &Arc<MuxLink>,
        _turn: &mut Turn,
        request: Request,
        reply_to: ReplyTo,
        reply: ResponseSender,
    ) {
        match reply_to {
            // Not counted: each holds a stream of the link, of which there is a bounded number.
            ReplyTo::Nothing => self.put(Inbound::Notification(request.subject, request.message), Some(reply)),
            _ if self.is_full() => reply.refuse(PeerError::from(
                Error::overloaded(format!("{MAX_WAITING} requests wait to be received on this connection"))
                    .with_retry(Retry::Safe),
            )),
            ReplyTo::Inline => self.put(Inbound::Request(request, reply), None),
            ReplyTo::To(_) => reply.fail(PeerError::from(Error::refused("a connection answers on its own link only"))),
        }
    }

    fn forward(&self, inbound: Inbound) {
        if !self.is_full() {
            self.put(inbound, None);
        }
    }
}
