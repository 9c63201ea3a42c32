// SPDX-License-Identifier: Apache-2.0
//! The section `[transport.stdio]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ID;
use crate::config::{EnvKind, EnvVar, units};
use crate::error::{Error, Phase, Result};
use crate::io::process::{Environment, split_words};
use crate::registry::BuildContext;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(2);
const STDERR_TAIL: usize = 4 << 10;
const MAX_CHILDREN: usize = 64;
const START_RATE: u32 = 5;

/// `env`, which is a list, has no row: the file and code say it.
pub(super) const ENV: &[EnvVar] = &[
    EnvVar::new(
        "BIPLANE_STDIO_START_TIMEOUT",
        "transport.stdio.start_timeout",
        EnvKind::Duration,
        "60s",
        "From the first request to a child to the first message from it. Long, because `npx` may download what it starts.",
    ),
    EnvVar::new(
        "BIPLANE_STDIO_MAX_CHILDREN",
        "transport.stdio.max_children",
        EnvKind::Int { min: 1, max: 10_000 },
        "64",
        "Children of one runtime. One more waits for `BIPLANE_CONNECT_TIMEOUT`, then is refused.",
    ),
    EnvVar::new(
        "",
        "transport.stdio.start_rate",
        EnvKind::Int { min: 1, max: 1_000 },
        "5",
        "Children started per second. One more waits for at most `BIPLANE_CONNECT_TIMEOUT`, then is refused.",
    ),
    EnvVar::new(
        "",
        "transport.stdio.stop_grace",
        EnvKind::Duration,
        "2s",
        "For a child to end by itself once its standard input is closed, and again from SIGTERM to SIGKILL.",
    ),
    EnvVar::new(
        "",
        "transport.stdio.stderr_tail",
        EnvKind::Size,
        "4KiB",
        "Of what a child writes to its standard error, the end that is kept for the error that tells of its own end.",
    ),
    EnvVar::new("", "transport.stdio.cwd", EnvKind::Path, "", "Working directory of children. Unset, ours."),
];

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    env: Entries,
    cwd: Option<PathBuf>,
    #[serde(deserialize_with = "units::deserialize_optional_duration")]
    start_timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_optional_duration")]
    stop_grace: Option<Duration>,
    stderr_tail: Option<usize>,
    max_children: Option<usize>,
    start_rate: Option<u32>,
}

/// A list as a file has it, or words as code says them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entries {
    List(Vec<String>),
    Words(String),
}

impl Default for Entries {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// See [`ENV`] for what each is.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) environment: Environment,
    pub(super) cwd: Option<PathBuf>,
    pub(super) start_timeout: Duration,
    pub(super) stop_grace: Duration,
    pub(super) stderr_tail: usize,
    pub(super) max_children: usize,
    pub(super) start_rate: u32,
    /// How long a start may wait for its turn.
    pub(super) patience: Duration,
}

impl Settings {
    pub(super) fn read(context: &BuildContext) -> Result<Self> {
        let section: Section = context.section(ID)?;
        let malformed = |error: Error| {
            let hint = error.hint().unwrap_or_default().to_owned();
            Error::config(format!("transport.stdio.env: {error}")).with_phase(Phase::Configure).with_hint(hint)
        };
        let entries = match section.env {
            Entries::List(entries) => entries,
            // The text may hold secrets, and the splitter's error would show it.
            Entries::Words(text) => split_words(&text).map_err(|_| {
                Error::config("transport.stdio.env is malformed")
                    .with_hint("quote its entries as for sh, or give a list")
            })?,
        };
        Ok(Self {
            environment: Environment::of(context.environment(), &entries).map_err(malformed)?,
            cwd: section.cwd,
            start_timeout: section.start_timeout.unwrap_or(START_TIMEOUT),
            stop_grace: section.stop_grace.unwrap_or(STOP_GRACE),
            stderr_tail: section.stderr_tail.unwrap_or(STDERR_TAIL),
            max_children: section.max_children.unwrap_or(MAX_CHILDREN),
            start_rate: section.start_rate.unwrap_or(START_RATE),
            patience: context.config().limits.connect_timeout,
        })
    }
}
