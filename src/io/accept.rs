// SPDX-License-Identifier: Apache-2.0
//! The loop behind every listener of byte links: accept, shake hands, serve, and say no with a reason when full.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::AbortHandle;

use super::bytes::{BoxedBytes, ByteListener, Links, shake_hands};
use super::driver::{Driver, FAREWELL};
use super::known::KnownLinks;
use super::link::{MuxLink, Service};
use crate::error::{Detail, Error, PeerError, Result, Retry};
use crate::proto::mux::{Mux, Role};

/// Makes the service of one accepted link, and is told of the link.
pub(super) trait Reception: Send + Sync + 'static {
    /// The service of the next link.
    fn service(&self) -> Arc<dyn Service>;

    /// A link is up.
    fn welcome(&self, link: &Arc<MuxLink>, service: Arc<dyn Service>) {
        let _ = (link, service);
    }
}

impl<S: Service> Reception for Arc<S> {
    fn service(&self) -> Arc<dyn Service> {
        self.clone()
    }
}

/// A running accept loop. Drop stops it; links that it accepted go on until [`Accepting::close`].
pub(super) struct Accepting {
    address: String,
    accepted: Arc<Accepted>,
    task: AbortHandle,
}

#[derive(Default)]
struct Accepted {
    count: AtomicUsize,
    links: KnownLinks,
}

impl Accepting {
    pub(super) fn start(links: Links, listener: Box<dyn ByteListener>, reception: impl Reception) -> Self {
        let address = listener.address();
        let accepted = Arc::new(Accepted::default());
        let task = tokio::spawn(accept(links, listener, Arc::new(reception), accepted.clone())).abort_handle();
        Self { address, accepted, task }
    }

    /// What to publish.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// An error once [`Accepting::close`] was called.
    pub(super) fn check_open(&self) -> Result<()> {
        if !self.accepted.links.is_closed() {
            return Ok(());
        }
        Err(Error::closed(format!("the listener at {} was closed", self.address)).with_retry(Retry::Safe))
    }

    /// Stops accepting, lets what runs on the links finish for at most `grace`, closes them.
    pub(super) async fn close(&self, grace: Duration) {
        self.task.abort();
        self.accepted.links.close(tokio::time::Instant::now() + grace).await;
        // An aborted task drops its listener when it is next looked at; who closed may bind again at once.
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(links: Links, listener: Box<dyn ByteListener>, reception: Arc<dyn Reception>, accepted: Arc<Accepted>) {
    let mut pause = Duration::from_millis(5);
    loop {
        match listener.accept().await {
            Ok((io, peer)) => {
                pause = Duration::from_millis(5);
                let number = accepted.count.fetch_add(1, Ordering::AcqRel) + 1;
                let place = Place(accepted.clone());
                let limit = links.settings.max_connections;
                if number > limit.saturating_mul(2) {
                    // So many that even saying no costs too much.
                    continue;
                }
                let (links, reception) = (links.clone(), reception.clone());
                tokio::spawn(async move {
                    if number > limit {
                        turn_away(&links, io, limit).await;
                        drop(place);
                    } else {
                        welcome(&links, io, peer, &*reception, place).await;
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, mostly. Waiting is what helps; spinning is what hurts.
                tracing::warn!(target: "biplane::link", address = listener.address(), "accept failed, trying again in {pause:?}: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

/// One of the links that may be served at once.
struct Place(Arc<Accepted>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The one task of an accepted link. Not an async block: that would have room for the driver twice.
struct Served {
    driver: Driver,
    _place: Place,
}

impl Future for Served {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.driver).poll(cx)
    }
}

/// Brings the link up and hands it on. From then on it has one task, its driver, which keeps its place.
async fn welcome(links: &Links, io: BoxedBytes, peer: String, reception: &dyn Reception, place: Place) {
    let service = reception.service();
    let starting = async {
        let io = links.transport.secure(io).await?;
        links.establish(io, Role::Acceptor, peer.clone(), service.clone(), usize::MAX).await
    };
    let (link, driver) = match tokio::time::timeout(links.settings.connect_timeout, starting).await {
        Ok(Ok(established)) => established,
        Ok(Err(error)) => return tracing::debug!(target: "biplane::link", peer, "handshake failed: {error}"),
        Err(_) => return tracing::debug!(target: "biplane::link", peer, "no handshake in time"),
    };
    let known = place.0.links.add(&link);
    tokio::spawn(Served { driver, _place: place });
    if known {
        reception.welcome(&link, service);
    }
}

/// Says why, so that the dialer's error tells what to do: in a GOAWAY, and to each request that crossed it.
async fn turn_away(links: &Links, io: BoxedBytes, limit: usize) {
    let farewell = async {
        let mut io = links.transport.secure(io).await.ok()?;
        let (theirs, mut input) = shake_hands(&mut io, &links.settings.prologue).await.ok()?;
        let error = Error::overloaded(format!("this listener serves {limit} links already"))
            .with_detail(Detail::ConnectionLimit { limit: limit as u64 })
            .with_retry(Retry::Safe)
            .with_hint("raise DYN_TCP_REQUEST_MAX_CONNECTIONS, or add an instance");
        let settings = &links.settings;
        let mut mux = Mux::new(Role::Acceptor, settings.prologue, theirs, settings.limits, Instant::now());
        mux.go_away(&PeerError::from(error));
        let mut output = VecDeque::new();
        loop {
            mux.feed(&mut input, Instant::now()).ok()?;
            mux.take_output(&mut output);
            for segment in output.drain(..) {
                io.write_all(&segment).await.ok()?;
            }
            io.flush().await.ok()?;
            if mux.is_drained() {
                return io.shutdown().await.ok();
            }
            if io.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        }
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}
