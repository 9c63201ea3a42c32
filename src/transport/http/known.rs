// SPDX-License-Identifier: Apache-2.0
//! What was found out about the servers behind URLs: one probe serves all later connections, until one of them fails in a
//! way that it cannot explain.

use std::collections::HashMap;
use std::fmt;

use parking_lot::{Mutex, MutexGuard};

/// URLs that are remembered.
const MAX_KNOWN: usize = 1024;

/// What a server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Streamable HTTP; requests describe themselves, in one of these revisions.
    Modern(Vec<String>),
    /// Streamable HTTP with sessions.
    Legacy,
    /// The transport of 2024-11-05: a stream of events, and another URL to post to.
    TwoEndpoints,
}

/// A finding, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) speaks: Speaks,
    /// For people.
    pub(super) because: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.speaks {
            Speaks::Modern(versions) if versions.is_empty() => f.write_str("Streamable HTTP, modern era")?,
            Speaks::Modern(versions) => write!(f, "Streamable HTTP, modern era ({})", versions.join(", "))?,
            Speaks::Legacy => f.write_str("Streamable HTTP, legacy era")?,
            Speaks::TwoEndpoints => f.write_str("HTTP with SSE of 2024-11-05, legacy era")?,
        }
        write!(f, ": {}", self.because)
    }
}

/// Findings by URL. One per runtime.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Finding>>);

impl Known {
    pub(super) fn get(&self, url: &str) -> Option<Finding> {
        self.map().get(url).cloned()
    }

    pub(super) fn remember(&self, url: &str, finding: Finding) {
        let mut map = self.map();
        if map.len() >= MAX_KNOWN {
            map.clear();
        }
        map.insert(url.to_owned(), finding);
    }

    /// The next connection finds out again.
    pub(super) fn forget(&self, url: &str) {
        self.map().remove(url);
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, Finding>> {
        self.0.lock()
    }
}
