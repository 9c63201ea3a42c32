// SPDX-License-Identifier: Apache-2.0
//! Discovery through a directory, between processes of one host: [`FileDiscovery`].
//!
//! Each record is a file in `<DYN_FILE_KV>/biplane/instances/`, put there whole (write, rename) and kept alive by renewing
//! its time. A record is dead when its lease is over, or at once when its process is.
//!
//! Watching is polling: one task per store, only while somebody watches, ten looks a second at a directory with a handful
//! of files. Notifications of the kernel would not replace it: neither the end of a lease nor the death of a process is a
//! change in the directory, and not every file system that a directory may be on reports changes.
//!
//! What touches the disk runs through `spawn_blocking`, because a slow or dead disk must not stall the links that share
//! the runtime's threads; the one exception is a withdrawal, see the module `lease`.

mod lease;
mod process;
mod scan;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use self::lease::Published;
use self::scan::{Listing, Scanner};
use self::store::Store;
use super::{Discovery, Instance, LeaseGuard, Watch};
use crate::config::DiscoveryConfig;
use crate::error::{Error, Phase, Result};
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::ServiceName;

/// The registration.
pub const REGISTRATION: TransportRegistration = TransportRegistration::discovery("file", build).priority(10);

crate::register_transport!(REGISTRATION);

fn build(context: &BuildContext) -> Result<Arc<dyn Discovery>> {
    Ok(context.shared(|| Ok(FileDiscovery::new(&context.config().discovery)))?)
}

/// How often the directory is looked at while somebody watches.
const POLL: Duration = Duration::from_millis(100);

/// Discovery through a directory. Opening it does no I/O; the directory is made when the first record is put.
pub struct FileDiscovery(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    lease: Duration,
    /// Locked on blocking threads only, for one scan.
    scanner: Arc<Mutex<Scanner>>,
    /// One scan at a time; those who waited through a whole one take its result.
    turn: tokio::sync::Mutex<()>,
    /// The number of the scan that was started last.
    started: AtomicU64,
    views: Mutex<Views>,
    /// Something changed that the poller should see before its next turn.
    changed: Notify,
}

#[derive(Default)]
struct Views {
    /// What scan number `scan` found.
    listing: Listing,
    scan: u64,
    watched: HashMap<ServiceName, watch::Sender<Arc<[Instance]>>>,
    poller: Option<JoinHandle<()>>,
}

impl FileDiscovery {
    /// The store in `config.file_kv`. `config.lease` is for what is put here, and for records that state no lease.
    pub fn new(config: &DiscoveryConfig) -> Self {
        let store = Arc::new(Store::new(&config.file_kv));
        Self(Arc::new(Inner {
            lease: config.lease,
            scanner: Arc::new(Mutex::new(Scanner::new(store.clone(), config.lease))),
            store,
            turn: tokio::sync::Mutex::default(),
            started: AtomicU64::new(0),
            views: Mutex::default(),
            changed: Notify::new(),
        }))
    }
}

#[async_trait]
impl Discovery for FileDiscovery {
    /// Cancel-safe: a record whose guard nobody took is withdrawn.
    async fn put(&self, instance: Instance) -> Result<LeaseGuard> {
        let inner = self.0.clone();
        let published = blocking(move || lease::publish(inner.store.clone(), &instance, inner.lease)).await?;
        let published = Arc::new(published);
        let renewal = tokio::spawn(keep_alive(published.clone(), self.0.lease));
        self.0.changed.notify_one();
        let inner = self.0.clone();
        Ok(LeaseGuard::new(move || {
            renewal.abort();
            published.withdraw();
            inner.changed.notify_one();
        }))
    }

    async fn watch(&self, name: &ServiceName) -> Result<Watch> {
        self.0.rescan().await?;
        let mut views = self.0.views();
        let current = views.of(name);
        let watch = views.watched.entry(name.clone()).or_insert_with(|| watch::Sender::new(current)).subscribe();
        // A poller that is finished, but did not say so, went down with its runtime.
        if views.poller.as_ref().is_none_or(JoinHandle::is_finished) {
            views.poller = Some(tokio::spawn(poll(self.0.clone())));
        }
        Ok(watch)
    }

    async fn refresh(&self, name: &ServiceName) -> Result<Arc<[Instance]>> {
        self.0.rescan().await?;
        Ok(self.0.views().of(name))
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.0.rescan().await?;
        let mut all: Vec<Instance> = self.0.views().listing.values().flat_map(|of| of.iter().cloned()).collect();
        all.sort_by(|a, b| (&a.name, a.instance_id).cmp(&(&b.name, b.instance_id)));
        Ok(all)
    }

    async fn set_weight(&self, name: &ServiceName, instance_id: u64, weight: u8) -> Result<bool> {
        let (store, name) = (self.0.store.clone(), name.clone());
        let found = blocking(move || lease::set_weight(&store, &name, instance_id, weight)).await?;
        self.0.changed.notify_one();
        Ok(found)
    }
}

impl Inner {
    /// Reads the directory, or waits for a reading that begins after this call, and tells the watchers. Cancel-safe.
    async fn rescan(&self) -> Result<()> {
        let asked = self.started.load(Ordering::Acquire);
        let _turn = self.turn.lock().await;
        if self.views().scan > asked {
            return Ok(());
        }
        let number = self.started.fetch_add(1, Ordering::AcqRel) + 1;
        let scanner = self.scanner.clone();
        let listing = blocking(move || {
            let mut scanner = scanner.lock();
            scanner.scan(SystemTime::now())
        });
        let listing = listing.await?;
        self.views().replace(number, listing);
        Ok(())
    }

    fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock()
    }
}

impl Views {
    fn of(&self, name: &ServiceName) -> Arc<[Instance]> {
        self.listing.get(name).cloned().unwrap_or_default()
    }

    fn replace(&mut self, scan: u64, listing: Listing) {
        (self.scan, self.listing) = (scan, listing);
        for (name, view) in &self.watched {
            let current = self.of(name);
            view.send_if_modified(|seen| {
                let differs = *seen != current;
                if differs {
                    *seen = current;
                }
                differs
            });
        }
    }

    /// Whether nobody watches any more. Then the next one to watch starts a poller.
    fn retire(&mut self) -> bool {
        self.watched.retain(|_, view| view.receiver_count() > 0);
        if self.watched.is_empty() {
            self.poller = None;
        }
        self.watched.is_empty()
    }
}

/// The store's one poller. While the directory cannot be read, watchers keep what they saw last.
async fn poll(inner: Arc<Inner>) {
    let mut trouble = Trouble::default();
    loop {
        // Either way it is time to look; the timeout is the ordinary case.
        let _ = tokio::time::timeout(POLL, inner.changed.notified()).await;
        if inner.views().retire() {
            return;
        }
        trouble.note(inner.rescan().await, "cannot look for instances; those seen last stay");
    }
}

async fn keep_alive(published: Arc<Published>, lease: Duration) {
    // Two renewals may be late or fail before the record dies; and a lease of nothing must not become a busy loop.
    let every = (lease / 3).max(Duration::from_millis(10));
    let mut trouble = Trouble::default();
    loop {
        tokio::time::sleep(every).await;
        let renewed = published.clone();
        trouble.note(blocking(move || renewed.renew()).await, "cannot renew a record; it dies with its lease");
    }
}

/// Warns when something begins to fail, not each time it fails.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    fn note(&mut self, outcome: Result<()>, what: &str) {
        if let Err(error) = &outcome
            && !self.0
        {
            tracing::warn!(target: "biplane::discovery", %error, "{what}");
        }
        self.0 = outcome.is_err();
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let what = if error.is_panic() { "discovery panicked" } else { "the runtime is shutting down" };
        Err(Error::unexpected(what).with_phase(Phase::Discover).with_source(error))
    })
}

impl fmt::Debug for FileDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDiscovery({})", self.0.store.instances().display())
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
