// SPDX-License-Identifier: Apache-2.0
//! Selection, pure: one function chooses for every plane and says of each candidate why it won or lost.
//!
//! The rules, in this order: the id that the URL insists on, configured ids, the URL's scheme, what the instance offers,
//! whether the two planes have a rendezvous in common, unmet needs; then configured order, priority, id. The outcome
//! depends on nothing but the arguments: not on a clock, the environment or the order in which crates were linked.

use serde::Serialize;

use crate::capability::{Requirements, TransportCapabilities};
use crate::plane::PlaneType;
use crate::registry::TransportRegistration;
use crate::registry::verdict::{Because, Rank, Reason, Verdict};
use crate::target::TransportId;

/// What is asked of the registry. Start from [`Question::new`], which asks for nothing in particular.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Which plane.
    pub plane: PlaneType,
    /// What the transport must be able to do.
    pub needs: Requirements,
    /// The id that the URL names (`acme+https://…`). Nothing else will do, whatever the scheme and the configuration say.
    pub insisted: Option<&'a TransportId>,
    /// What the configuration says.
    pub preference: Preference<'a>,
    /// The URL's scheme in lower case; `None` for a call by name.
    pub scheme: Option<&'a str>,
    /// What the instance publishes; `None` if there is no instance, or its record does not say.
    pub offered: Option<&'a [TransportId]>,
    /// The registration that was chosen for the other plane of the same call.
    pub counterpart: Option<&'a TransportRegistration>,
    /// Transports that answered `Unsupported` to this very call, each with what it said.
    pub declined: &'a [(TransportId, String)],
}

/// How binding the configured ids are.
#[derive(Clone, Copy, Debug, Default)]
pub enum Preference<'a> {
    /// Nothing is configured.
    #[default]
    None,
    /// These first, in this order, then the others.
    First(&'a [TransportId]),
    /// These in this order, and no other.
    Only(&'a [TransportId]),
}

/// What was chosen, and why each other candidate was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// The plane that was asked about.
    pub plane: PlaneType,
    /// The scheme that was asked for.
    pub scheme: Option<String>,
    /// The winner.
    pub chosen: Option<TransportId>,
    /// Every registration of the plane: those that could carry the call, best first, then the others by priority and id.
    pub candidates: Vec<Candidate>,
    /// Ids that were asked for and are not registered on the plane.
    pub unknown: Vec<Unknown>,
}

/// One registration of the plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: TransportId,
    /// The lower number wins.
    pub priority: u16,
    /// `crate@version`
    pub origin: &'static str,
    /// Won or lost, and why.
    pub verdict: Verdict,
}

/// An id that was asked for and is not registered on the plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The id.
    pub id: TransportId,
    /// Who asked for it.
    pub asked_by: AskedBy,
    /// The planes on which it is registered, if there are others.
    pub elsewhere: Vec<PlaneType>,
}

/// Who asked for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedBy {
    /// The URL's prefix.
    Url,
    /// The configuration.
    Configuration,
    /// The instance's record.
    Instance,
}

/// How an answer finds its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meeting {
    /// It comes back on the request's own link.
    Inline,
    /// The responder dials the caller.
    CallHome,
    /// The caller fetches it from the responder.
    Fetch,
}

/// Answers `question` from `registrations`, in whatever order they are.
pub fn select(registrations: &[TransportRegistration], question: &Question<'_>) -> Selection {
    let mut able = Vec::new();
    let mut lost = Vec::new();
    for registration in registrations.iter().filter(|registration| registration.plane() == question.plane) {
        match question.objection(registration) {
            None => able.push(registration),
            Some(reason) => lost.push((registration, reason)),
        }
    }
    able.sort_by_key(|registration| question.rank(registration));
    lost.sort_by_key(|(registration, _)| (registration.priority, registration.transport_id));

    let best = able.first().copied();
    let ranked = able.iter().enumerate().map(|(at, registration)| {
        let verdict = match best {
            Some(best) if at > 0 => Verdict::Lost(question.outranked(registration, best)),
            _ => Verdict::Chosen(question.because(registration, able.len())),
        };
        Candidate::new(registration, verdict)
    });
    let dropped = lost.into_iter().map(|(registration, reason)| Candidate::new(registration, Verdict::Lost(reason)));

    Selection {
        plane: question.plane,
        scheme: question.scheme.map(str::to_owned),
        chosen: best.map(TransportRegistration::id),
        candidates: ranked.chain(dropped).collect(),
        unknown: question.unknown(registrations),
    }
}

/// How the answer finds its caller when these two carry a call; `None` if they have no way in common.
///
/// Inline wins wherever both planes name the same transport and it claims it: no second link, no token.
pub fn meeting(
    (request_id, request): (&str, &TransportCapabilities),
    (response_id, response): (&str, &TransportCapabilities),
) -> Option<Meeting> {
    let inline = request.rendezvous.inline || response.rendezvous.inline;
    if request_id == response_id && inline {
        Some(Meeting::Inline)
    } else if response.rendezvous.call_home {
        Some(Meeting::CallHome)
    } else if response.rendezvous.fetch {
        Some(Meeting::Fetch)
    } else {
        None
    }
}

impl<'a> Question<'a> {
    /// Asks for the best of `plane`, needing nothing.
    pub const fn new(plane: PlaneType) -> Self {
        Self {
            plane,
            needs: Requirements::NONE,
            insisted: None,
            preference: Preference::None,
            scheme: None,
            offered: None,
            counterpart: None,
            declined: &[],
        }
    }

    /// The first rule that `registration` fails.
    fn objection(&self, registration: &TransportRegistration) -> Option<Reason> {
        let id = registration.transport_id;
        if let Some(wanted) = self.insisted {
            if wanted != id {
                return Some(Reason::NotInsisted { wanted: wanted.clone() });
            }
        } else {
            if let Preference::Only(configured) = self.preference
                && !contains(configured, id)
            {
                return Some(Reason::NotConfigured { configured: configured.to_vec() });
            }
            if let Some(scheme) = self.scheme
                && !registration.schemes.contains(&scheme)
            {
                return Some(Reason::OtherScheme { scheme: scheme.to_owned(), serves: registration.schemes });
            }
        }
        if let Some(offered) = self.offered
            && !contains(offered, id)
        {
            return Some(Reason::NotOffered { offered: offered.to_vec() });
        }
        if let Some(other) = self.counterpart
            && !self.meets(registration, other)
        {
            return Some(Reason::NoMeeting { with: other.id() });
        }
        let mismatches = registration.capabilities.check(&self.needs);
        if !mismatches.is_empty() {
            return Some(Reason::Mismatches(mismatches));
        }
        let (_, said) = self.declined.iter().find(|(declined, _)| declined == id)?;
        Some(Reason::Declined(said.clone()))
    }

    fn meets(&self, registration: &TransportRegistration, other: &TransportRegistration) -> bool {
        let (request, response) = match self.plane {
            PlaneType::Request => (registration, other),
            _ => (other, registration),
        };
        meeting((request.transport_id, &request.capabilities), (response.transport_id, &response.capabilities))
            .is_some()
    }

    /// Lower is better.
    fn rank(&self, registration: &TransportRegistration) -> (usize, u16, &'static str) {
        let configured = self.configured_at(registration.transport_id).unwrap_or(usize::MAX);
        (configured, registration.priority, registration.transport_id)
    }

    fn configured_at(&self, id: &str) -> Option<usize> {
        self.configured().iter().position(|configured| configured == id)
    }

    fn configured(&self) -> &'a [TransportId] {
        match self.preference {
            Preference::None => &[],
            Preference::First(ids) | Preference::Only(ids) => ids,
        }
    }

    fn because(&self, winner: &TransportRegistration, able: usize) -> Because {
        if self.insisted.is_some() {
            Because::Insisted
        } else if self.configured_at(winner.transport_id).is_some() {
            Because::Configured
        } else if able == 1 {
            Because::OnlyOne
        } else {
            Because::Priority
        }
    }

    fn outranked(&self, loser: &TransportRegistration, winner: &TransportRegistration) -> Reason {
        let rank = if self.configured_at(winner.transport_id).is_some() {
            match self.configured_at(loser.transport_id) {
                Some(_) => Rank::ConfiguredEarlier,
                None => Rank::Configured,
            }
        } else if loser.priority > winner.priority {
            Rank::Priority { has: loser.priority, best: winner.priority }
        } else {
            Rank::Name
        };
        Reason::Outranked { by: winner.id(), rank }
    }

    fn unknown(&self, registrations: &[TransportRegistration]) -> Vec<Unknown> {
        let asked = (self.insisted.into_iter().map(|id| (id, AskedBy::Url)))
            .chain(self.configured().iter().map(|id| (id, AskedBy::Configuration)))
            .chain(self.offered.unwrap_or_default().iter().map(|id| (id, AskedBy::Instance)));
        let mut unknown: Vec<Unknown> = Vec::new();
        for (id, asked_by) in asked {
            let mut planes: Vec<PlaneType> =
                registrations.iter().filter(|one| id == one.transport_id).map(TransportRegistration::plane).collect();
            if planes.contains(&self.plane) || unknown.iter().any(|known| known.id == *id) {
                continue;
            }
            planes.sort_unstable();
            unknown.push(Unknown { id: id.clone(), asked_by, elsewhere: planes });
        }
        unknown
    }
}

impl Selection {
    /// Those that could carry the call, best first. A caller tries the next one only when the one before it answered
    /// `Unsupported`, which a transport does before any I/O.
    pub fn able(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.verdict.is_able())
    }

    /// Where to turn, in this order, after a *failed* connect: the ids of `fallback` that could carry the call as well.
    /// A response plane never falls back, because its choice is the caller's own.
    pub fn fallbacks<'s>(&'s self, fallback: &'s [TransportId]) -> impl Iterator<Item = &'s TransportId> {
        let permitted = if self.plane == PlaneType::Response { &[] } else { fallback };
        permitted
            .iter()
            .filter(|id| self.chosen.as_ref() != Some(id) && self.able().any(|candidate| candidate.id == **id))
    }
}

impl Candidate {
    fn new(registration: &TransportRegistration, verdict: Verdict) -> Self {
        Self { id: registration.id(), priority: registration.priority, origin: registration.origin, verdict }
    }
}

fn contains(ids: &[TransportId], id: &str) -> bool {
    ids.iter().any(|one| one == id)
}
