// SPDX-License-Identifier: Apache-2.0
//! Connections by name: two ends of one link, each of which may ask, answer and notify.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::faulty::Faults;
use super::network::MemNetwork;
use super::options::MemOptions;
use super::{CREDIT, EVERYTHING};
use crate::config::Limits;
use crate::connection::{Connection, ConnectionInfo, Inbound, Listener, Transport};
use crate::error::{Error, PeerError, Phase, Result, Retry};
use crate::message::{Message, Request, Subject};
use crate::stream::roster::{Beginning, Forward, Roster, Terms};
use crate::stream::{ResponseStream, pipe};
use crate::target::{Target, TransportAddress, TransportId};

/// Connections that may wait for an accept.
const BACKLOG: usize = 128;
/// Requests that may wait for [`Connection::receive`]; one more is refused.
const REQUEST_QUEUE: usize = 4096;
/// Notifications that may wait for [`Connection::receive`]; one more waits with its sender.
const NOTIFICATION_QUEUE: usize = 256;

pub(super) struct MemTransport {
    network: MemNetwork,
    max_message_size: usize,
    write_timeout: Duration,
}

impl MemTransport {
    pub(super) fn new(network: MemNetwork, limits: &Limits) -> Self {
        Self { network, max_message_size: limits.max_message_size, write_timeout: limits.write_timeout }
    }

    /// The name that `target` means, after everything that can be refused without looking it up was refused.
    fn name(&self, target: &Target) -> Result<(String, MemOptions)> {
        if target.scheme() != "mem" {
            return Err(Error::unsupported(format!("mem does not serve {target}")).with_retry(Retry::Safe));
        }
        let identity = Some(target.url().username()).filter(|identity| !identity.is_empty());
        self.network.check_identity(identity)?;
        let options = MemOptions::parse(target.url().query().unwrap_or_default())?;
        let name = target.url().host_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::config(format!("{target} has no name")).with_hint("write mem://NAME"))?;
        let name = percent_decode_str(name).decode_utf8();
        let name = name.map_err(|_| Error::config(format!("the name in {target} is not UTF-8")))?;
        Ok((name.into_owned(), options))
    }
}

#[async_trait]
impl Transport for MemTransport {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let locate = |error: Error| error.with_transport(TransportId::MEM).with_phase(Phase::Connect);
        let (name, options) = self.name(target).map_err(locate)?;
        if options.refuse {
            return Err(locate(
                Error::connect(format!("{target} refuses connections"))
                    .with_retry(Retry::Safe)
                    .with_hint("take refuse out of the URL"),
            ));
        }
        let backlog = self.network.listener(&name).map_err(|error| {
            let error = match self.network.endpoint(&name) {
                // Whoever has a request plane asks there.
                Ok(_) => {
                    Error::unsupported(format!("mem://{name} takes requests, not connections")).with_retry(Retry::Safe)
                }
                Err(_) => error,
            };
            locate(error)
        })?;
        let link = Arc::new(Link {
            streams: Roster::new(),
            inboxes: [Inbox::new(), Inbox::new()],
            faults: Faults::new(options),
            max_message_size: options.limit(self.max_message_size),
            write_timeout: self.write_timeout,
        });
        let end = |side: usize, peer: String| {
            let mut capabilities = EVERYTHING;
            capabilities.max_message_size = Some(link.max_message_size as u64);
            let mut info = ConnectionInfo::new(TransportId::MEM, peer, capabilities);
            info.session = target.session().cloned();
            Arc::new(MemConnection { link: link.clone(), side, info })
        };
        let (dialer, accepted) = (end(0, format!("mem://{name}")), end(1, format!("the dialer of mem://{name}")));
        backlog.try_send(accepted).map_err(|refused| {
            let full = matches!(refused, mpsc::error::TrySendError::Full(_));
            let why = if full {
                format!("{BACKLOG} connections wait for an accept")
            } else {
                "its listener is closing".into()
            };
            locate(Error::connect(format!("mem://{name}: {why}")).with_retry(Retry::Safe))
        })?;
        Ok(dialer)
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        let locate = |error: Error| error.with_transport(TransportId::MEM).with_phase(Phase::Listen);
        let (name, options) = self.name(target).map_err(locate)?;
        if options != MemOptions::default() {
            return Err(locate(Error::config(format!("{target}: fault options belong to the one who dials"))));
        }
        let (backlog, queue) = mpsc::channel(BACKLOG);
        let ticket = self.network.bind(&name, backlog).map_err(locate)?;
        Ok(Box::new(MemListener { network: self.network.clone(), name, ticket, queue: Mutex::new(queue) }))
    }
}

struct MemListener {
    network: MemNetwork,
    name: String,
    ticket: u64,
    queue: Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
}

#[async_trait]
impl Listener for MemListener {
    fn local_address(&self) -> TransportAddress {
        self.network.address(&self.name)
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        Ok(std::future::poll_fn(|cx| self.queue.lock().poll_recv(cx)).await)
    }
}

impl Drop for MemListener {
    fn drop(&mut self) {
        self.network.unbind(&self.name, self.ticket);
    }
}

/// What both ends share.
struct Link {
    /// The answers and request bodies that are under way, in both directions.
    streams: Arc<Roster>,
    /// What waits to be received, by the receiving side.
    inboxes: [Inbox; 2],
    faults: Arc<Faults>,
    max_message_size: usize,
    write_timeout: Duration,
}

impl Link {
    fn check_size(&self, what: &str, message: &Message) -> Result<()> {
        if message.size() > self.max_message_size {
            return Err(Error::too_large(what, self.max_message_size as u64, message.size() as u64));
        }
        Ok(())
    }
}

struct Inbox {
    /// Gone once nothing more can come.
    sender: Mutex<Option<mpsc::UnboundedSender<Queued>>>,
    queue: Mutex<mpsc::UnboundedReceiver<Queued>>,
    requests: Arc<Semaphore>,
    notifications: Arc<Semaphore>,
}

/// The permit bounds the queue: it is given back when the message is received.
type Queued = (Inbound, OwnedSemaphorePermit);

impl Inbox {
    fn new() -> Self {
        let (sender, queue) = mpsc::unbounded_channel();
        Self {
            sender: Mutex::new(Some(sender)),
            queue: Mutex::new(queue),
            requests: Arc::new(Semaphore::new(REQUEST_QUEUE)),
            notifications: Arc::new(Semaphore::new(NOTIFICATION_QUEUE)),
        }
    }

    /// Queues without waiting; a full queue is `Overloaded`.
    fn offer(&self, inbound: Inbound) -> Result<()> {
        let credit = match &inbound {
            Inbound::Request(..) => &self.requests,
            Inbound::Notification(..) => &self.notifications,
        };
        match credit.clone().try_acquire_owned() {
            Ok(permit) => self.push(inbound, permit),
            Err(_) => {
                let error = Error::overloaded("the peer has too many messages that it did not receive yet")
                    .with_retry(Retry::Safe);
                if let Inbound::Request(_, reply) = inbound {
                    reply.fail(&error);
                }
                Err(error)
            }
        }
    }

    fn push(&self, inbound: Inbound, permit: OwnedSemaphorePermit) -> Result<()> {
        let sender = self.sender.lock();
        let sent = sender.as_ref().and_then(|sender| sender.send((inbound, permit)).ok());
        drop(sender);
        match sent {
            Some(()) => Ok(()),
            None => Err(Error::closed("the peer closed the connection").with_retry(Retry::Safe)),
        }
    }

    /// Nothing more comes; what is there can still be received.
    fn finish(&self) {
        self.sender.lock().take();
        self.notifications.close();
    }

    /// Nobody receives any more: what waits is refused.
    fn discard(&self) {
        self.finish();
        let mut queue = self.queue.lock();
        let mut left = Vec::new();
        while let Ok((inbound, _)) = queue.try_recv() {
            left.push(inbound);
        }
        drop(queue);
        for inbound in left {
            if let Inbound::Request(_, reply) = inbound {
                reply.fail(PeerError::from(Error::closed("the peer closed the connection before it took the request")));
            }
        }
    }
}

struct MemConnection {
    link: Arc<Link>,
    side: usize,
    info: ConnectionInfo,
}

impl MemConnection {
    fn ours(&self) -> &Inbox {
        &self.link.inboxes[self.side]
    }

    fn theirs(&self) -> &Inbox {
        &self.link.inboxes[1 - self.side]
    }

    /// What the peer sends on an answer and its reader did not ask for goes to our own [`Connection::receive`].
    fn forward(&self) -> Forward {
        let (link, side) = (Arc::downgrade(&self.link), self.side);
        Box::new(move |inbound| {
            let refused = link.upgrade().and_then(|link| link.inboxes[side].offer(inbound).err());
            if let Some(error) = refused {
                tracing::warn!(target: "biplane::mem", %error, "dropped a message that came with an answer");
            }
        })
    }
}

#[async_trait]
impl Connection for MemConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        self.link.check_size("a request", &request.message)?;
        let deadline = request.context.deadline;
        if deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std()) {
            return Err(Error::deadline(0).with_phase(Phase::Send).with_retry(Retry::Safe));
        }
        let link = &self.link;
        let max_item = link.max_message_size;
        let (reply, answer) = pipe(CREDIT, max_item);
        let terms = Terms { deadline, max_item, forward: Some(self.forward()) };
        let answer = link.streams.admit(Beginning::Open(answer), terms)?.stream();
        if let Some(items) = request.items.take() {
            let terms = Terms { deadline, max_item, forward: None };
            request.items = Some(Box::new(link.streams.admit(Beginning::Open(*items), terms)?.stream()));
        }
        self.theirs().offer(Inbound::Request(request, reply))?;
        Ok(link.faults.apply(answer, deadline, &link.streams))
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.link.check_size("a notification", &message)?;
        self.link.streams.check_open()?;
        let gone = |_| Error::closed("the peer closed the connection").with_retry(Retry::Safe);
        let credit = self.theirs().notifications.clone().acquire_owned();
        let permit = tokio::time::timeout(self.link.write_timeout, credit)
            .await
            .map_err(|_| {
                Error::overloaded(format!("the peer received no notification for {:?}", self.link.write_timeout))
                    .with_hint("it must call receive()")
            })?
            .map_err(gone)?;
        self.theirs().push(Inbound::Notification(subject.clone(), message), permit)
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        if self.link.streams.is_closed() {
            return Ok(None);
        }
        let queued = std::future::poll_fn(|cx| {
            let mut queue = self.ours().queue.lock();
            match queue.poll_recv(cx) {
                Poll::Ready(queued) => Poll::Ready(queued),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            queued = queued => Ok(queued.map(|(inbound, _)| inbound)),
            // A cut link has no notice in the queue.
            () = self.link.streams.closed() => Ok(None),
        }
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.link.streams.close(grace).await;
        self.link.inboxes.iter().for_each(Inbox::discard);
        Ok(())
    }
}

impl Drop for MemConnection {
    /// Answers that are under way finish: their own ends are still held.
    fn drop(&mut self) {
        self.link.streams.refuse();
        self.ours().discard();
        self.theirs().finish();
    }
}

impl fmt::Debug for MemConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemConnection({})", self.info.peer)
    }
}
