// SPDX-License-Identifier: Apache-2.0
//! Who sent a message, as far as a listener knows.

use std::fmt;
use std::sync::Arc;

/// The header of an inbound [`Message`](crate::Message) that names who sent it. Only listeners set it; one that comes from
/// outside is taken off.
pub const PRINCIPAL: &str = "biplane-principal";

/// Who authenticated: the name that a token or certificate was given in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The principal of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
