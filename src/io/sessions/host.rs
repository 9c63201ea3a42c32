// SPDX-License-Identifier: Apache-2.0
//! The table of sessions.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::{Answer, Posted};
use super::connection::SessionConnection;
use super::event::EventId;
use super::handshake;
use super::ids::SessionIds;
use super::refused::{Reason, Refused};
use super::session::Session;
use super::settings::SessionSettings;
use super::stateless::{Stateless, StatelessConnection};
use super::upkeep::Upkeep;
use crate::connection::{Connection, ConnectionInfo};
use crate::io::Principal;
use crate::message::{Message, SessionId, Subject};
use crate::proto::jsonrpc::{Id, Packet, ids};

/// Connections that nobody accepted yet.
const MAX_UNACCEPTED: usize = 1024;

/// Names of sessions that their clients ended and that could be revived; the oldest are forgotten.
const MAX_ENDED: usize = 4096;

/// Between two looks at whether what is under way is over.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Hosts the sessions of a carrier. Drop ends them all.
///
/// Must be made within a Tokio runtime.
pub struct Sessions {
    host: Arc<Host>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
    _upkeep: Upkeep,
}

pub(super) struct Host {
    pub(super) settings: Arc<SessionSettings>,
    ids: Arc<dyn SessionIds>,
    info: ConnectionInfo,
    stateless: Arc<Stateless>,
    table: Mutex<Table>,
}

struct Table {
    sessions: HashMap<SessionId, Arc<Session>>,
    /// `None` once the host is closed.
    accept: Option<mpsc::Sender<Arc<dyn Connection>>>,
    ended: VecDeque<SessionId>,
}

impl Sessions {
    /// A host whose connections have this `info`, each with its own session.
    pub fn new(info: ConnectionInfo, settings: SessionSettings, ids: Arc<dyn SessionIds>) -> Self {
        let settings = Arc::new(settings);
        let (accept, accepted) = mpsc::channel::<Arc<dyn Connection>>(MAX_UNACCEPTED);
        let stateless = Arc::new(Stateless::new(info.clone(), settings.clone()));
        // The channel is empty, so it fits.
        let _ = accept.try_send(Arc::new(StatelessConnection(stateless.clone())));
        let table = Table { sessions: HashMap::new(), accept: Some(accept), ended: VecDeque::new() };
        let host = Arc::new(Host { settings, ids, info, stateless, table: Mutex::new(table) });
        let upkeep = Upkeep::start(Arc::downgrade(&host));
        Self { host, accepted: tokio::sync::Mutex::new(accepted), _upkeep: upkeep }
    }

    /// The next connection: first the one without a session, then one per session. `None` once the host is closed.
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<Arc<dyn Connection>> {
        self.accepted.lock().await.recv().await
    }

    /// Opens a session with an `initialize`. The answer names it; a client that goes away before it learns the name leaves
    /// no session behind, nor does one whose `initialize` is answered by an error.
    pub fn initialize(&self, principal: Option<&Principal>, id: Id, message: Message) -> Result<Answer, Refused> {
        let name = self.host.ids.mint(&message.body, principal);
        let session = self.host.open(name, principal, None)?;
        session.start(id, Subject::from_static(ids::INITIALIZE), message).inspect_err(|_| session.end())
    }

    /// Takes a message of a session. A session that is unknown here is opened anew if its name allows that.
    pub async fn post(
        &self,
        session: &SessionId,
        principal: Option<&Principal>,
        packet: Packet,
    ) -> Result<Posted, Refused> {
        self.host.find(session, principal).await?.take(packet)
    }

    /// Takes a message that belongs to no session.
    pub fn post_stateless(&self, principal: Option<&Principal>, packet: Packet) -> Result<Posted, Refused> {
        self.host.stateless.take(packet, principal)
    }

    /// Opens a stream of what comes unasked, or the rest of the stream that `last` belongs to, whatever it carries.
    pub async fn listen(
        &self,
        session: &SessionId,
        principal: Option<&Principal>,
        last: Option<EventId>,
    ) -> Result<Answer, Refused> {
        self.host.find(session, principal).await?.listen(last)
    }

    /// Ends a session.
    pub async fn delete(&self, session: &SessionId, principal: Option<&Principal>) -> Result<(), Refused> {
        let revivable = self.host.ids.revive(session, principal).is_some();
        match self.host.known(session, principal)? {
            Some(found) => found.end(),
            None if revivable => {}
            None => return Err(Refused::unknown()),
        }
        if revivable {
            let mut table = self.host.table();
            table.ended.push_back(session.clone());
            if table.ended.len() > MAX_ENDED {
                table.ended.pop_front();
            }
        }
        Ok(())
    }

    /// Ends a session that is here, whosesoever it is.
    pub fn end(&self, session: &SessionId) {
        let found = self.host.table().sessions.get(session).cloned();
        if let Some(found) = found {
            found.end();
        }
    }

    /// Whether a session is here.
    pub fn is_open(&self, session: &SessionId) -> bool {
        self.host.table().sessions.contains_key(session)
    }

    /// The revision that a session agreed on, if it is here and has.
    pub fn revision(&self, session: &SessionId) -> Option<String> {
        let found = self.host.table().sessions.get(session).cloned()?;
        found.revision().map(str::to_owned)
    }

    /// Sessions that are open.
    pub fn len(&self) -> usize {
        self.host.table().sessions.len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes nothing new, lets what is under way finish for at most `grace`, ends every session.
    pub async fn close(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.host.table().accept = None;
        self.host.stateless.drain();
        for session in self.host.all() {
            let _ = timeout_at(until, std::future::poll_fn(|cx| session.poll_drained(cx))).await;
            session.end();
        }
        while self.host.stateless.running() > 0 && Instant::now() < until {
            sleep(LOOK_AGAIN).await;
        }
        self.host.stateless.end();
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.host.table().accept = None;
        self.host.all().iter().for_each(|session| session.end());
        self.host.stateless.end();
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({} open)", self.len())
    }
}

impl Host {
    /// Makes a session and hands its connection out.
    fn open(
        self: &Arc<Self>,
        name: SessionId,
        principal: Option<&Principal>,
        revived: Option<bytes::Bytes>,
    ) -> Result<Arc<Session>, Refused> {
        let full = |what| Refused::new(Reason::TooManySessions, what);
        let mut table = self.table();
        let accept = table.accept.clone().ok_or_else(Refused::closed)?;
        if let Some(found) = table.sessions.get(&name) {
            // Two messages of a session that came from elsewhere crossed.
            return Ok(found.clone());
        }
        if table.sessions.len() >= self.settings.max_sessions {
            return Err(full("there are as many sessions as there may be: try again later"));
        }
        if let Some(max) = self.settings.max_sessions_per_principal
            && table.sessions.values().filter(|session| session.principal.as_ref() == principal).count() >= max
        {
            return Err(full("you have as many sessions as you may: end one"));
        }
        let permit = accept.try_reserve().map_err(|_| full("new sessions are not accepted fast enough"))?;
        let (settings, info) = (self.settings.clone(), self.info.clone());
        let session = Session::new(name.clone(), principal.cloned(), revived, self, settings, info);
        let session = Arc::new(session);
        table.sessions.insert(name, session.clone());
        drop(table);
        permit.send(Arc::new(SessionConnection(session.clone())));
        Ok(session)
    }

    /// The session of this name and principal, ready to take messages.
    async fn find(self: &Arc<Self>, name: &SessionId, principal: Option<&Principal>) -> Result<Arc<Session>, Refused> {
        let session = match self.known(name, principal)? {
            Some(session) => session,
            None => {
                let params = self.ids.revive(name, principal).ok_or_else(Refused::unknown)?;
                self.open(name.clone(), principal, Some(params))?
            }
        };
        if !session.ready.initialized() {
            handshake::perform(&session).await?;
        }
        Ok(session)
    }

    fn known(&self, name: &SessionId, principal: Option<&Principal>) -> Result<Option<Arc<Session>>, Refused> {
        let table = self.table();
        let found = table.sessions.get(name).cloned();
        let foreign = found.as_ref().is_some_and(|session| session.principal.as_ref() != principal);
        if foreign || (found.is_none() && table.ended.contains(name)) {
            return Err(Refused::unknown());
        }
        Ok(found)
    }

    /// Takes a session off the table.
    pub(super) fn forget(&self, session: &Session) {
        let mut table = self.table();
        let same = table.sessions.get(session.id()).is_some_and(|found| std::ptr::eq(&**found, session));
        let removed = if same { table.sessions.remove(session.id()) } else { None };
        if table.sessions.is_empty() {
            table.sessions.shrink_to(64);
        }
        drop(table);
        drop(removed);
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.table().sessions.values().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}
