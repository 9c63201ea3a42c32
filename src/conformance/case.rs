// SPDX-License-Identifier: Apache-2.0
//! One case: what it needs, how it is run, how it fails.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::fixture::Fixture;
use super::harness::{Claims, Harness};
use crate::config::Config;
use crate::error::Error;

/// How long a case may take, whatever happens. No case measures time: this only turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(20);
/// How long tasks may take to end after everything was closed.
const QUIET: Duration = Duration::from_secs(5);

pub(super) type Check = Result<(), Failure>;
type Running<'a> = Pin<Box<dyn Future<Output = Check> + Send + 'a>>;
/// What a case does.
pub(super) type Body = for<'a> fn(&'a Fixture) -> Running<'a>;

/// Why a case failed.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(format!("unexpected error: {error:?}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(format!("unexpected system error: {error}"))
    }
}

/// Fails the case with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::case::Failure::new(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// What a case needs from the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Many items per answer.
    Streaming,
    /// Many items per request.
    Uploads,
    /// That many items per request are *not* claimed.
    NoUploads,
    /// Many items both ways at once.
    Duplex,
    /// Messages that nobody asked for.
    ServerPush,
    /// That server push is *not* claimed, on a connection.
    NoServerPush,
    /// Links that outlive a request.
    Persistent,
    /// Headers on items of an answer.
    ItemHeaders,
    /// Deadlines that the responder learns of.
    Deadlines,
    /// JSON-RPC.
    JsonRpc,
    /// One-way messages from the caller.
    OneWay,
    /// That one-way messages are *not* claimed.
    NoOneWay,
    /// A connection transport.
    Connection,
    /// A request plane.
    Planes,
    /// A response plane where the responder dials.
    CallHome,
    /// A response plane where the caller fetches.
    Fetch,
    /// Inline answers beside a response plane.
    InlineToo,
    /// An address that a TCP proxy can stand before.
    OverTcp,
}

impl Need {
    /// Why `claims` do not meet the need.
    fn unmet(self, claims: &Claims) -> Option<&'static str> {
        let capabilities = &claims.capabilities;
        let (met, reason) = match self {
            Self::Streaming => (capabilities.streaming(), "does not claim streaming"),
            Self::Duplex => (capabilities.bidirectional(), "does not claim duplex"),
            Self::Uploads => (claims.uploads, "does not claim streaming requests"),
            Self::NoUploads => (!claims.uploads, "claims streaming requests"),
            Self::ServerPush => (capabilities.server_push, "does not claim server push"),
            Self::NoServerPush => (claims.connection && !capabilities.server_push, "claims server push, or is a plane"),
            Self::Persistent => (capabilities.persistent_connections, "does not claim persistent connections"),
            Self::ItemHeaders => (claims.item_headers, "does not carry headers on items"),
            Self::Deadlines => (claims.deadlines, "does not carry deadlines"),
            Self::JsonRpc => (claims.payload.is_json(), "does not carry JSON-RPC"),
            Self::OneWay => (claims.one_way, "does not carry one-way messages"),
            Self::NoOneWay => (!claims.one_way, "carries one-way messages"),
            Self::Connection => (claims.connection, "is a plane, not a connection transport"),
            Self::Planes => (!claims.connection, "is a connection transport, not a plane"),
            Self::CallHome => (claims.response_plane() && capabilities.rendezvous.call_home, "is no call-home"),
            Self::Fetch => (claims.response_plane() && capabilities.rendezvous.fetch, "is no fetch"),
            Self::InlineToo => (claims.response_plane() && capabilities.rendezvous.inline, "has no inline answers too"),
            Self::OverTcp => (claims.over_tcp, "has no TCP address for the fault proxy"),
        };
        (!met).then_some(reason)
    }
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) tune: fn(&mut Config),
    pub(super) body: Body,
    /// [`LIMIT`], but in the suite's own tests.
    pub(super) limit: Duration,
}

impl Case {
    pub(super) const fn new(group: &'static str, name: &'static str, needs: &'static [Need], body: Body) -> Self {
        Self { group, name, needs, tune: |_| {}, body, limit: LIMIT }
    }

    /// Changes the configuration for this case.
    pub(super) const fn tuned(mut self, tune: fn(&mut Config)) -> Self {
        self.tune = tune;
        self
    }

    /// Why the case is outside `claims`; `None` if it is to be run.
    pub(super) fn outside(&self, claims: &Claims) -> Option<String> {
        self.needs.iter().find_map(|need| need.unmet(claims)).map(str::to_owned)
    }

    /// Runs the case on a thread of its own, so that even one that blocks its thread is a failure and no hang.
    pub(super) fn run(self, harness: &Arc<dyn Harness>) -> Check {
        let (done, outcome) = mpsc::channel();
        let harness = harness.clone();
        let thread = std::thread::Builder::new().name(format!("{}::{}", self.group, self.name));
        thread.spawn(move || {
            // Nobody listens any more if the case was given up.
            let _ = done.send(self.run_here(&harness));
        })?;
        match outcome.recv_timeout(self.limit + QUIET + QUIET) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Failure::new("blocked its thread: it never gave control back")),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Failure::new("panicked; the message is above")),
        }
    }

    fn run_here(self, harness: &Arc<dyn Harness>) -> Check {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = runtime.block_on(async {
            let limited = tokio::time::timeout(self.limit, self.run_inside(harness)).await;
            limited.unwrap_or_else(|_| Err(Failure::new(format!("hung: not done after {:?}", self.limit))))
        });
        let leak = outcome.and_then(|()| runtime.block_on(baseline()));
        runtime.shutdown_timeout(Duration::from_secs(1));
        leak
    }

    async fn run_inside(self, harness: &Arc<dyn Harness>) -> Check {
        let fixture = Fixture::start(harness, self.tune).await?;
        let outcome = (self.body)(&fixture).await;
        fixture.stop().await;
        outcome
    }
}

/// Everything was closed and dropped: the runtime must be as empty as when it was made.
async fn baseline() -> Check {
    let metrics = tokio::runtime::Handle::current().metrics();
    let until = tokio::time::Instant::now() + QUIET;
    while metrics.num_alive_tasks() > 0 {
        ensure!(
            tokio::time::Instant::now() < until,
            "leaked {} tasks: they still live {QUIET:?} after everything was closed",
            metrics.num_alive_tasks()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
