// SPDX-License-Identifier: Apache-2.0
//! Why a candidate won or lost, as data and as the words for a person.

use std::fmt;

use crate::capability::Mismatch;
use crate::target::TransportId;

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It carries the call.
    Chosen(Because),
    /// Another does, or none.
    Lost(Reason),
}

/// Why the winner won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The URL insists on it.
    Insisted,
    /// The configuration names it.
    Configured,
    /// No other could carry the call.
    OnlyOne,
    /// It comes first by priority, then by name.
    Priority,
}

/// Why a candidate lost: the first rule that it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The URL insists on another.
    NotInsisted {
        /// On which.
        wanted: TransportId,
    },
    /// The configuration permits only others.
    NotConfigured {
        /// Which.
        configured: Vec<TransportId>,
    },
    /// It does not serve the URL's scheme.
    OtherScheme {
        /// The URL's.
        scheme: String,
        /// Those that it serves.
        serves: &'static [&'static str],
    },
    /// The instance is not reached by it, or cannot answer by it.
    NotOffered {
        /// What the instance publishes.
        offered: Vec<TransportId>,
    },
    /// Its answers and the other plane's requests, or the reverse, have no rendezvous in common.
    NoMeeting {
        /// The transport of the other plane.
        with: TransportId,
    },
    /// It does not claim what is needed.
    Mismatches(Vec<Mismatch>),
    /// It answered `Unsupported` to this call.
    Declined(String),
    /// It could carry the call, another comes first.
    Outranked {
        /// The winner.
        by: TransportId,
        /// By what.
        rank: Rank,
    },
}

/// What put the winner first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The winner is configured, the loser is not.
    Configured,
    /// Both are configured, the winner earlier.
    ConfiguredEarlier,
    /// The winner's priority number is lower.
    Priority {
        /// The loser's.
        has: u16,
        /// The winner's.
        best: u16,
    },
    /// The numbers are equal and the winner's id comes first.
    Name,
}

impl Verdict {
    /// Whether the candidate could carry the call, chosen or not.
    pub const fn is_able(&self) -> bool {
        matches!(self, Self::Chosen(_) | Self::Lost(Reason::Outranked { .. }))
    }

    /// Whether it was chosen.
    pub const fn is_chosen(&self) -> bool {
        matches!(self, Self::Chosen(_))
    }

    /// One stable word for programs, the `reason` of the JSON form.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Chosen(Because::Insisted) => "insisted",
            Self::Chosen(Because::Configured) => "configured",
            Self::Chosen(Because::OnlyOne) => "only_one",
            Self::Chosen(Because::Priority) => "priority",
            Self::Lost(reason) => match reason {
                Reason::NotInsisted { .. } => "not_insisted",
                Reason::NotConfigured { .. } => "not_configured",
                Reason::OtherScheme { .. } => "other_scheme",
                Reason::NotOffered { .. } => "not_offered",
                Reason::NoMeeting { .. } => "no_rendezvous",
                Reason::Mismatches(_) => "mismatch",
                Reason::Declined(_) => "unsupported",
                Reason::Outranked { .. } => "outranked",
            },
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(because) => because.fmt(f),
            Self::Lost(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insisted => "the URL insists on it",
            Self::Configured => "the first configured that can",
            Self::OnlyOne => "no other can",
            Self::Priority => "the lowest priority number of those that can",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInsisted { wanted } => write!(f, "the URL insists on {wanted}"),
            Self::NotConfigured { configured } => write!(f, "not among those configured ({})", list(configured)),
            Self::OtherScheme { scheme, serves: [] } => write!(f, "serves no URL, so not {scheme}:"),
            Self::OtherScheme { scheme, serves } => write!(f, "serves {}, not {scheme}:", list(serves)),
            Self::NotOffered { offered } => write!(f, "the instance offers {}", list(offered)),
            Self::NoMeeting { with } => write!(f, "no rendezvous in common with {with}"),
            Self::Mismatches(mismatches) => {
                for (at, mismatch) in mismatches.iter().enumerate() {
                    write!(f, "{}{mismatch}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Declined(said) => write!(f, "declined: {said}"),
            Self::Outranked { by, rank: Rank::Configured } => write!(f, "could, but {by} is configured"),
            Self::Outranked { by, rank: Rank::ConfiguredEarlier } => {
                write!(f, "could, but {by} is configured before it")
            }
            Self::Outranked { by, rank: Rank::Priority { has, best } } => {
                write!(f, "could, but its priority {has} comes after {best} of {by}")
            }
            Self::Outranked { by, rank: Rank::Name } => write!(f, "could, but {by} comes first by name"),
        }
    }
}

/// `a, b, c`, or `nothing`.
pub(super) fn list(items: &[impl fmt::Display]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
