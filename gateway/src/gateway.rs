// SPDX-License-Identifier: Apache-2.0
//! The gateway as a value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use biplane::{Biplane, Error, Listener, Result, TransportAddress};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::core::{Behind, Core, CoreLimits};
use crate::face;
use crate::merge::{Naming, ToolFilter};
use crate::upstream::{Upstream, UpstreamSettings};

/// A gateway that has not been started. See the [crate](crate) for an example.
pub struct Gateway {
    biplane: Biplane,
    listen: Vec<String>,
    upstreams: Vec<UpstreamSpec>,
    naming: Naming,
    limits: CoreLimits,
}

/// A server behind the gateway.
#[derive(Clone, Debug)]
pub struct UpstreamSpec {
    /// By which it is known; the prefix of its tools and prompts where names have one.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// How it is used.
    pub settings: UpstreamSettings,
    /// How its tools and prompts are named, if not as the others'.
    pub naming: Option<Naming>,
    /// Which of its tools are let through.
    pub filter: ToolFilter,
}

impl UpstreamSpec {
    /// A server with default settings.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            settings: UpstreamSettings::default(),
            naming: None,
            filter: ToolFilter::default(),
        }
    }
}

impl Gateway {
    /// A gateway whose connections `biplane` makes.
    pub fn builder(biplane: &Biplane) -> Self {
        Self {
            biplane: biplane.clone(),
            listen: Vec::new(),
            upstreams: Vec::new(),
            naming: Naming::Prefixed,
            limits: CoreLimits { max_in_flight: 16_384, request_timeout: Duration::from_secs(3600) },
        }
    }

    /// Clients come in here. Several listeners serve the same servers.
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen.push(url.into());
        self
    }

    /// A server to stand before. One alone keeps its names; several get a prefix unless [`Gateway::naming`] says otherwise.
    pub fn upstream(self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.upstream_with(UpstreamSpec::new(name, url))
    }

    /// As [`Gateway::upstream`], in full.
    pub fn upstream_with(mut self, upstream: UpstreamSpec) -> Self {
        self.upstreams.push(upstream);
        self
    }

    /// How tools and prompts of several servers are named.
    pub fn naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// Requests at once; one more is refused.
    pub fn max_in_flight(mut self, most: usize) -> Self {
        self.limits.max_in_flight = most;
        self
    }

    /// The deadline of a request that brings none.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.limits.request_timeout = timeout;
        self
    }

    /// Binds the listeners and begins to connect the servers. A server that is down is no error: it is tried again.
    pub async fn start(self) -> Result<Running> {
        if self.upstreams.is_empty() {
            return Err(Error::config("the gateway has no upstream").with_hint("name one: --upstream 'stdio:npx -y …'"));
        }
        if let Some(name) = twice(&self.upstreams) {
            return Err(
                Error::config(format!("two upstreams are named {name:?}")).with_hint("give one another name: NAME=URL")
            );
        }
        let naming = if self.upstreams.len() == 1 { Naming::Plain } else { self.naming };
        let behind = self.upstreams.iter().map(|spec| behind(&self.biplane, spec)).collect();
        let core = Core::new(behind, naming, self.limits);
        let (stop, stopped) = watch::channel(None);
        let mut running = Running { core, stop, listeners: Vec::new(), tasks: JoinSet::new() };
        for url in &self.listen {
            let listener = self.biplane.listen(url).await.map_err(|error| error.with_target(url))?;
            running.listeners.push(listener.local_address());
            running.tasks.spawn(accept(listener, running.core.clone(), stopped.clone()));
        }
        Ok(running)
    }
}

fn twice(upstreams: &[UpstreamSpec]) -> Option<&str> {
    let mut names: Vec<&str> = upstreams.iter().map(|spec| &*spec.name).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
}

fn behind(biplane: &Biplane, spec: &UpstreamSpec) -> Behind {
    let upstream = Upstream::start(biplane, &spec.name, &spec.url, spec.settings.clone());
    Behind { upstream, naming: spec.naming, filter: spec.filter.clone() }
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

/// A gateway at work. Dropping it ends it without grace.
pub struct Running {
    core: Arc<Core>,
    stop: watch::Sender<Option<Duration>>,
    listeners: Vec<TransportAddress>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Where clients come in, with the ports that the system chose.
    pub fn listeners(&self) -> &[TransportAddress] {
        &self.listeners
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

    /// Legacy sessions that are open.
    pub fn sessions(&self) -> usize {
        self.core.sessions()
    }

    /// Requests that are being answered.
    pub fn in_flight(&self) -> usize {
        self.core.in_flight()
    }

    /// Waits until nobody can come in any more: a listener on standard input ends with it.
    pub async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Takes nobody in any more, lets what is in flight finish within `grace`, and ends.
    pub async fn drain(mut self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        // The faces keep the time; this is for one that cannot.
        let _ = tokio::time::timeout(grace + Duration::from_secs(5), self.finished()).await;
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({:?}, {} sessions)", self.listeners, self.core.sessions())
    }
}
