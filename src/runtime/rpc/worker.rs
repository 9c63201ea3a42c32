// SPDX-License-Identifier: Apache-2.0
//! The worker's side: a service whose requests are messages of sessions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::Place;
use super::wire::{self, SESSION, Verb};
use crate::connection::{Connection, ConnectionInfo, Listener};
use crate::error::{Error, PeerError, Result, Retry};
use crate::io::messages::CLAIMS;
use crate::io::sessions::{Answer, Posted, RandomIds, Reason, Refused, SessionSettings, Sessions};
use crate::io::{PRINCIPAL, Principal};
use crate::message::{Headers, Message, Request, SessionId};
use crate::plane::Handler;
use crate::proto::jsonrpc::{Packet, ids};
use crate::runtime::{Biplane, Serving};
use crate::stream::ResponseSender;
use crate::target::{TransportAddress, TransportId};

/// A service that is listened to. Drop withdraws it; what is under way may end.
pub(in crate::runtime) struct RpcListener {
    address: TransportAddress,
    /// Before the sessions, so that it goes first: nobody new comes to sessions that end.
    serving: Mutex<Option<Serving>>,
    sessions: Arc<Sessions>,
}

impl RpcListener {
    /// Serves `place` on the request planes of the configuration, and publishes it.
    pub(in crate::runtime) async fn start(biplane: &Biplane, place: Place) -> Result<Self> {
        let name = place.name.to_string();
        let transport = TransportId::from_static(super::SCHEME);
        let info = ConnectionInfo::new(transport.clone(), name.clone(), CLAIMS);
        let settings = SessionSettings {
            // On the planes nobody comes back for what was sent already.
            max_replayed: 0,
            max_replayed_bytes: 0,
            ..SessionSettings::with_limits(&biplane.config().limits)
        };
        let sessions = Arc::new(Sessions::new(info, settings, Arc::new(RandomIds)));
        let door = Door { sessions: Arc::downgrade(&sessions), instance: biplane.instance_id() };
        let serving = biplane.serve(&name, door).weight(place.weight).start().await?;
        Ok(Self { address: TransportAddress::new(transport, name), serving: Mutex::new(Some(serving)), sessions })
    }
}

#[async_trait]
impl Listener for RpcListener {
    fn local_address(&self) -> TransportAddress {
        self.address.clone()
    }

    async fn accept(&self) -> Result<Option<Arc<dyn Connection>>> {
        Ok(self.sessions.accept().await)
    }

    /// New callers go elsewhere at once. Sessions that are here still get the answers that their calls wait for.
    async fn close(&self, grace: Duration) -> Result<()> {
        let mut serving = self.serving.lock().take();
        serving.iter_mut().for_each(Serving::withdraw);
        self.sessions.close(grace).await;
        Ok(())
    }
}

/// Takes the requests of the service. Weak, because a runtime remembers its handlers for longer than there are listeners.
struct Door {
    sessions: Weak<Sessions>,
    instance: u64,
}

/// What is done with a request.
enum Outcome {
    /// It was taken, and there is nothing to say.
    Taken,
    /// This is said.
    Said(Answer),
    /// The same, and the session is told of.
    Opened(Answer),
}

impl Handler for Door {
    async fn handle(&self, request: Request, reply: ResponseSender) -> Result<()> {
        match self.take(request.message).await {
            Ok(Outcome::Taken) => reply.close(),
            Ok(Outcome::Said(answer)) => Carried(Some(answer)).to(reply, None).await?,
            Ok(Outcome::Opened(answer)) => {
                let name = answer.opened().map(|session| wire::name_session(self.instance, session.as_str()));
                Carried(Some(answer)).to(reply, name).await?;
            }
            // Nothing ran, and the caller may believe it.
            Err(error) => reply.refuse(error),
        }
        Ok(())
    }
}

impl Door {
    async fn take(&self, message: Message) -> Result<Outcome, PeerError> {
        let sessions = self.sessions.upgrade().ok_or_else(closed)?;
        let verb = Verb::of(&message.headers)?;
        let session = self.session(&message.headers)?;
        let principal = message.headers.get_str(PRINCIPAL).map(Principal::new);
        let principal = principal.as_ref();
        let posted = match (verb, session) {
            (Verb::Message, session) => {
                let packet = read(&message)?;
                match (session, packet) {
                    (Some(session), packet) => sessions.post(&session, principal, packet).await,
                    (None, Packet::Request { id, method, message }) if method.as_str() == ids::INITIALIZE => {
                        return sessions.initialize(principal, id, message).map(Outcome::Opened).map_err(refused);
                    }
                    (None, packet) => sessions.post_stateless(principal, packet),
                }
            }
            (Verb::Listen, Some(session)) => sessions.listen(&session, principal, None).await.map(Posted::Answer),
            (Verb::Close, Some(session)) => sessions.delete(&session, principal).await.map(|()| Posted::Accepted),
            (Verb::Listen | Verb::Close, None) => {
                let error = Error::protocol(format!("listen and close are of a session: {SESSION} is missing"));
                return Err(PeerError::from(error.with_retry(Retry::Safe)));
            }
        };
        match posted.map_err(refused)? {
            Posted::Accepted => Ok(Outcome::Taken),
            Posted::Answer(answer) => Ok(Outcome::Said(answer)),
        }
    }

    /// The name by which the session is known here, if the request is of one.
    fn session(&self, headers: &Headers) -> Result<Option<SessionId>, PeerError> {
        let Some(name) = headers.get(SESSION) else { return Ok(None) };
        let parts = std::str::from_utf8(name).ok().and_then(wire::split_session);
        match parts {
            Some((instance, session)) if instance == self.instance => Ok(Some(SessionId::new(session))),
            _ => Err(wire::unknown_session()),
        }
    }
}

fn read(message: &Message) -> Result<Packet, PeerError> {
    let mut packet = Packet::parse(&message.body).map_err(|bad| PeerError::new(bad.code, bad.message))?;
    if let Packet::Request { message: inner, .. } | Packet::Notification { message: inner, .. } = &mut packet {
        wire::pass(&message.headers, &mut inner.headers);
    }
    Ok(packet)
}

fn refused(refused: Refused) -> PeerError {
    let error = match refused.reason {
        Reason::UnknownSession => return wire::unknown_session(),
        Reason::TooManySessions | Reason::Busy => Error::overloaded(refused.message),
        Reason::Misplaced => return PeerError::from(Error::protocol(refused.message)),
        Reason::Closed => return closed(),
    };
    PeerError::from(error.with_retry(Retry::Safe))
}

fn closed() -> PeerError {
    PeerError::from(Error::closed("this instance no longer listens").with_retry(Retry::Safe))
}

/// An answer on its way. Dropped before it is complete, because the caller or the link is gone, it gives the request up:
/// on the planes nobody comes back for the rest.
struct Carried(Option<Answer>);

impl Carried {
    async fn to(mut self, reply: ResponseSender, mut name: Option<SessionId>) -> Result<()> {
        let Some(answer) = &mut self.0 else { return Ok(()) };
        while let Some(outgoing) = answer.next().await {
            let mut item = Message::new(outgoing.text);
            // On the first item: whoever reads it may have to answer before the last.
            if let Some(name) = name.take() {
                item.headers.append(SESSION, Bytes::from(name.as_str().to_owned()));
            }
            reply.send(item).await?;
        }
        self.0 = None;
        reply.close();
        Ok(())
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Answer::cancel);
    }
}
