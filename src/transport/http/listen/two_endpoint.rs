// SPDX-License-Identifier: Apache-2.0
//! The transport of 2024-11-05: a `GET` whose stream first names a path, and `POST`s to that path, whose answers all come
//! on the stream. The session lives as long as the stream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::Response;
use http::request::Parts;
use parking_lot::{Mutex, MutexGuard};

use super::super::body::Body;
use super::super::incoming::Incoming;
use super::super::names::ENVELOPE;
use super::events::{Events, Feed};
use super::fault::Fault;
use super::post::{accepted_response, id_of};
use super::site::Site;
use super::{accepted, body};
use crate::io::Principal;
use crate::io::sessions::{Answer, Posted, RandomIds, Reason, Refused, SessionIds, Sessions};
use crate::message::SessionId;
use crate::proto::jsonrpc::{Packet, ids};

/// Answers that wait to be written, per stream. What they say waits in them.
const MAX_WAITING: usize = 1024;

/// The streams that are open, by the name that their clients post under.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Mutex<HashMap<SessionId, Arc<Channel>>>>);

struct Channel {
    principal: Option<Principal>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<SessionId>,
    answers: VecDeque<Answer>,
    reader: Option<Waker>,
    closed: bool,
}

impl Channels {
    fn all(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Channel>>> {
        self.0.lock()
    }
}

impl Channel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Makes `session` the stream's, unless it has one.
    fn adopt(&self, session: &SessionId) -> bool {
        let mut state = self.state();
        let free = state.session.is_none() && !state.closed;
        if free {
            state.session = Some(session.clone());
        }
        free
    }

    /// Has the stream write what `answer` says.
    fn write(&self, answer: Answer) -> Result<(), Fault> {
        let mut state = self.state();
        if state.closed || state.answers.len() >= MAX_WAITING {
            drop(state);
            answer.cancel();
            return Err(busy("the stream is not read"));
        }
        state.answers.push_back(answer);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

/// Opens the stream.
pub(super) fn open(site: &Site, head: &Parts, who: Option<&Principal>) -> Result<Response<Body>, Fault> {
    accepted::check_get(&head.headers)?;
    let Some(older) = &site.paths.older else { return Err(Fault::bad("this transport is not served here")) };
    let name = RandomIds.mint(&bytes::Bytes::new(), who);
    let channel = Arc::new(Channel { principal: who.cloned(), state: Mutex::default() });
    let mut all = site.channels.all();
    if all.len() >= site.settings.sessions.max_sessions {
        return Err(Fault::from(Refused {
            reason: Reason::TooManySessions,
            message: "there are as many streams as there may be".into(),
        }));
    }
    all.insert(name.clone(), channel.clone());
    drop(all);
    let endpoint = format!("event: endpoint\ndata: {}?sessionId={}\n\n", older.messages, name.as_str());
    let feed = Reading { name, channel, channels: site.channels.clone(), sessions: site.sessions.clone() };
    Ok(Events::new(site.settings.keep_alive).named().raw(endpoint).fed(feed).into_response())
}

/// Takes a message.
pub(super) async fn post(
    site: &Site,
    head: &Parts,
    sent: Incoming,
    who: Option<&Principal>,
) -> Result<Response<Body>, Fault> {
    accepted::check_sent(&head.headers)?;
    let name = name_of(head.uri.query().unwrap_or_default())
        .ok_or_else(|| Fault::bad("the query lacks sessionId: post to the address that the stream named"))?;
    let channel = site.channels.all().get(&name).cloned();
    let channel = channel.filter(|channel| channel.principal.as_ref() == who);
    let channel = channel.ok_or_else(|| {
        Fault::from(Refused { reason: Reason::UnknownSession, message: "no stream of this name is open".into() })
    })?;
    let text = body::read(sent, site.settings.sessions.max_message_size.saturating_add(ENVELOPE)).await?;
    let packet = Packet::parse(&text)?;
    let id = id_of(&packet).cloned();
    take(site, &channel, packet, who).await.map_err(|fault| fault.to(id.as_ref()))?;
    Ok(accepted_response())
}

async fn take(site: &Site, channel: &Channel, packet: Packet, who: Option<&Principal>) -> Result<(), Fault> {
    let session = channel.state().session.clone();
    let posted = match (session, packet) {
        (None, Packet::Request { id, method, message }) if method.as_str() == ids::INITIALIZE => {
            let answer = site.sessions.initialize(who, id, message)?;
            let Some(session) = answer.session().cloned() else { return Err(busy("the session was lost")) };
            if !channel.adopt(&session) {
                // Two of them crossed.
                answer.cancel();
                site.sessions.delete(&session, who).await?;
                return Err(Fault::bad("the session is initialized already"));
            }
            channel.write(answer)?;
            return channel.write(site.sessions.listen(&session, who, None).await?);
        }
        (None, _) => return Err(Fault::bad("initialize first")),
        (Some(session), packet) => site.sessions.post(&session, who, packet).await?,
    };
    match posted {
        Posted::Accepted => Ok(()),
        Posted::Answer(answer) => channel.write(answer),
    }
}

fn name_of(query: &str) -> Option<SessionId> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    // Clients of several SDKs build it anew, in one of two spellings.
    let (_, name) = pairs.find(|(key, _)| key == "sessionId" || key == "session_id")?;
    (name.len() <= 64).then(|| SessionId::new(&*name))
}

fn busy(message: &'static str) -> Fault {
    Fault::from(Refused { reason: Reason::Busy, message: message.into() })
}

/// The stream's reader. The session ends with it.
struct Reading {
    name: SessionId,
    channel: Arc<Channel>,
    channels: Channels,
    sessions: Arc<Sessions>,
}

impl Feed for Reading {
    fn poll_feed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let mut state = self.channel.state();
        if let Some(answer) = state.answers.pop_front() {
            return Poll::Ready(Some(answer));
        }
        // The stream ends with its session, too.
        if state.session.as_ref().is_some_and(|session| !self.sessions.is_open(session)) {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let removed = self.channels.all().remove(&self.name);
        let mut state = self.channel.state();
        state.closed = true;
        let (answers, session) = (std::mem::take(&mut state.answers), state.session.take());
        drop(state);
        drop((removed, answers));
        if let Some(session) = session {
            self.sessions.end(&session);
        }
    }
}
