// SPDX-License-Identifier: Apache-2.0
//! What all faces share: the servers behind, how they are merged, and how much may go on at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use biplane::{Error, Result, Retry};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::config::UpstreamConfig;
use crate::merge::{Naming, Part, State, merged};
use crate::upstream::Upstream;
use crate::view::{Client, Era, View};

/// Once one server is there, a session waits this long for each further one; who is later joins it later.
const OTHERS_WAIT: Duration = Duration::from_secs(5);

/// What the core does within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreLimits {
    /// Requests at once, over all faces.
    pub(crate) max_in_flight: usize,
    /// The deadline of a request that brings none.
    pub(crate) request_timeout: Duration,
}

/// One server and how it shows among the others.
#[derive(Clone)]
pub(crate) struct Behind {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) config: UpstreamConfig,
}

pub(crate) struct Core {
    servers: RwLock<Servers>,
    limits: RwLock<CoreLimits>,
    in_flight: Arc<AtomicUsize>,
    sessions: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// Requests of each era since the start: modern, legacy.
    requests: [AtomicU64; 2],
    errors: AtomicU64,
}

#[derive(Clone)]
struct Servers {
    behind: Arc<[Behind]>,
    naming: Naming,
    modern: Modern,
}

/// How modern clients see the servers.
#[derive(Clone)]
enum Modern {
    /// The only one there is, as it is at the moment.
    Only(watch::Receiver<State>),
    Merged(View),
}

/// Something counted, until it is dropped.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Core {
    pub(crate) fn new(behind: Vec<Behind>, naming: Naming, limits: CoreLimits) -> Arc<Self> {
        Arc::new(Self {
            servers: RwLock::new(Servers::new(behind, naming)),
            limits: RwLock::new(limits),
            in_flight: Arc::default(),
            sessions: Arc::default(),
            connections: Arc::default(),
            requests: Default::default(),
            errors: AtomicU64::new(0),
        })
    }

    /// New sessions and modern requests go to these servers; sessions that are open stay with theirs.
    pub(crate) fn replace(&self, behind: Vec<Behind>, naming: Naming, limits: CoreLimits) {
        let servers = Servers::new(behind, naming);
        let old = std::mem::replace(&mut *self.servers.write(), servers);
        *self.limits.write() = limits;
        drop(old);
    }

    fn servers(&self) -> Servers {
        self.servers.read().clone()
    }

    /// The servers, in order.
    pub(crate) fn behind(&self) -> Arc<[Behind]> {
        self.servers().behind
    }

    /// How modern clients see the servers. Who comes before the only one has been reached, or found to be down, waits.
    pub(crate) async fn modern(&self) -> Result<View> {
        let view = self.modern_now();
        if view.is_ok() {
            return view;
        }
        let Servers { behind, naming, .. } = self.servers();
        if let Some(only) = only(&behind, naming) {
            only.upstream.settled().await?;
        }
        self.modern_now()
    }

    /// The same, without waiting.
    pub(crate) fn modern_now(&self) -> Result<View> {
        match &self.servers.read().modern {
            Modern::Merged(view) => Ok(view.clone()),
            Modern::Only(state) => match &*state.borrow() {
                State::Up(view) => Ok(view.clone()),
                State::Down(error) => Err(error.duplicate()),
            },
        }
    }

    /// The servers as the legacy session of `client` sees them.
    pub(crate) async fn legacy(&self, client: &Client) -> Result<View> {
        let Servers { behind, naming, .. } = self.servers();
        if let Some(only) = only(&behind, naming) {
            return only.upstream.legacy(client).await;
        }
        let mut opening = tokio::task::JoinSet::new();
        for (at, one) in behind.iter().cloned().enumerate() {
            let client = client.clone();
            opening.spawn(async move { (at, one.upstream.legacy(&client).await) });
        }
        let mut opened: Vec<Option<Result<View>>> = behind.iter().map(|_| None).collect();
        let mut is_any_open = false;
        loop {
            let next = opening.join_next();
            let joined = match is_any_open {
                true => tokio::time::timeout(OTHERS_WAIT, next).await.ok().flatten(),
                false => next.await,
            };
            let Some(Ok((at, view))) = joined else { break };
            is_any_open |= view.is_ok();
            if let Some(place) = opened.get_mut(at) {
                *place = Some(view);
            }
        }
        let parts = behind.iter().zip(opened).map(|(one, opened)| {
            let state = match opened {
                Some(Ok(view)) => watch::channel(State::Up(view)).1,
                Some(Err(error)) => later(one.upstream.clone(), client.clone(), error),
                None => {
                    later(one.upstream.clone(), client.clone(), Error::timeout("it has not answered initialize yet"))
                }
            };
            one.part(state)
        });
        Ok(merged(Era::Legacy, parts.collect(), naming))
    }

    /// Counts a request, or refuses it.
    pub(crate) fn admit_request(&self) -> Result<Counted> {
        let counted = Counted::new(&self.in_flight);
        let most = self.limits.read().max_in_flight;
        if self.in_flight.load(Ordering::Acquire) > most {
            return Err(Error::overloaded(format!("{most} requests are in flight, which is as many as there may be"))
                .with_retry(Retry::Safe));
        }
        Ok(counted)
    }

    /// A request of this era came.
    pub(crate) fn count_request(&self, era: Era) {
        let [modern, legacy] = &self.requests;
        let counter = if era == Era::Modern { modern } else { legacy };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended with an error of a server or of ours.
    pub(crate) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests since the start, modern and legacy, and errors.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let [modern, legacy] = &self.requests;
        [modern, legacy, &self.errors].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Connections of clients that are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.limits.read().request_timeout
    }

    pub(crate) fn count_session(&self) -> Counted {
        Counted::new(&self.sessions)
    }

    pub(crate) fn count_connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Legacy sessions that are open.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Acquire)
    }

    /// Requests that are being answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

impl Servers {
    fn new(behind: Vec<Behind>, naming: Naming) -> Self {
        let modern = match only(&behind, naming) {
            Some(only) => Modern::Only(only.upstream.modern()),
            None => {
                let parts = behind.iter().map(|one| one.part(one.upstream.modern()));
                Modern::Merged(merged(Era::Modern, parts.collect(), naming))
            }
        };
        Self { behind: behind.into(), naming, modern }
    }
}

impl Behind {
    fn part(&self, state: watch::Receiver<State>) -> Part {
        let part = Part::new(self.upstream.name().clone(), state).with_filter(self.config.tools.clone());
        match self.config.naming {
            Some(naming) => part.with_naming(naming),
            None => part,
        }
    }
}

/// The one server that clients may see as it is.
fn only(behind: &[Behind], naming: Naming) -> Option<&Behind> {
    match behind {
        [only] if only.config.naming.unwrap_or(naming) == Naming::Plain && only.config.tools.is_open() => Some(only),
        _ => None,
    }
}

/// A server that is down joins the session when it is up.
fn later(upstream: Arc<Upstream>, client: Client, error: Error) -> watch::Receiver<State> {
    let (sender, receiver) = watch::channel(State::down(error));
    tokio::spawn(async move {
        let joined = async {
            loop {
                upstream.reached().await;
                match upstream.legacy(&client).await {
                    Ok(view) => return view,
                    Err(error) => drop(sender.send_replace(State::down(error))),
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        tokio::select! {
            view = joined => drop(sender.send_replace(State::Up(view))),
            // The session is over.
            () = sender.closed() => {}
        }
    });
    receiver
}
