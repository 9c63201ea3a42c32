// SPDX-License-Identifier: Apache-2.0
//! The upstreams of one merged server, and what is remembered of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use biplane::proto::json;
use biplane::{Error, Message, PeerError, Request, Result, Subject};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::merge::catalog::Catalogs;
use crate::merge::kind::Kind;
use crate::merge::naming::{Naming, marked, prefixed, unprefixed};
use crate::merge::part::Part;
use crate::view::{Era, View};

/// Subscriptions of one session that are remembered, to be made again with an upstream that was started anew.
const MAX_SUBSCRIPTIONS: usize = 1024;

/// How long the others' answers wait for one. Lists and the like are made from memory by most servers.
const PATIENCE: Duration = Duration::from_secs(10);

/// JSON-RPC's *method not found*.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC's *invalid params*: also what an unknown tool, and in the modern era an unknown resource, is answered with.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// An unknown resource in the legacy era.
const RESOURCE_NOT_FOUND: i64 = -32002;

/// What everything in this module works on.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) era: Era,
    pub(crate) naming: Naming,
    pub(crate) parts: Vec<Part>,
    pub(crate) catalogs: Catalogs,
    standing: Mutex<Standing>,
    has_told_of_clash: AtomicBool,
}

/// What a legacy client asked for once and holds from then on.
#[derive(Debug, Default)]
struct Standing {
    /// The params of the last `logging/setLevel`.
    level: Option<Message>,
    /// Upstream, its own URI, and the params of the request.
    subscriptions: Vec<(usize, String, Message)>,
}

impl Group {
    pub(crate) fn new(era: Era, naming: Naming, parts: Vec<Part>) -> Self {
        Self {
            era,
            naming,
            parts,
            catalogs: Catalogs::default(),
            standing: Mutex::default(),
            has_told_of_clash: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self, part: usize) -> &str {
        self.parts.get(part).map_or("", |part| &part.name)
    }

    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.parts.iter().position(|part| &*part.name == name)
    }

    /// The view of an upstream, or why there is none.
    pub(crate) fn view(&self, part: usize) -> Result<View> {
        self.parts.get(part).map_or_else(|| Err(Error::unexpected("no such upstream")), Part::view)
    }

    /// The view of an upstream that claims `capability`; `Ok(None)` if it claims it not.
    pub(crate) fn view_with(&self, part: usize, capability: &str) -> Result<Option<View>> {
        let view = self.view(part)?;
        Ok(json::get(&view.facts.capabilities, &[capability]).is_some().then_some(view))
    }

    pub(crate) fn is_prefixed(&self, part: usize) -> bool {
        self.parts.get(part).is_some_and(|part| part.naming.unwrap_or(self.naming) == Naming::Prefixed)
    }

    /// Waits for one of several no longer than [`PATIENCE`], so that one that hangs does not keep the others' answers back.
    pub(crate) async fn patiently<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        if self.parts.len() == 1 {
            return answer.await;
        }
        let late = |_| Error::timeout(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Remembers what `part` has listed, where that is ever asked for.
    pub(crate) fn learn(&self, kind: Kind, part: usize, names: &[String], is_complete: bool) {
        let is_needed = match kind {
            Kind::Tools | Kind::Prompts => !self.is_prefixed(part),
            Kind::Resources | Kind::Templates => true,
            Kind::Tasks => false,
        };
        if is_needed && self.parts.len() > 1 {
            self.catalogs.learn(kind, part, names, is_complete);
        }
    }

    /// Whether `part` lets its own `name` be seen.
    pub(crate) fn allows(&self, kind: Kind, part: usize, name: &str) -> bool {
        kind != Kind::Tools || self.parts.get(part).is_some_and(|part| part.filter.allows(name))
    }

    /// The name under which `part`'s own `name` is published. For plain names it takes the lists of the parts before.
    pub(crate) fn published(&self, kind: Kind, part: usize, name: &str) -> Option<String> {
        if kind.is_named() {
            if self.is_prefixed(part) {
                return Some(prefixed(self.name(part), name));
            }
            let looks_prefixed =
                (0..self.parts.len()).any(|at| self.is_prefixed(at) && unprefixed(self.name(at), name).is_some());
            if looks_prefixed || self.is_taken(kind, part, name) {
                self.tell_of_clash(kind, part, name);
                return Some(prefixed(self.name(part), name));
            }
            return None;
        }
        let is_uri = matches!(kind, Kind::Resources | Kind::Templates);
        if is_uri && self.is_taken(kind, part, name) {
            self.tell_of_clash(kind, part, name);
            return Some(marked(self.name(part), name));
        }
        None
    }

    /// Whether an earlier part has listed the same under the same name. One that is down keeps what it had: a call that was
    /// meant for it must not reach another server's tool.
    fn is_taken(&self, kind: Kind, part: usize, name: &str) -> bool {
        let rival = |at: &usize| !kind.is_named() || !self.is_prefixed(*at);
        let mut earlier = (0..part).filter(rival);
        earlier.any(|at| self.catalogs.knows(kind, at, name) && self.allows(kind, at, name))
    }

    fn tell_of_clash(&self, kind: Kind, part: usize, name: &str) {
        if !self.has_told_of_clash.swap(true, Ordering::Relaxed) {
            let upstream = self.name(part);
            tracing::warn!(
                upstream,
                name,
                list = kind.list(),
                "two upstreams list the same name; the first one has it"
            );
        }
    }

    /// Remembers the log level.
    pub(crate) fn set_level(&self, params: &Message) {
        self.standing().level = Some(params.clone());
    }

    /// Remembers a subscription; `false` if there are too many to remember.
    pub(crate) fn subscribe(&self, part: usize, uri: &str, params: &Message) {
        let subscriptions = &mut self.standing().subscriptions;
        subscriptions.retain(|(at, known, _)| (*at, known.as_str()) != (part, uri));
        if subscriptions.len() < MAX_SUBSCRIPTIONS {
            subscriptions.push((part, uri.to_owned(), params.clone()));
        }
    }

    /// Forgets a subscription.
    pub(crate) fn unsubscribe(&self, part: usize, uri: &str) {
        self.standing().subscriptions.retain(|(at, known, _)| (*at, known.as_str()) != (part, uri));
    }

    /// What is to be said again to an upstream that was started anew.
    pub(crate) fn replay(&self, part: usize) -> Vec<Request> {
        let standing = self.standing();
        let level = standing.level.iter().map(|level| (Subject::from_static("logging/setLevel"), level));
        let subscriptions = standing.subscriptions.iter().filter(|(at, ..)| *at == part);
        let subscriptions = subscriptions.map(|(.., params)| (Subject::from_static("resources/subscribe"), params));
        level.chain(subscriptions).map(|(subject, params)| Request::new(subject, params.clone())).collect()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock()
    }
}

/// Whether the answer leaves it open that another upstream has what was asked for.
pub(crate) fn is_not_found(error: &Error) -> bool {
    let code = error.peer().map(|peer| peer.code);
    matches!(code, Some(METHOD_NOT_FOUND | INVALID_PARAMS | RESOURCE_NOT_FOUND))
}

pub(crate) fn method_not_found(method: &str) -> Error {
    Error::from(PeerError::new(METHOD_NOT_FOUND, format!("no upstream has the method {method}")))
}

/// The same request with other params.
pub(crate) fn with_body(request: &Request, body: Bytes) -> Request {
    let message = Message { headers: request.message.headers.clone(), body };
    Request::new(request.subject.clone(), message).with_context(request.context.clone())
}

/// The text of the string at `path` in the params.
pub(crate) fn param(request: &Request, path: &[&str]) -> Option<String> {
    Some(json::text(&json::get(&request.message.body, path)?)?.into_owned())
}
