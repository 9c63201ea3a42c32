// SPDX-License-Identifier: Apache-2.0
//! Registration and selection of transports.
//!
//! A [`Builder`] collects [`TransportRegistration`]s and freezes them into a [`TransportRegistry`], which is first asked
//! *who could* ([`select`](TransportRegistry::select), without a runtime: configuration is checked against it) and then,
//! [bound](TransportRegistry::bind) to a runtime, for the implementations themselves. No read takes a lock.

mod builder;
mod explain;
mod registration;
mod select;
mod source;
#[cfg(test)]
mod transport_registry;
mod unknown;
mod verdict;

use std::fmt;
use std::sync::{Arc, OnceLock};

#[doc(hidden)]
pub use inventory;

pub use self::builder::Builder;
pub use self::explain::{Explanation, Note};
pub use self::registration::{BuildContext, Collected, Factory, TransportRegistration};
pub use self::select::{AskedBy, Candidate, Meeting, Preference, Question, Selection, Unknown, meeting, select};
pub use self::source::{Implementation, Made};
pub use self::verdict::{Because, Rank, Reason, Verdict};
use crate::capability::Requirements;
use crate::connection::Transport;
use crate::discovery::Discovery;
use crate::error::{Error, ErrorKind, Phase, Result, Retry};
use crate::plane::{PlaneType, RequestPlane, RequestPlaneClient, RequestPlaneServer, ResponsePlane, ResponsePlanes};
use crate::registry::source::Source;
use crate::target::TransportId;

/// The transports of a program, frozen: ordered by plane, priority and id, whatever order they were linked in.
///
/// Cheap to clone. A clone shares what the original has made; [`bind`](Self::bind) starts afresh.
#[derive(Clone)]
pub struct TransportRegistry {
    frozen: Arc<Frozen>,
    bound: Option<Arc<Bound>>,
}

struct Frozen {
    registrations: Box<[TransportRegistration]>,
    /// One for each registration.
    sources: Box<[Source]>,
}

struct Bound {
    context: BuildContext,
    /// One for each registration. A failure is kept too: a factory does no I/O, so asking again would not help.
    made: Box<[OnceLock<Result<Made>>]>,
}

impl TransportRegistry {
    /// An empty builder: not even the built-in transports are in it before [`collected`](Builder::collected).
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn freeze(mut entries: Vec<(TransportRegistration, Source)>) -> Self {
        entries
            .sort_by_key(|(registration, _)| (registration.plane(), registration.priority, registration.transport_id));
        let (registrations, sources): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        Self { frozen: Arc::new(Frozen { registrations: registrations.into(), sources: sources.into() }), bound: None }
    }

    /// The same registrations for one runtime. What its factories make is made on first use, once, and is its own; ready
    /// instances are shared by all runtimes.
    pub fn bind(&self, context: BuildContext) -> Self {
        let made = self.frozen.registrations.iter().map(|_| OnceLock::new()).collect();
        Self { frozen: self.frozen.clone(), bound: Some(Arc::new(Bound { context, made })) }
    }

    /// All registrations, ordered by plane, priority and id.
    pub fn registrations(&self) -> &[TransportRegistration] {
        &self.frozen.registrations
    }

    /// Whether any plane has `id`. What [`Target::parse`](crate::Target::parse) asks for.
    pub fn is_registered(&self, id: &str) -> bool {
        self.registrations().iter().any(|registration| registration.transport_id == id)
    }

    /// The registrations that serve URLs of `scheme`, ordered by plane, priority and id.
    pub fn with_scheme(&self, scheme: &str) -> impl Iterator<Item = &TransportRegistration> {
        self.registrations().iter().filter(move |registration| registration.schemes.contains(&scheme))
    }

    /// The ids of a plane, by priority.
    pub fn list_transports(&self, plane: PlaneType) -> Vec<TransportId> {
        self.of(plane).map(TransportRegistration::id).collect()
    }

    /// The registration of `id` for `plane`. [`NoTransport`](ErrorKind::NoTransport) lists what is registered and names
    /// the nearest.
    pub fn registration(&self, plane: PlaneType, id: &TransportId) -> Result<&TransportRegistration> {
        self.of(plane).find(|registration| id == registration.transport_id).ok_or_else(|| self.unknown(plane, id))
    }

    /// Answers a question in full: the winner, and why each other candidate lost.
    pub fn select(&self, question: &Question<'_>) -> Selection {
        select(self.registrations(), question)
    }

    /// The best transport of a plane that meets `requirements`, by priority and id.
    /// [`NoTransport`](ErrorKind::NoTransport) says of each one what it lacks.
    pub fn select_transport(&self, plane: PlaneType, requirements: &Requirements) -> Result<TransportId> {
        self.select(&Question { needs: *requirements, ..Question::new(plane) }).require()
    }

    /// Every transport of a plane against `requirements`: those that meet them, best first, then the others.
    pub fn candidates(&self, plane: PlaneType, requirements: &Requirements) -> Vec<Candidate> {
        self.select(&Question { needs: *requirements, ..Question::new(plane) }).candidates
    }

    /// The transport that makes connections for `id`.
    pub fn get_transport(&self, id: &TransportId) -> Result<Arc<dyn Transport>> {
        match self.made(PlaneType::Connection, id)? {
            Made::Connection(transport) => Ok(transport.clone()),
            _ => Err(misplaced(id)),
        }
    }

    /// Both ends of the request plane `id`.
    pub fn get_request_plane(&self, id: &TransportId) -> Result<&RequestPlane> {
        match self.made(PlaneType::Request, id)? {
            Made::Request(plane) => Ok(plane),
            _ => Err(misplaced(id)),
        }
    }

    /// The caller's end of the request plane `id`.
    pub fn get_request_client(&self, id: &TransportId) -> Result<Arc<dyn RequestPlaneClient>> {
        Ok(self.get_request_plane(id)?.client.clone())
    }

    /// The responder's end of the request plane `id`.
    pub fn get_request_server(&self, id: &TransportId) -> Result<Arc<dyn RequestPlaneServer>> {
        Ok(self.get_request_plane(id)?.server.clone())
    }

    /// The response plane `id`, both ends.
    pub fn get_response_client(&self, id: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        match self.made(PlaneType::Response, id)? {
            Made::Response(plane) => Ok(plane.clone()),
            _ => Err(misplaced(id)),
        }
    }

    /// The discovery backend `id`.
    pub fn get_discovery(&self, id: &TransportId) -> Result<Arc<dyn Discovery>> {
        match self.made(PlaneType::Discovery, id)? {
            Made::Discovery(discovery) => Ok(discovery.clone()),
            _ => Err(misplaced(id)),
        }
    }

    /// What this runtime has made so far, so that it can be closed: nothing is made in order to be closed.
    pub fn live(&self) -> impl Iterator<Item = (&TransportRegistration, &Made)> {
        let made = self.bound.iter().flat_map(|bound| &bound.made);
        self.registrations().iter().zip(made).filter_map(|(registration, cell)| match cell.get() {
            Some(Ok(made)) => Some((registration, made)),
            _ => None,
        })
    }

    fn of(&self, plane: PlaneType) -> impl Iterator<Item = &TransportRegistration> {
        self.registrations().iter().filter(move |registration| registration.plane() == plane)
    }

    /// A scan: a few dozen registrations at the most, and callers keep what they get.
    fn made(&self, plane: PlaneType, id: &TransportId) -> Result<&Made> {
        let here =
            |registration: &TransportRegistration| registration.plane() == plane && id == registration.transport_id;
        let at = self.registrations().iter().position(here).ok_or_else(|| self.unknown(plane, id))?;
        match (self.frozen.sources.get(at), &self.bound) {
            (Some(Source::Ready(made)), _) => Ok(made),
            (Some(Source::Make(make)), Some(bound)) => {
                let cell = bound.made.get(at).ok_or_else(|| misplaced(id))?;
                cell.get_or_init(|| make(&bound.context)).as_ref().map_err(|error| unmade(plane, id, error))
            }
            _ => Err(Error::config(format!(
                "the {} `{id}` is made by a factory, and this registry belongs to no runtime",
                unknown::noun(plane)
            ))
            .with_hint("bind() it to one")),
        }
    }

    fn unknown(&self, plane: PlaneType, id: &TransportId) -> Error {
        let known: Vec<&str> = self.of(plane).map(|registration| registration.transport_id).collect();
        let elsewhere: Vec<PlaneType> = self
            .registrations()
            .iter()
            .filter(|registration| id == registration.transport_id)
            .map(TransportRegistration::plane)
            .collect();
        unknown::unknown_id(plane, id.as_str(), &known, &elsewhere)
    }
}

impl ResponsePlanes for TransportRegistry {
    /// The plane that a peer's reply-to names. What is not there is the peer's request refused, before anything ran.
    fn response_plane(&self, transport: &TransportId) -> Result<Arc<dyn ResponsePlane>> {
        self.get_response_client(transport).map_err(|error| match error.kind() {
            ErrorKind::NoTransport => {
                Error::refused("the responder cannot answer there").with_source(error).with_retry(Retry::Safe)
            }
            _ => error.with_retry(Retry::Safe),
        })
    }
}

impl fmt::Debug for TransportRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.registrations().iter().map(|one| format!("{} {}", one.plane(), one.transport_id));
        f.debug_list().entries(ids).finish()
    }
}

/// A second victim of a factory's failure gets the same words.
fn unmade(plane: PlaneType, id: &TransportId, error: &Error) -> Error {
    Error::new(error.kind(), format!("the {} `{id}` cannot be made: {error}", unknown::noun(plane)))
        .with_phase(Phase::Configure)
}

/// The builder checks that every registration is implemented for its plane, so nobody sees this.
fn misplaced(id: &TransportId) -> Error {
    Error::unexpected(format!("`{id}` is implemented for another plane than it is registered for"))
}
