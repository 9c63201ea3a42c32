// SPDX-License-Identifier: Apache-2.0
//! The process's connection to the broker: one [`Link`] at a time, made on first use, made anew when it has died.

use std::sync::Arc;
use std::time::Duration;

use biplane::{Error, Result};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Settings;
use crate::link::Link;

/// One attempt to connect, and what came of it. All who ask meanwhile wait for the same one.
type Attempt = Shared<BoxFuture<'static, Result<Arc<Link>, Arc<Error>>>>;

/// Where links come from.
pub(crate) struct Connection {
    settings: Arc<Settings>,
    connect_timeout: Duration,
    /// By which the server's monitoring shows this process.
    name: Arc<str>,
    latest: Mutex<Option<Attempt>>,
}

impl Connection {
    pub(crate) fn new(settings: Settings, connect_timeout: Duration, name: String) -> Self {
        Self { settings: Arc::new(settings), connect_timeout, name: name.into(), latest: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The longest that a caller waits for a connection, or for the repair of one.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// A link that is connected now. Waits for a dial or a repair at most until `until` and the connect timeout.
    ///
    /// A failed attempt is forgotten: who asks next makes another. Cancel-safe; the attempt goes on for the others.
    pub(crate) async fn link(&self, until: Option<Instant>) -> Result<Arc<Link>> {
        let limit = Instant::now() + self.connect_timeout;
        let limit = until.map_or(limit, |until| until.min(limit));
        let link = match tokio::time::timeout_at(limit, self.attempt()).await {
            Ok(outcome) => outcome.map_err(|error| error.duplicate())?,
            Err(_) => return Err(crate::failure::unreachable(&self.settings, self.connect_timeout)),
        };
        link.ready(limit).await.map_err(|error| error.with_target(self.settings.address()))?;
        Ok(link)
    }

    /// The link that there is, without making one.
    pub(crate) fn current(&self) -> Option<Arc<Link>> {
        let latest = self.latest.lock();
        let link = latest.as_ref()?.peek()?.as_ref().ok()?;
        link.is_alive().then(|| link.clone())
    }

    fn attempt(&self) -> Attempt {
        let mut latest = self.latest.lock();
        let usable = |attempt: &&Attempt| match attempt.peek() {
            None => true,
            Some(outcome) => outcome.as_ref().is_ok_and(|link| link.is_alive()),
        };
        match latest.as_ref().filter(usable) {
            Some(attempt) => attempt.clone(),
            None => latest.insert(self.dial()).clone(),
        }
    }

    fn dial(&self) -> Attempt {
        let (settings, name, limit) = (self.settings.clone(), self.name.clone(), self.connect_timeout);
        // A task of its own, so that the attempt does not stop half-way when all who asked for it have left.
        let task = tokio::spawn(async move { Link::open(&settings, &name, limit).await });
        async move {
            match task.await {
                Ok(outcome) => outcome.map(Arc::new).map_err(Arc::new),
                Err(_) => Err(Arc::new(Error::unexpected("the attempt to connect to the NATS server panicked"))),
            }
        }
        .boxed()
        .shared()
    }
}
