// SPDX-License-Identifier: Apache-2.0
//! One client of a NATS server: publishing, subscribing, and waiting for replies.
//!
//! The client library reconnects and resubscribes by itself. What it leaves to us: failing what was in flight, waiting for
//! a link that is being repaired, and noticing when the library itself has died ([`Link::is_alive`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, PublishErrorKind, Subscriber};
use biplane::{Error, Phase, Result, Retry};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Auth, Settings};
use crate::inbox::Inbox;
use crate::{failure, subject, wire};

/// A server that is silent for two of these has gone: the library's own minute would hold callers for three.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Requests that may wait between the socket and an endpoint, which takes them at once and refuses what is too much; beyond
/// it the library drops them, and their callers time out.
const SUBSCRIPTION_CAPACITY: usize = 16 * 1024;

/// How often a link that is being repaired is looked at. The library tells of its repair, but may drop what it tells.
const REPAIR_CHECK: Duration = Duration::from_millis(100);

/// A live client and its inbox. Dropped, it disconnects.
pub(crate) struct Link {
    client: Client,
    inbox: Arc<Inbox>,
    /// Subjects of the inbox are this and one token.
    prefix: String,
    changes: Arc<Changes>,
    reader: JoinHandle<()>,
}

impl Link {
    /// Connects, within `limit`.
    pub(crate) async fn open(settings: &Settings, name: &str, limit: Duration) -> Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let changes = Arc::new(Changes::default());
        let options = options(settings, limit).await?.name(name).event_callback({
            let (inbox, changes) = (inbox.clone(), changes.clone());
            move |event| {
                changes.on_event(&event, &inbox);
                std::future::ready(())
            }
        });
        let client = timeout(limit, options.connect(settings.servers.clone()))
            .await
            .map_err(|_| failure::unreachable(settings, limit))?
            .map_err(|error| failure::connect(settings, &error))?;
        let prefix = client.new_inbox();
        let replies = client.subscribe(format!("{prefix}.*")).await.map_err(|_| failure::gone())?;
        let reader = tokio::spawn(read(replies, inbox.clone()));
        Ok(Self { client, inbox, prefix, changes, reader })
    }

    /// Whether the library's task lives. A link that is being repaired does.
    pub(crate) fn is_alive(&self) -> bool {
        !self.inbox.is_closed()
    }

    /// Waits until the server is connected, at most until `until`.
    pub(crate) async fn ready(&self, until: Instant) -> Result<()> {
        while self.client.connection_state() != State::Connected {
            if !self.is_alive() {
                return Err(failure::gone());
            }
            if Instant::now() >= until {
                return Err(Error::connect("the connection to the NATS server is broken and being repaired")
                    .with_retry(Retry::Safe)
                    .with_phase(Phase::Connect)
                    .with_hint("check that the server at NATS_SERVER runs"));
            }
            let check = until.min(Instant::now() + REPAIR_CHECK);
            // Both outcomes lead to another look.
            let _ = timeout_at(check, self.changes.connected.notified()).await;
        }
        Ok(())
    }

    /// Publishes a request and waits for the reply, at most until `until`.
    ///
    /// The error says whether the request may have arrived. Cancel-safe: a dropped future forgets the reply.
    pub(crate) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        until: Instant,
    ) -> Result<async_nats::Message> {
        let limit = self.client.max_payload();
        let got = wire::wire_len(&headers) + payload.len();
        if got > limit {
            return Err(failure::too_large(limit, got));
        }
        let mut waiter = self.inbox.expect(self.socket()).ok_or_else(failure::gone)?;
        let reply = waiter.subject(&self.prefix);
        let publish = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        match timeout_at(until, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                // The limit changed between the two looks, with the server.
                return Err(failure::too_large(self.client.max_payload(), got));
            }
            Ok(Err(_)) => return Err(failure::gone()),
            Err(_) => {
                return Err(Error::timeout("the connection to the NATS server took no message in time")
                    .with_retry(Retry::Safe)
                    .with_phase(Phase::Send));
            }
        }
        let reply = timeout_at(until, waiter.reply()).await;
        reply.map_err(|_| Error::timeout("no reply came in time").with_phase(Phase::Acknowledge))?
    }

    /// Publishes a reply.
    pub(crate) async fn respond(&self, to: async_nats::Subject, headers: HeaderMap, payload: Bytes) -> Result<()> {
        let publish = self.client.publish_with_headers(to, headers, payload);
        publish.await.map_err(|error| Error::closed(format!("the reply was not sent: {error}")))
    }

    /// Subscribes to a group's subject as one of its members, and to `direct`. Done when the server knows of both.
    pub(crate) async fn subscribe(&self, group: &str, direct: &str, until: Instant) -> Result<[Subscriber; 2]> {
        let both = async {
            let group = self.client.queue_subscribe(group.to_owned(), subject::QUEUE_GROUP.to_owned()).await;
            let direct = self.client.subscribe(direct.to_owned()).await;
            match (group, direct) {
                (Ok(group), Ok(direct)) => Ok([group, direct]),
                _ => Err(failure::gone()),
            }
        };
        let both = timeout_at(until, both).await.map_err(|_| failure::gone())??;
        self.round_trip(until).await?;
        Ok(both)
    }

    /// Done when the server has seen all that was sent before: it works through a link in order, so a message to
    /// ourselves overtakes nothing.
    pub(crate) async fn round_trip(&self, until: Instant) -> Result<()> {
        let mut waiter = self.inbox.expect(self.socket()).ok_or_else(failure::gone)?;
        let trip = async {
            let publish = self.client.publish(waiter.subject(&self.prefix), Bytes::new());
            publish.await.map_err(|_| failure::gone())?;
            waiter.reply().await
        };
        let trip = timeout_at(until, trip).await;
        trip.map_err(|_| Error::timeout("the NATS server did not answer a round trip in time"))?.map(drop)
    }

    /// Which socket of the link, counted from 1, is written to.
    fn socket(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The reader's subscription would keep the client connected.
        self.reader.abort();
    }
}

async fn options(settings: &Settings, limit: Duration) -> Result<ConnectOptions> {
    // Each server of a list gets its part of the time, or one that swallows packets would use up all of it.
    let part = limit / u32::try_from(settings.servers.len()).unwrap_or(u32::MAX).max(1);
    let options = ConnectOptions::new()
        .connection_timeout(part)
        .ping_interval(PING_INTERVAL)
        .request_timeout(None)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(backoff);
    Ok(match &settings.auth {
        Auth::None => options,
        Auth::Password { username, password } => options.user_and_password(username.clone(), password.clone()),
        Auth::Token(token) => options.token(token.clone()),
        Auth::Nkey(seed) => options.nkey(seed.clone()),
        Auth::Credentials(path) => options.credentials_file(path).await.map_err(|error| {
            Error::config(format!("cannot read the credentials file {}: {error}", path.display())).with_hint(
                "NATS_AUTH_CREDENTIALS_FILE names a file with a JWT and a seed, as `nsc generate creds` writes it",
            )
        })?,
    })
}

/// How long to wait before the `attempt`-th attempt to connect, counted from 1: none, then 50 ms and twice as much each
/// time up to 4 s, less up to a half at random, so that the clients of a restarted server do not come all at once.
pub(crate) fn backoff(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
    let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(7);
    let full = Duration::from_millis(50 << doublings).min(Duration::from_secs(4));
    full.mul_f64(0.5 + 0.5 * random())
}

/// A number from 0 to 1; the standard hasher's keys are random enough for jitter.
fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX)
}

/// Hands replies to their waiters until the client is gone.
async fn read(mut replies: Subscriber, inbox: Arc<Inbox>) {
    while let Some(message) = replies.next().await {
        inbox.deliver(message);
    }
    tracing::warn!(target: "biplane::nats", "the NATS client ended; the next use makes a new one");
    inbox.close();
}

/// What the library tells of its connection.
#[derive(Default)]
struct Changes {
    connected: Notify,
    dropped: AtomicU64,
}

impl Changes {
    fn on_event(&self, event: &Event, inbox: &Inbox) {
        match event {
            Event::Connected => {
                tracing::info!(target: "biplane::nats", "connected to the NATS server");
                self.connected.notify_waiters();
            }
            Event::Disconnected => {
                tracing::warn!(target: "biplane::nats", "the connection to the NATS server broke; reconnecting");
                inbox.broke();
            }
            Event::SlowConsumer(_) => {
                let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                // One event comes for each message; a flood of log lines would not help.
                if dropped.is_power_of_two() {
                    tracing::warn!(target: "biplane::nats", dropped, "requests came faster than they could be taken and were dropped");
                }
            }
            // Among these: no permission to publish or subscribe.
            Event::ServerError(error) => {
                tracing::warn!(target: "biplane::nats", %error, "the NATS server reported an error");
            }
            other => tracing::debug!(target: "biplane::nats", event = %other, "the NATS client reported"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_a_limit_and_is_jittered() {
        assert_eq!((backoff(0), backoff(1)), (Duration::ZERO, Duration::ZERO));
        for attempt in 2..100 {
            let full = Duration::from_millis(50 << (attempt - 2).min(7)).min(Duration::from_secs(4));
            let wait = backoff(attempt);
            assert!(wait <= full && wait >= full / 2, "{attempt}: {wait:?}");
        }
        let distinct: std::collections::HashSet<_> = (0..20).map(|_| backoff(20)).collect();
        assert!(distinct.len() > 1);
        assert!(backoff(usize::MAX) <= Duration::from_secs(4));
    }
}
