// SPDX-License-Identifier: Apache-2.0
//! A server behind the gateway: found out once, kept alive, and shown to each user in the era that it speaks.
//!
//! | user | server | what carries it |
//! |---|---|---|
//! | modern | modern | one connection, shared by all |
//! | legacy | modern | the same, each behind a bridge of its own |
//! | legacy, plain | legacy | one session for each principal, with a seat (`seat.rs`) for each |
//! | legacy, declares sampling, elicitation or roots | legacy | a session of its own |
//! | modern | legacy | a bridge over the plain session, and a lease (`lease.rs`) for calls that may be asked back |

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use biplane::proto::json;
use biplane::{Biplane, Connection, ConnectionInfo, Error, Result, Retry};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use self::lease::Leases;
use self::live::Live;
use self::memory::Memory;
use self::seat::Table;
use self::session::Session;
use crate::config::{Sharing, UpstreamConfig};
use crate::era::{self, LegacySessions, Patience};
use crate::merge::State;
use crate::view::{Client, Facts, View};

mod attempt;
mod backoff;
mod lease;
mod live;
mod memory;
mod observed;
mod seat;
mod session;

/// The revision in which the gateway itself opens sessions.
const NEWEST_LEGACY: &str = "2025-11-25";

/// Sessions of one server that are not shared, where the configuration sets no limit.
const MAX_SESSIONS: usize = 64;
/// From the start of a session to the answer to `initialize`, where the configuration does not say: a program may have to
/// be downloaded first.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// See the module.
pub struct Upstream {
    this: Weak<Upstream>,
    biplane: Biplane,
    name: Arc<str>,
    config: UpstreamConfig,
    known: watch::Sender<Knowledge>,
    /// One plain session for each principal.
    tables: Mutex<Tables>,
    /// Held by whoever opens a session to share.
    laying: tokio::sync::Mutex<()>,
    /// A table without guests is kept for the next one.
    plain: Mutex<Option<Arc<Table>>>,
    leases: Arc<Leases>,
    /// How modern users see it.
    modern: watch::Sender<State>,
    /// Those that live are counted: of a program, each is a child.
    connections: Mutex<Vec<Weak<dyn Connection>>>,
}

/// Plain sessions by principal, for as long as somebody sits there.
type Tables = HashMap<String, (Weak<Table>, Arc<Facts>)>;

/// What has been found out.
#[derive(Clone)]
enum Knowledge {
    Nothing,
    Unreachable(Arc<Error>),
    Known(Known),
}

#[derive(Clone)]
struct Known {
    /// Speaks the modern era: its facts, and the connection that all share.
    modern: Option<View>,
    /// Takes `initialize`.
    legacy: bool,
}

impl Upstream {
    /// Begins to find out about the server that `config` names, and goes on trying while it cannot be reached.
    pub(crate) fn start(biplane: &Biplane, config: &UpstreamConfig) -> Arc<Self> {
        let name = &config.name;
        let unknown = Error::connect(format!("the upstream {name} is still being connected")).with_retry(Retry::Safe);
        let upstream = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            biplane: biplane.clone(),
            name: name.as_str().into(),
            known: watch::Sender::new(Knowledge::Nothing),
            tables: Mutex::default(),
            laying: tokio::sync::Mutex::default(),
            plain: Mutex::default(),
            leases: Leases::new(config.max_children.unwrap_or(MAX_SESSIONS)),
            modern: watch::Sender::new(State::down(unknown)),
            config: config.clone(),
            connections: Mutex::default(),
        });
        tokio::spawn(explore(Arc::downgrade(&upstream)));
        upstream
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it was configured.
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// How modern users see it, now and later.
    pub(crate) fn modern(&self) -> watch::Receiver<State> {
        self.modern.subscribe()
    }

    /// Waits until it is known what the server speaks, or why it cannot be reached.
    pub(crate) async fn settled(&self) -> Result<()> {
        self.known().await.map(drop)
    }

    /// Waits until the server has been reached.
    pub(crate) async fn reached(&self) {
        let mut known = self.known.subscribe();
        // An error means that nobody is exploring any more.
        let _ = known.wait_for(|known| matches!(known, Knowledge::Known(_))).await;
    }

    /// A word for people: the era, or why there is none.
    pub fn status(&self) -> String {
        match &*self.known.borrow() {
            Knowledge::Nothing => "connecting".to_owned(),
            Knowledge::Unreachable(error) => format!("down: {error}"),
            Knowledge::Known(known) => {
                let facts = known.modern.as_ref().map(|view| view.facts.version.as_str());
                match (facts, known.legacy) {
                    (Some(version), true) => format!("up, {version} and legacy"),
                    (Some(version), false) => format!("up, {version}"),
                    (None, _) => "up, legacy".to_owned(),
                }
            }
        }
    }

    /// The eras that it speaks, if it has been reached: modern, legacy.
    pub fn eras(&self) -> Option<(bool, bool)> {
        match &*self.known.borrow() {
            Knowledge::Known(known) => Some((known.modern.is_some(), known.legacy)),
            _ => None,
        }
    }

    /// Connections to it that are open; of a program, its processes.
    pub fn connections(&self) -> usize {
        let connections = self.connections.lock();
        connections.iter().filter(|connection| connection.strong_count() > 0).count()
    }

    async fn known(&self) -> Result<Known> {
        let mut known = self.known.subscribe();
        let found = known.wait_for(|known| !matches!(known, Knowledge::Nothing)).await;
        match found.as_deref() {
            Ok(Knowledge::Known(known)) => Ok(known.clone()),
            Ok(Knowledge::Unreachable(error)) => Err(error.duplicate()),
            _ => Err(Error::closed("the upstream is no longer used")),
        }
    }

    /// The server as the legacy session of `client` sees it.
    pub(crate) async fn legacy(&self, client: &Client) -> Result<View> {
        let known = self.known().await?;
        let plain = self.config.sessions == Sharing::Shared && !may_be_asked(&client.capabilities);
        let view = match (known.legacy, plain) {
            (true, true) => self.seat(client).await,
            (true, false) => self.session(client).await,
            (false, _) => Err(Error::unsupported("the server speaks the modern era only")),
        };
        match (view, known.modern) {
            // What it says of itself may be wrong; the bridge takes whoever is turned away.
            (Err(error), Some(modern)) if !known.legacy || error.peer().is_some() => {
                Ok(era::down(modern, client.clone()))
            }
            (view, _) => view,
        }
    }

    /// A place at the session that plain clients share.
    async fn seat(&self, client: &Client) -> Result<View> {
        let (table, facts) = self.table(client).await?;
        Ok(View { connection: table.take_seat(), facts })
    }

    async fn seat_for_bridge(&self, client: &Client) -> Result<View> {
        let (table, facts) = self.table(client).await?;
        Ok(View { connection: table.take_seat_for_bridge(), facts })
    }

    async fn table(&self, client: &Client) -> Result<(Arc<Table>, Arc<Facts>)> {
        let there =
            || self.tables().get(&client.principal).and_then(|(table, facts)| Some((table.upgrade()?, facts.clone())));
        if let Some(there) = there() {
            return Ok(there);
        }
        // Those who come together wait for one session, instead of each starting a server for the others to throw away.
        let _alone = self.laying.lock().await;
        if let Some(there) = there() {
            return Ok(there);
        }
        let view = self.session(&self.plain_client(client)).await?;
        Ok(self.lay_table(&client.principal, view))
    }

    /// What everyone who shares a session has said: nothing in particular.
    fn plain_client(&self, client: &Client) -> Client {
        Client {
            version: NEWEST_LEGACY.to_owned(),
            info: Bytes::new(),
            capabilities: Bytes::from_static(b"{}"),
            principal: client.principal.clone(),
        }
    }

    fn lay_table(&self, principal: &str, view: View) -> (Arc<Table>, Arc<Facts>) {
        let mut tables = self.tables();
        // Somebody else may have been faster.
        if let Some((Some(table), facts)) = tables.get(principal).map(|(table, facts)| (table.upgrade(), facts.clone()))
        {
            return (table, facts);
        }
        tables.retain(|_, (table, _)| table.strong_count() > 0);
        let table = Table::new(view.connection);
        tables.insert(principal.to_owned(), (Arc::downgrade(&table), view.facts.clone()));
        drop(tables);
        if principal.is_empty() {
            *self.plain.lock() = Some(table.clone());
        }
        (table, view.facts)
    }

    /// A session of its own, which is opened anew when it is lost.
    async fn session(&self, client: &Client) -> Result<View> {
        self.session_from(client, None).await
    }

    /// Begins with `first`, if that is one already.
    async fn session_from(&self, client: &Client, first: Option<View>) -> Result<View> {
        let memory = Arc::new(Memory::default());
        let dial = {
            let (this, client, memory) = (self.this.clone(), client.clone(), memory.clone());
            Box::new(move || -> live::Dialling {
                let (this, client, memory) = (this.clone(), client.clone(), memory.clone());
                Box::pin(async move {
                    let upstream = this.upgrade().ok_or_else(|| Error::closed("the upstream is no longer used"))?;
                    let view = upstream.open_session(&client).await?;
                    memory.tell(&*view.connection).await?;
                    Ok(view)
                })
            })
        };
        let live = Live::new(self.info(), self.config.request_timeout, first, dial);
        let facts = live.view().await?.facts;
        Ok(View { connection: Arc::new(Session::new(live, memory)), facts })
    }

    async fn open_session(&self, client: &Client) -> Result<View> {
        let connection = self.connect().await?;
        let facts = era::initialize(&connection, client, self.start_timeout()).await?;
        Ok(View { connection, facts: Arc::new(facts) })
    }

    fn start_timeout(&self) -> Duration {
        self.config.start_timeout.unwrap_or(START_TIMEOUT)
    }

    async fn connect(&self) -> Result<Arc<dyn Connection>> {
        let mut target = self.biplane.target(self.config.url.as_str())?;
        for (name, value) in &self.config.headers {
            target = target.with_header(name.clone(), value.expose().to_owned());
        }
        for (name, value) in &self.config.env {
            target = target.with_variable(name, value.expose());
        }
        if let Some(directory) = &self.config.cwd {
            target = target.with_directory(directory);
        }
        let connection = self.biplane.connect_to(&target).await?;
        let mut connections = self.connections.lock();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        Ok(connection)
    }

    fn info(&self) -> ConnectionInfo {
        ConnectionInfo::new("gateway", format!("{} ({:?})", self.name, self.config.url), biplane::io::messages::CLAIMS)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }

    /// Asks the server what it speaks.
    async fn find_out(&self) -> Result<Known> {
        let connection = self.connect().await?;
        let patience = Patience { initialize: self.start_timeout(), ..Patience::default() };
        let nobody = self.plain_client(&Client::default());
        match era::probe(&connection, &nobody, patience.discover).await {
            Ok(support) => {
                if let Some(facts) = support.modern {
                    let view = View { connection, facts: Arc::new(facts) };
                    return Ok(Known { modern: Some(self.keep_alive(view)), legacy: support.legacy });
                }
                let facts = era::initialize(&connection, &nobody, patience.initialize).await?;
                let first = View { connection, facts: Arc::new(facts) };
                let view = self.session_from(&nobody, Some(first)).await?;
                self.lay_table("", view);
            }
            // A server that dies of the question is old.
            Err(error) if error.kind() == biplane::ErrorKind::Closed => {
                let view = self.session(&nobody).await?;
                self.lay_table("", view);
            }
            Err(error) => return Err(error),
        }
        Ok(Known { modern: None, legacy: true })
    }

    /// A modern connection needs no opening; nothing but answers comes over it.
    fn keep_alive(&self, view: View) -> View {
        let facts = view.facts.clone();
        let dial = {
            let (this, facts) = (self.this.clone(), facts.clone());
            Box::new(move || -> live::Dialling {
                let (this, facts) = (this.clone(), facts.clone());
                Box::pin(async move {
                    let upstream = this.upgrade().ok_or_else(|| Error::closed("the upstream is no longer used"))?;
                    Ok(View { connection: era::attributed(upstream.connect().await?), facts })
                })
            })
        };
        let view = View { connection: era::attributed(view.connection), facts: facts.clone() };
        let live = Live::new(self.info(), self.config.request_timeout, Some(view), dial);
        tokio::spawn(pass_over(Arc::downgrade(&live)));
        View { connection: live, facts }
    }

    /// How modern users see a server of which this much is known.
    async fn modern_view(&self, known: &Known) -> Result<View> {
        if let Some(view) = &known.modern {
            return Ok(view.clone());
        }
        let sessions: Arc<dyn LegacySessions> =
            Arc::new(Sessions { upstream: self.this.clone(), shared: tokio::sync::Mutex::default() });
        let facts = sessions.shared(&Client::default()).await?.facts;
        Ok(era::up(sessions, facts))
    }
}

/// Connections of a modern server are asked and never listened to, but somebody has to take what it should not send.
async fn pass_over(live: Weak<Live>) {
    loop {
        let Some(view) = live.upgrade().and_then(|live| live.current()) else { return };
        let connection = view.connection;
        while let Ok(Some(inbound)) = connection.receive().await {
            tracing::debug!(target: "biplane::gateway", "a modern server sent what belongs to no request: {inbound:?}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn explore(upstream: Weak<Upstream>) {
    let mut backoff = backoff::Backoff::default();
    loop {
        let Some(this) = upstream.upgrade() else { return };
        let found = match this.find_out().await {
            Ok(known) => this.modern_view(&known).await.map(|view| (known, view)),
            Err(error) => Err(error),
        };
        match found {
            Ok((known, view)) => {
                this.modern.send_replace(State::Up(view));
                this.known.send_replace(Knowledge::Known(known));
                tracing::info!(target: "biplane::gateway", upstream = &*this.name, "{}", this.status());
                break;
            }
            Err(error) => {
                tracing::warn!(target: "biplane::gateway", upstream = &*this.name, "cannot be reached: {error}");
                let error = Arc::new(error.with_retry(Retry::Safe));
                this.modern.send_replace(State::Down(error.clone()));
                this.known.send_replace(Knowledge::Unreachable(error));
                backoff.failed(Instant::now());
            }
        }
        drop(this);
        tokio::time::sleep(backoff.pause(Instant::now())).await;
    }
    // What is left to do is to end sessions that nobody uses.
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let Some(this) = upstream.upgrade() else { return };
        this.leases.prune(Instant::now());
    }
}

/// Whether a server may ask a client with these capabilities for something.
fn may_be_asked(capabilities: &Bytes) -> bool {
    ["sampling", "elicitation", "roots"].iter().any(|name| json::get(capabilities, &[name]).is_some())
}

/// The sessions that the bridge for modern clients uses.
struct Sessions {
    upstream: Weak<Upstream>,
    /// By principal. The bridge receives from each as long as there is one.
    shared: tokio::sync::Mutex<HashMap<String, View>>,
}

/// Principals whose sessions are kept; they come from the configuration, so there are not many.
const MAX_SHARED: usize = 1024;

impl Sessions {
    fn upstream(&self) -> Result<Arc<Upstream>> {
        self.upstream.upgrade().ok_or_else(|| Error::closed("the upstream is no longer used"))
    }
}

#[async_trait]
impl LegacySessions for Sessions {
    async fn shared(&self, client: &Client) -> Result<View> {
        let mut shared = self.shared.lock().await;
        if let Some(view) = shared.get(&client.principal) {
            return Ok(view.clone());
        }
        let view = self.upstream()?.seat_for_bridge(client).await?;
        if shared.len() < MAX_SHARED {
            shared.insert(client.principal.clone(), view.clone());
        }
        Ok(view)
    }

    async fn exclusive(&self, client: &Client) -> Result<View> {
        let upstream = self.upstream()?;
        upstream.leases.lease(client, async || upstream.session(client).await).await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({} at {:?})", self.name, self.config.url)
    }
}
