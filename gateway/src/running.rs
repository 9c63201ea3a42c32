// SPDX-License-Identifier: Apache-2.0
//! A gateway at work: its listeners, and what changes while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use biplane::{Biplane, Listener, Result, TransportAddress};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{GatewayConfig, UpstreamConfig, Url};
use crate::core::{Behind, Core, CoreLimits};
use crate::doors::Doors;
use crate::face;
use crate::metrics;
use crate::reload::{Change, Effect};
use crate::upstream::Upstream;

/// A gateway at work. Dropping it ends it without grace.
pub struct Running {
    biplane: Biplane,
    config: Arc<GatewayConfig>,
    doors: Option<Doors>,
    core: Arc<Core>,
    listening: Vec<Listening>,
    tasks: JoinSet<()>,
}

struct Listening {
    url: Url,
    address: TransportAddress,
    /// The grace for what is in flight, once the listener is to end.
    stop: watch::Sender<Option<Duration>>,
}

impl Running {
    pub(crate) async fn start(biplane: Biplane, config: Arc<GatewayConfig>, doors: Option<Doors>) -> Result<Self> {
        let behind = config.upstreams.iter().map(|one| behind(&biplane, one)).collect();
        let core = Core::new(behind, config.naming, limits(&config));
        metrics::show(biplane.telemetry(), &core);
        let mut running = Self { biplane, config, doors, core, listening: Vec::new(), tasks: JoinSet::new() };
        let opened = running.open(&running.config.listeners).await?;
        running.begin(opened);
        Ok(running)
    }

    /// Binds all of `urls`, or none.
    async fn open(&self, urls: &[Url]) -> Result<Vec<(Url, Box<dyn Listener>)>> {
        let mut opened = Vec::with_capacity(urls.len());
        for url in urls {
            let listener = self.biplane.listen(url.as_str()).await.map_err(|error| error.with_target(url.as_str()))?;
            opened.push((url.clone(), listener));
        }
        Ok(opened)
    }

    fn begin(&mut self, opened: Vec<(Url, Box<dyn Listener>)>) {
        for (url, listener) in opened {
            let (stop, stopped) = watch::channel(None);
            self.listening.push(Listening { url, address: listener.local_address(), stop });
            self.tasks.spawn(accept(listener, self.core.clone(), stopped));
        }
    }

    /// Where clients come in, with the ports that the system chose.
    pub fn listeners(&self) -> Vec<TransportAddress> {
        self.listening.iter().map(|one| one.address.clone()).collect()
    }

    /// The servers behind.
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.core.behind().iter().map(|one| one.upstream.clone()).collect()
    }

    /// Waits until every server has been reached or has failed once.
    pub async fn settled(&self) {
        for upstream in self.upstreams() {
            // Why one is down is told by its status.
            let _ = upstream.settled().await;
        }
    }

    /// What holds now.
    pub fn config(&self) -> &Arc<GatewayConfig> {
        &self.config
    }

    /// Legacy sessions that are open.
    pub fn sessions(&self) -> usize {
        self.core.sessions()
    }

    /// Requests that are being answered.
    pub fn in_flight(&self) -> usize {
        self.core.in_flight()
    }

    /// Takes over another configuration. Sessions go on: those that are open stay with the servers that they have, unless
    /// one of these is gone; new ones and modern requests use the servers as they are now. A listener that cannot be bound
    /// changes nothing at all. Another key or other limits of sessions hold from the next start.
    ///
    /// # Errors
    /// That of the listener.
    pub async fn apply(&mut self, config: Arc<GatewayConfig>, change: &Change) -> Result<()> {
        let opened = self.open(&change.listeners_added).await?;
        if let (Some(doors), true) = (&self.doors, change.admission_changed) {
            doors.admit_by(&config)?;
        }
        let before = self.core.behind();
        let again =
            |name: &str| change.upstreams_changed.iter().any(|one| one.name == name && one.effect >= Effect::Reconnect);
        let behind = config.upstreams.iter().map(|one| {
            let kept = before.iter().find(|old| old.config.name == one.name && !again(&one.name));
            match kept {
                Some(kept) => Behind { upstream: kept.upstream.clone(), config: one.clone() },
                None => behind(&self.biplane, one),
            }
        });
        self.core.replace(behind.collect(), config.naming, limits(&config));
        self.listening.retain(|one| {
            let goes = change.listeners_removed.contains(&one.url);
            if goes {
                one.stop.send_replace(Some(config.drain_grace));
            }
            !goes
        });
        self.config = config;
        self.begin(opened);
        Ok(())
    }

    /// Waits until nobody can come in any more: a listener on standard input ends with it. Cancel-safe.
    pub async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Takes nobody in any more, lets what is in flight finish within `grace`, and ends.
    pub async fn drain(mut self, grace: Duration) {
        for one in &self.listening {
            one.stop.send_replace(Some(grace));
        }
        // The faces keep the time; this is for one that cannot.
        let _ = tokio::time::timeout(grace + Duration::from_secs(5), self.finished()).await;
    }
}

fn limits(config: &GatewayConfig) -> CoreLimits {
    CoreLimits { max_in_flight: config.limits.max_in_flight, request_timeout: config.limits.request_timeout }
}

fn behind(biplane: &Biplane, config: &UpstreamConfig) -> Behind {
    Behind { upstream: Upstream::start(biplane, config), config: config.clone() }
}

async fn accept(listener: Box<dyn Listener>, core: Arc<Core>, stop: watch::Receiver<Option<Duration>>) {
    let mut stopped = stop.clone();
    let mut faces = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(Some(connection)) => drop(faces.spawn(face::serve(core.clone(), connection, stop.clone()))),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(target: "biplane::gateway", "{} takes no one any more: {error}", listener.local_address());
                    break;
                }
            },
            Some(_) = faces.join_next(), if !faces.is_empty() => {}
            _ = stopped.wait_for(Option::is_some) => break,
        }
    }
    let all_gone = async { while faces.join_next().await.is_some() {} };
    tokio::pin!(all_gone);
    // Nobody comes in any more; those inside stay as long as they like, until they are asked to go.
    let grace = tokio::select! {
        () = &mut all_gone => return,
        stop = stopped.wait_for(Option::is_some) => stop.map_or(Duration::ZERO, |grace| grace.unwrap_or_default()),
    };
    // Both at once: a listener that is dropped takes its links along, and one that still listens lets others in.
    let (closed, ()) = tokio::join!(listener.close(grace), all_gone);
    if let Err(error) = closed {
        tracing::debug!(target: "biplane::gateway", "{} closed badly: {error}", listener.local_address());
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({:?}, {} sessions)", self.listeners(), self.core.sessions())
    }
}
