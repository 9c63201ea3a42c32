// SPDX-License-Identifier: Apache-2.0
//! Why a message was not taken.

use std::borrow::Cow;

/// A message that was not taken; nothing of it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What a carrier makes its status of.
    pub reason: Reason,
    /// For a person.
    pub message: Cow<'static, str>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such session, or not for this principal: the client has to initialize again.
    UnknownSession,
    /// There are as many sessions as there may be: later there may be fewer.
    TooManySessions,
    /// The session has more requests under way, or messages that nobody received, than it may.
    Busy,
    /// The message is not one that can be taken there.
    Misplaced,
    /// The host is closed.
    Closed,
}

impl Refused {
    pub(super) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn unknown() -> Self {
        Self::new(Reason::UnknownSession, "there is no such session here: initialize again, without a session id")
    }

    pub(super) fn busy(message: &'static str) -> Self {
        Self::new(Reason::Busy, message)
    }

    pub(super) fn misplaced(message: &'static str) -> Self {
        Self::new(Reason::Misplaced, message)
    }

    pub(super) fn closed() -> Self {
        Self::new(Reason::Closed, "the server is shutting down")
    }
}
