// SPDX-License-Identifier: Apache-2.0
//! Legacy sessions that one call has for itself: on a wire where a server cannot say on whose account it asks, only that
//! tells whom it asks.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use biplane::{Connection, ConnectionInfo, Error, Inbound, Message, Request, ResponseStream, Result, Retry, Subject};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::observed::{Ending, observe};
use crate::view::{Client, View};

/// A session that nobody uses is kept this long.
const IDLE: Duration = Duration::from_secs(60);
/// For a session to become free, when as many are in use as there may be.
const WAIT: Duration = Duration::from_secs(30);

/// The sessions of one server that are leased, and those that could be.
pub(super) struct Leases {
    idle: Mutex<Vec<Idle>>,
    places: Arc<Semaphore>,
    most: usize,
}

struct Idle {
    client: Client,
    view: View,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Leases {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), places: Arc::new(Semaphore::new(most)), most })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock()
    }

    /// A session that was opened for a client of the same kind, or a new one from `open`.
    pub(super) async fn lease<F>(self: &Arc<Self>, client: &Client, open: F) -> Result<View>
    where
        F: AsyncFnOnce() -> Result<View>,
    {
        if let Some(idle) = self.take(client) {
            return Ok(self.leased(client, idle.view, idle._place));
        }
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                // One that waits for another kind of client gives way.
                let oldest = {
                    let mut idle = self.idle();
                    if idle.is_empty() { None } else { Some(idle.remove(0)) }
                };
                drop(oldest);
                match tokio::time::timeout(WAIT, self.places.clone().acquire_owned()).await {
                    Ok(Ok(place)) => place,
                    _ => return Err(self.exhausted()),
                }
            }
        };
        let view = open().await?;
        Ok(self.leased(client, view, place))
    }

    fn exhausted(&self) -> Error {
        Error::overloaded(format!("all {} sessions of the upstream are in use", self.most))
            .with_retry(Retry::Safe)
            .with_hint("raise max_sessions of the upstream")
    }

    fn take(&self, client: &Client) -> Option<Idle> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|one| one.client == *client)?;
        Some(idle.remove(at))
    }

    fn leased(self: &Arc<Self>, client: &Client, view: View, place: OwnedSemaphorePermit) -> View {
        let facts = view.facts.clone();
        let lease = Lease {
            leases: Arc::downgrade(self),
            client: client.clone(),
            info: view.connection.info().clone(),
            activity: Arc::new(Activity::default()),
            held: Mutex::new(Some((view.clone(), place))),
            connection: view.connection,
        };
        View { connection: Arc::new(lease), facts }
    }

    fn give_back(&self, client: Client, view: View, place: OwnedSemaphorePermit) {
        self.idle().push(Idle { client, view, since: Instant::now(), _place: place });
    }

    /// Ends the sessions that nobody has used for a while.
    pub(super) fn prune(&self, now: Instant) {
        let mut idle = self.idle();
        let (old, kept) = idle.drain(..).partition(|one| now.saturating_duration_since(one.since) >= IDLE);
        *idle = kept;
        drop(idle);
        let old: Vec<Idle> = old;
        drop(old);
    }
}

#[derive(Default)]
struct Activity {
    open: AtomicUsize,
    /// A call was given up: what the server still says of it would come to the next user.
    is_dirty: AtomicBool,
}

struct Lease {
    leases: Weak<Leases>,
    client: Client,
    info: ConnectionInfo,
    activity: Arc<Activity>,
    held: Mutex<Option<(View, OwnedSemaphorePermit)>>,
    connection: Arc<dyn Connection>,
}

#[async_trait]
impl Connection for Lease {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let stream = self.connection.open(request)?;
        self.activity.open.fetch_add(1, Ordering::AcqRel);
        let activity = self.activity.clone();
        let (stream, _) = observe(stream, None, move |ending| {
            if ending == Ending::Dropped {
                activity.is_dirty.store(true, Ordering::Release);
            }
            activity.open.fetch_sub(1, Ordering::AcqRel);
        });
        Ok(stream)
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.connection.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.connection.receive().await
    }

    async fn close(&self, _grace: Duration) -> Result<()> {
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.held.get_mut().take();
        let (Some((view, place)), Some(leases)) = (held, self.leases.upgrade()) else { return };
        let is_clean =
            self.activity.open.load(Ordering::Acquire) == 0 && !self.activity.is_dirty.load(Ordering::Acquire);
        if is_clean {
            leases.give_back(self.client.clone(), view, place);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.info.peer)
    }
}
