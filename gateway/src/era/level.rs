// SPDX-License-Identifier: Apache-2.0
//! Severities of log messages (RFC 5424, section 6.2.1).

use biplane::proto::json;
use bytes::Bytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

const NAMES: [(&str, Level); 8] = [
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("notice", Level::Notice),
    ("warning", Level::Warning),
    ("error", Level::Error),
    ("critical", Level::Critical),
    ("alert", Level::Alert),
    ("emergency", Level::Emergency),
];

impl Level {
    /// The level that a raw JSON string names.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        let text = json::text(raw)?;
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, level)| *level)
    }

    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, level)| *level == self).map_or("info", |(name, _)| name)
    }

    /// Whether the log message with `params` is at least this severe. One of no known severity is.
    pub(super) fn admits(self, params: &Bytes) -> bool {
        json::get(params, &["level"]).and_then(|raw| Self::read(&raw)).is_none_or(|level| level >= self)
    }
}
