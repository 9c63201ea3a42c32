// SPDX-License-Identifier: Apache-2.0
//! All links of one runtime's callers, and the one exchange that everything else is made of.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use parking_lot::Mutex;
use tokio::time::timeout_at;

use super::incoming::{self, Incoming};
use super::link::{CONTROL_TIMEOUT, Dialling, Hold, HttpLink, SendFailure, leases_per_link};
use super::place::Place;
use super::secure::Security;
use super::speech::Speech;
use crate::config::Config;
use crate::error::{Error, Phase, Result, Retry};
use crate::message::Subject;
use crate::pool::{Pool, PoolKey, PoolSettings};
use crate::target::TransportId;
use crate::telemetry::{PoolFamily, Telemetry};

/// URLs that are kept in their parsed form.
const MAX_PLACES: usize = 1024;

/// Bytes of a body that answers nothing but must be read away.
const MAX_ASIDE: usize = 64 << 10;

/// A runtime's links to HTTP origins. Requests, fetches and connections share them.
pub(super) struct Links {
    config: Arc<Config>,
    dialling: Arc<Dialling>,
    pool: Pool<HttpLink>,
    places: Mutex<Places>,
}

/// Places by URL.
#[derive(Default)]
struct Places {
    /// The last one that was asked for: most callers ask for it again.
    last: Option<(String, Arc<Place>)>,
    all: HashMap<String, Arc<Place>>,
}

/// A response whose body has not been read.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) hold: Hold,
}

impl Links {
    pub(super) fn new(config: Arc<Config>, telemetry: Telemetry) -> Result<Self> {
        let version = config.http.version;
        let settings = PoolSettings {
            config: config.http.pool.clone(),
            leases_per_link: leases_per_link(version),
            connect_timeout: config.limits.connect_timeout,
            exhausted_hint: "raise max_per_target in [transport.http.pool]",
        };
        let metrics = move |key: &PoolKey| telemetry.pool(PoolFamily::Transport, &key.transport, &shown(key));
        let security = Security::new(&config)?;
        let dialling = Arc::new(Dialling { config: config.clone(), security });
        let for_pool = dialling.clone();
        let pool = Pool::new(settings, metrics, move |key| {
            let dialling = for_pool.clone();
            Box::pin(async move { HttpLink::dial(&key, &dialling).await })
        });
        Ok(Self { config, dialling, pool, places: Mutex::default() })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The place that a URL names; parsed once.
    pub(super) fn place(&self, url: &str) -> Result<Arc<Place>> {
        let mut places = self.places.lock();
        if let Some((_, place)) = places.last.as_ref().filter(|(last, _)| last == url) {
            return Ok(place.clone());
        }
        let place = match places.all.get(url) {
            Some(place) => place.clone(),
            None => {
                let place = Arc::new(Place::parse(url)?);
                if places.all.len() >= MAX_PLACES {
                    places.all.clear();
                }
                places.all.insert(url.to_owned(), place.clone());
                place
            }
        };
        places.last = Some((url.to_owned(), place.clone()));
        Ok(place)
    }

    /// Where a request for `subject` goes by `place`.
    pub(super) fn serving<'a>(&self, place: &'a Place, subject: &Subject) -> Result<Cow<'a, Place>> {
        place.serving(subject, &self.config.http.request_root)
    }

    /// Sends a request and waits for the head of its response until `deadline`.
    ///
    /// A request of which the peer has seen nothing, because a link that had been idle turned out to be dead, is sent once
    /// more on another one. Cancel-safe: dropping the future cancels the request.
    pub(super) async fn send(
        &self,
        place: &Place,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Exchange> {
        self.send_written(place, method, || Ok(headers.clone()), body, deadline).await
    }

    /// As [`send`](Self::send). `headers` are written for each attempt.
    pub(super) async fn send_written(
        &self,
        place: &Place,
        method: Method,
        headers: impl Fn() -> Result<HeaderMap>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Exchange> {
        let links = place.links(&self.pool);
        let mut retried = false;
        loop {
            let lease = match links.try_checkout() {
                Some(lease) => lease,
                None => {
                    // In a box, as all that few requests come to: each of those that wait would have room for it.
                    let lease = Box::pin(links.checkout(Some(deadline))).await;
                    lease.map_err(|error| decorate(error.with_retry(Retry::Safe), place))?
                }
            };
            let hold = Hold::new(lease);
            let reused = hold.is_reused();
            match self.exchange(hold, place, method.clone(), headers()?, body.clone(), deadline).await? {
                Ok(exchange) => return Ok(exchange),
                Err(failure) if failure.unsent && reused && !retried => retried = true,
                Err(failure) => return Err(decorate(failed(failure, reused, place), place)),
            }
        }
    }

    /// As [`send`](Self::send), for a response that may last as long as a session: on HTTP/1.1 it has a link of its own,
    /// which counts against no limit of the pool, or those that wait for events would keep all others waiting.
    pub(super) async fn send_standing(
        &self,
        place: &Place,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Exchange> {
        let shared = place.links(&self.pool).try_checkout().filter(|lease| lease.link().is_multiplexed());
        let hold = match shared {
            Some(lease) => Hold::new(lease),
            None => {
                let until = deadline.min(Instant::now() + self.config.limits.connect_timeout);
                let dialled = timeout_at(until.into(), HttpLink::dial(place.key(), &self.dialling)).await;
                let late = |_| Error::connect("no link in time").with_hint("raise BIPLANE_CONNECT_TIMEOUT");
                let dialled = dialled.map_err(late).and_then(|dialled| dialled);
                Hold::alone(dialled.map_err(|error| decorate(error.with_retry(Retry::Safe), place))?)
            }
        };
        match self.exchange(hold, place, method, headers, body, deadline).await? {
            Ok(exchange) => Ok(exchange),
            Err(failure) => Err(decorate(failed(failure, false, place), place)),
        }
    }

    async fn exchange(
        &self,
        hold: Hold,
        place: &Place,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Result<Exchange, SendFailure>> {
        let request = place.request(method, hold.link().version(), headers);
        let sending = match hold.link().send(request, body) {
            Ok(sending) => sending,
            Err(failure) => return Ok(Err(failure)),
        };
        match timeout_at(deadline.into(), sending).await {
            Ok(Ok(response)) => Ok(Ok(Exchange { response, hold })),
            Ok(Err(failure)) => Ok(Err(failure)),
            Err(_) => {
                let error = Error::timeout("no acknowledgement in time").with_phase(Phase::Acknowledge);
                Err(decorate(error, place))
            }
        }
    }

    /// Reads away a body that is of no interest, so that its link can be used again.
    pub(super) async fn put_aside(&self, exchange: Exchange, deadline: Instant) {
        let Exchange { response, mut hold } = exchange;
        let read = timeout_at(deadline.into(), incoming::read(response.into_body(), MAX_ASIDE)).await;
        if let Ok(Ok(_)) = read {
            hold.complete();
        }
    }

    /// Sends `DELETE` to `place`, in a task of its own: nobody waits for it, and its failure means that there is nothing
    /// left to control.
    pub(super) fn delete(self: &Arc<Self>, place: Place) {
        // Control may come from a thread outside the runtime; then dropping the stream is what remains.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let links = self.clone();
        runtime.spawn(async move {
            let deadline = Instant::now() + CONTROL_TIMEOUT;
            match links.send(&place, Method::DELETE, HeaderMap::new(), Bytes::new(), deadline).await {
                Ok(exchange) => links.put_aside(exchange, deadline).await,
                Err(error) => tracing::debug!(target: "biplane::http::response", "control: {error}"),
            }
        });
    }

    /// When a request must have been acknowledged, by the configuration and by its own deadline.
    pub(super) fn acknowledged_by(&self, deadline: Option<Instant>) -> Instant {
        let by = Instant::now() + self.config.http.request_timeout;
        deadline.map_or(by, |deadline| deadline.min(by))
    }

    /// When an answer must be over.
    pub(super) fn over_by(&self, deadline: Option<Instant>) -> Instant {
        let by = Instant::now() + self.config.http.response_timeout;
        deadline.map_or(by, |deadline| deadline.min(by))
    }
}

fn failed(failure: SendFailure, reused: bool, place: &Place) -> Error {
    let retry = if failure.unsent { Retry::Safe } else { Retry::Never };
    let mut error = Error::closed("the link ended before the request was acknowledged")
        .with_phase(Phase::Acknowledge)
        .with_retry(retry);
    if !reused && place.speech() == Speech::Plane {
        error = error.with_hint(
            "check that it is a biplane server; if it speaks no HTTP/2 in clear text, set BIPLANE_HTTP_VERSION=1.1",
        );
    }
    match failure.cause {
        Some(cause) => error.with_source(cause),
        None => error,
    }
}

/// The label of a pool's figures: links to one origin that are kept apart are shown apart.
fn shown(key: &PoolKey) -> Cow<'_, str> {
    match key.security.split_once(' ') {
        Some((_, purpose)) => Cow::Owned(format!("{} {purpose}", key.authority)),
        None => Cow::Borrowed(&key.authority),
    }
}

/// Says where an error is from.
pub(super) fn decorate(error: Error, place: &Place) -> Error {
    error.with_transport(TransportId::HTTP).with_target(place.url())
}
