// SPDX-License-Identifier: Apache-2.0
//! What went wrong, for the person who must act.
//!
//! [`Error`] is one pointer wide. It says what was asked, what was found and what to do next; `Display` is that in one
//! line, `Debug` is a report. [`PeerError`] is data: what a service answered instead of an item. The two are different
//! types because a handler's refusal is part of a protocol and must round-trip unchanged, while an `Error` is local.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::target::TransportId;

#[cfg(test)]
mod tests;

mod tls;

pub use tls::TlsReason;

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, and what may be done about it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    detail: Option<Detail>,
    hint: Option<Cow<'static, str>>,
    retry: Retry,
    phase: Option<Phase>,
    transport: Option<TransportId>,
    target: Option<String>,
    context: Vec<(&'static str, String)>,
    peer: Option<PeerError>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The class of an [`Error`]. One table, [`ErrorKind::error_type`], maps it to the metrics' label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration or an argument is wrong.
    Config,
    /// Nothing registered can do what was asked.
    NoTransport,
    /// No live instance of the service is known.
    NoService,
    /// The implementation does not do this; nothing was sent.
    Unsupported,
    /// A link could not be established.
    Connect,
    /// The link or the peer went away.
    Closed,
    /// A deadline passed.
    Timeout,
    /// The caller or the responder gave up on purpose.
    Cancelled,
    /// A message is larger than a limit.
    TooLarge,
    /// The peer broke the protocol.
    Protocol,
    /// A bounded resource is full; trying later helps.
    Overloaded,
    /// The peer understood and said no.
    Refused,
    /// The service answered an error; see [`Error::peer`].
    Peer,
    /// A bug or an operating-system failure.
    Unexpected,
}

impl ErrorKind {
    /// The value of the label `error_type` of `transport_errors_total`.
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::NoTransport | Self::NoService => "no_route",
            Self::Unsupported => "unsupported",
            Self::Connect | Self::Closed => "connection",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
            Self::Peer => "peer",
            Self::Unexpected => "unexpected",
        }
    }
}

/// The figures behind an error, by the names that the reliability tests use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// A message of `got` bytes against a limit of `limit` bytes.
    TooLarge {
        /// Bytes allowed.
        limit: u64,
        /// Bytes offered.
        got: u64,
    },
    /// A frame that claims `got` bytes against a limit of `limit` bytes.
    FrameTooLarge {
        /// Bytes allowed.
        limit: u64,
        /// Bytes claimed.
        got: u64,
    },
    /// No further link may be opened.
    ConnectionLimit {
        /// Links allowed.
        limit: u64,
    },
    /// The link ended in order, the stream did not.
    Truncated {
        /// Items that had arrived.
        items_seen: u64,
    },
    /// The peer died or reset the link.
    PeerClosed {
        /// Items that had arrived.
        items_seen: u64,
    },
    /// The peer was silent for too long.
    PeerTimeout {
        /// Silence that was borne.
        silent_for: Duration,
    },
    /// A deadline passed.
    DeadlineExceeded {
        /// Items that had arrived.
        items_seen: u64,
    },
    /// The peer speaks another version of the wire.
    UnsupportedVersion {
        /// The peer's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// There is no TLS session.
    Tls {
        /// Why not.
        reason: TlsReason,
    },
    /// The program at the other end has ended.
    ChildExited {
        /// Its status, if it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// Nobody listens on the subject.
    NoResponders,
    /// A registration with this plane and id exists.
    AlreadyRegistered,
    /// The registry was frozen before this was registered.
    AlreadyFrozen,
    /// Bytes that are no frame.
    Malformed,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The request may have been executed.
    Never,
    /// Safe if the link was a reused one: it had died before the request was written.
    IfReused,
    /// The request was not executed.
    Safe,
}

/// Where on its way a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the configuration.
    Configure,
    /// Choosing a transport.
    Select,
    /// Looking for instances.
    Discover,
    /// Dialling.
    Connect,
    /// Listening.
    Listen,
    /// Sending the request.
    Send,
    /// Waiting for the acknowledgement.
    Acknowledge,
    /// Waiting for, or reading, the answer.
    Respond,
}

/// What a service answered instead of an item. JSON-RPC codes pass unchanged.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerError {
    /// The code. `-31099..=-31000` is Biplane's own, see [`PeerError::kind`]; the rest belongs to the service.
    pub code: i64,
    /// For a person.
    pub message: String,
    /// JSON text, byte for byte as it was sent; empty if there is none.
    pub data: Bytes,
}

impl PeerError {
    /// The code of an error that says nothing else: JSON-RPC's *internal error*.
    pub const INTERNAL: i64 = -32603;

    /// An error of the service.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Bytes::new() }
    }

    /// Adds JSON text as data.
    pub fn with_data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// The kind that the code stands for: Biplane's own refusals cross every wire as codes in `-31099..=-31000`.
    pub fn kind(&self) -> ErrorKind {
        let code = if self.is_unstarted() { self.code + UNSTARTED } else { self.code };
        WIRE_CODES.iter().find(|(_, wire)| *wire == code).map_or(ErrorKind::Peer, |(kind, _)| *kind)
    }

    /// Whether it says that the request did not run, so that it may be sent again.
    pub fn is_unstarted(&self) -> bool {
        (-31099..=-31050).contains(&self.code)
    }

    /// The same error of a request that did run. A handler that passes on what it got from elsewhere must not make its own
    /// caller believe that nothing happened.
    pub fn started(mut self) -> Self {
        if self.is_unstarted() {
            self.code += UNSTARTED;
        }
        self
    }
}

/// How far below its usual code an error stands that says that the request did not run.
const UNSTARTED: i64 = 50;

/// How an [`ErrorKind`] travels in a [`PeerError`]. The codes are outside JSON-RPC's reserved range on purpose: a gateway's
/// own errors must not look like the protocol's.
const WIRE_CODES: &[(ErrorKind, i64)] = &[
    (ErrorKind::Unexpected, -31000),
    (ErrorKind::Cancelled, -31001),
    (ErrorKind::Timeout, -31002),
    (ErrorKind::TooLarge, -31003),
    (ErrorKind::Protocol, -31004),
    (ErrorKind::Overloaded, -31005),
    (ErrorKind::Refused, -31006),
    (ErrorKind::Closed, -31007),
    (ErrorKind::Unsupported, -31008),
    (ErrorKind::NoService, -31009),
    (ErrorKind::Connect, -31010),
    (ErrorKind::NoTransport, -31011),
    (ErrorKind::Config, -31012),
];

impl fmt::Debug for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerError({}, {:?}, {} bytes of data)", self.code, self.message, self.data.len())
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl From<&Error> for PeerError {
    /// What the other side is told of a local error.
    fn from(error: &Error) -> Self {
        if let Some(peer) = &error.0.peer {
            return peer.clone();
        }
        let code = WIRE_CODES.iter().find(|(kind, _)| *kind == error.kind()).map(|(_, code)| *code);
        let below = if error.retry() == Retry::Safe { UNSTARTED } else { 0 };
        Self::new(code.map_or(Self::INTERNAL, |code| code - below), error.to_string())
    }
}

impl From<Error> for PeerError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<PeerError> for Error {
    /// A peer's error as seen by the caller: Biplane's own codes become their kinds again.
    fn from(peer: PeerError) -> Self {
        let kind = peer.kind();
        let retry = if peer.is_unstarted() { Retry::Safe } else { Retry::Never };
        let mut error = Self::new(kind, peer.message.clone()).with_retry(retry);
        error.0.peer = Some(peer);
        error
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
            Self::new(ErrorKind::$kind, message)
        })*
    };
}

impl Error {
    /// An error of `kind`; `message` says what was asked and what was found.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            retry: Retry::Never,
            phase: None,
            transport: None,
            target: None,
            context: Vec::new(),
            peer: None,
            source: None,
        }))
    }

    constructors! {
        /// [`ErrorKind::Config`].
        config => Config;
        /// [`ErrorKind::NoTransport`].
        no_transport => NoTransport;
        /// [`ErrorKind::NoService`].
        no_service => NoService;
        /// [`ErrorKind::Unsupported`].
        unsupported => Unsupported;
        /// [`ErrorKind::Connect`].
        connect => Connect;
        /// [`ErrorKind::Closed`].
        closed => Closed;
        /// [`ErrorKind::Timeout`].
        timeout => Timeout;
        /// [`ErrorKind::Cancelled`].
        cancelled => Cancelled;
        /// [`ErrorKind::Protocol`].
        protocol => Protocol;
        /// [`ErrorKind::Overloaded`].
        overloaded => Overloaded;
        /// [`ErrorKind::Refused`].
        refused => Refused;
        /// [`ErrorKind::Unexpected`].
        unexpected => Unexpected;
    }

    /// [`ErrorKind::TooLarge`]: `got` bytes against `limit` bytes; `what` names the message.
    pub fn too_large(what: &str, limit: u64, got: u64) -> Self {
        Self::new(ErrorKind::TooLarge, format!("{what} of {got} bytes is over the limit of {limit} bytes"))
            .with_detail(Detail::TooLarge { limit, got })
    }

    /// The peer went away after `items_seen` items; `orderly` tells a FIN from a reset or a death.
    pub fn peer_closed(items_seen: u64, orderly: bool) -> Self {
        let detail = if orderly { Detail::Truncated { items_seen } } else { Detail::PeerClosed { items_seen } };
        let how = if orderly { "closed the link" } else { "went away" };
        Self::closed(format!("the peer {how} in mid-answer, after {items_seen} items")).with_detail(detail)
    }

    /// The deadline passed after `items_seen` items.
    pub fn deadline(items_seen: u64) -> Self {
        Self::timeout(format!("the deadline passed after {items_seen} items"))
            .with_detail(Detail::DeadlineExceeded { items_seen })
    }

    /// Adds the figures.
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.0.detail = Some(detail);
        self
    }

    /// Adds what to do next, as an imperative clause without a full stop.
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says whether sending again is safe.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Says where the request was. The first answer wins: it was nearest to the fault.
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.0.phase.get_or_insert(phase);
        self
    }

    /// Names the transport. The first answer wins.
    pub fn with_transport(mut self, transport: impl Into<TransportId>) -> Self {
        self.0.transport.get_or_insert_with(|| transport.into());
        self
    }

    /// Names the target; credentials in a URL are taken out. The first answer wins.
    pub fn with_target(mut self, target: impl AsRef<str>) -> Self {
        self.0.target.get_or_insert_with(|| redact(target.as_ref()));
        self
    }

    /// Adds a pair of context for the report.
    pub fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The class.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The figures, if there are any.
    pub fn detail(&self) -> Option<&Detail> {
        self.0.detail.as_ref()
    }

    /// Whether sending again is safe.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Where the request was, if known.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The transport, if known.
    pub fn transport(&self) -> Option<&TransportId> {
        self.0.transport.as_ref()
    }

    /// What to do next, if there is advice.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What the peer answered, if the error is the peer's.
    pub fn peer(&self) -> Option<&PeerError> {
        self.0.peer.as_ref()
    }

    /// Items of the answer that had arrived before it failed.
    pub fn items_seen(&self) -> Option<u64> {
        match self.0.detail {
            Some(
                Detail::Truncated { items_seen }
                | Detail::PeerClosed { items_seen }
                | Detail::DeadlineExceeded { items_seen },
            ) => Some(items_seen),
            _ => None,
        }
    }

    /// The same fault, seen after `items` items of an answer: fills the figure of the details that carry one.
    pub(crate) fn at_item(mut self, items: u64) -> Self {
        let orderly = match self.0.detail {
            Some(Detail::Truncated { .. }) => Some(true),
            Some(Detail::PeerClosed { .. }) => Some(false),
            Some(Detail::DeadlineExceeded { .. }) => None,
            _ => return self,
        };
        let fresh = orderly.map_or_else(|| Self::deadline(items), |orderly| Self::peer_closed(items, orderly));
        self.0.message = fresh.0.message;
        self.0.detail = fresh.0.detail;
        self
    }

    /// A copy for a second victim of the same fault, without the cause.
    pub fn duplicate(&self) -> Self {
        let inner = &*self.0;
        Self(Box::new(Inner {
            kind: inner.kind,
            message: inner.message.clone(),
            detail: inner.detail.clone(),
            hint: inner.hint.clone(),
            retry: inner.retry,
            phase: inner.phase,
            transport: inner.transport.clone(),
            target: inner.target.clone(),
            context: inner.context.clone(),
            peer: inner.peer.clone(),
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(transport) = &inner.transport {
            write!(f, "{transport}")?;
            if let Some(target) = &inner.target {
                write!(f, " {target}")?;
            }
            f.write_str(": ")?;
        } else if let Some(target) = &inner.target {
            write!(f, "{target}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{self}\n  kind: {:?}, retry: {:?}", inner.kind, inner.retry)?;
        if let Some(phase) = inner.phase {
            write!(f, ", phase: {phase:?}")?;
        }
        if let Some(detail) = &inner.detail {
            write!(f, "\n  detail: {detail:?}")?;
        }
        if let Some(peer) = &inner.peer {
            write!(f, "\n  peer: {peer:?}")?;
        }
        for (key, value) in &inner.context {
            write!(f, "\n  {key}: {value}")?;
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Takes `user:password@` out of a URL.
fn redact(target: &str) -> String {
    let Some(start) = target.find("://").map(|at| at + 3) else { return target.to_owned() };
    let end = target[start..].find(['/', '?', '#']).map_or(target.len(), |at| start + at);
    match target[start..end].rfind('@') {
        Some(at) => format!("{}***@{}", &target[..start], &target[start + at + 1..]),
        None => target.to_owned(),
    }
}
