// SPDX-License-Identifier: Apache-2.0
//! What was counted when somebody last looked and was content.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::callgrind::Count;

/// Where it is recorded, from the root of the workspace.
pub(crate) const PLACE: &str = "benches/exact/baseline.json";

/// How much more or less is no difference: a socket's readiness comes a little sooner or later.
const SLACK: f64 = 0.05;
/// Instructions that are no difference either, where there are few.
const FEW: f64 = 3.0;
/// A part of an allocation: what grows now and then, spread over all operations. One that every operation makes is more.
const PART: f64 = 0.1;
/// Of many allocations: whether two sides meet in one turn of the scheduler or in two decides about one of twenty.
const PART_OF_MANY: f64 = 0.1;

#[derive(Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// Another one makes other code.
    compiler: String,
    cases: BTreeMap<String, Count>,
    #[serde(skip)]
    recorded_by: Option<String>,
}

/// How a case stands to the baseline.
pub(crate) enum Verdict {
    Same,
    New,
    Better(String),
    Worse(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => Ok(()),
            Self::New => f.write_str("new"),
            Self::Better(by) => write!(f, "better: {by}"),
            Self::Worse(by) => write!(f, "WORSE: {by}"),
        }
    }
}

impl Baseline {
    /// The recorded one; an empty one if there is none yet.
    pub(crate) fn read() -> Outcome<Self> {
        let compiler = compiler()?;
        let Ok(text) = std::fs::read_to_string(place()) else {
            return Ok(Self { compiler, cases: BTreeMap::new(), recorded_by: None });
        };
        let mut recorded: Self = serde_json::from_str(&text).map_err(|error| format!("{PLACE}: {error}"))?;
        if recorded.compiler != compiler {
            recorded.recorded_by = Some(std::mem::replace(&mut recorded.compiler, compiler));
        }
        Ok(recorded)
    }

    /// The compiler of the baseline, if it is not the one of this program.
    pub(crate) fn other_compiler(&self) -> Option<&str> {
        self.recorded_by.as_deref()
    }

    pub(crate) fn judge(&self, name: &str, count: &Count) -> Verdict {
        let Some(before) = self.cases.get(name) else { return Verdict::New };
        let (was, is) = (before.instructions, count.instructions);
        let differs = (is - was).abs() > (was * SLACK).max(FEW);
        let instructions = || format!("{was:.0} instructions before, {:+.1} %", (is / was - 1.0) * 100.0);
        let part = PART.max(before.allocations * PART_OF_MANY);
        if count.allocations > before.allocations + part {
            return Verdict::Worse(format!("{:.2} allocations before", before.allocations));
        }
        match is > was {
            true if differs => Verdict::Worse(instructions()),
            false if differs => Verdict::Better(instructions()),
            _ if count.allocations < before.allocations - part => {
                Verdict::Better(format!("{:.2} allocations before", before.allocations))
            }
            _ => Verdict::Same,
        }
    }

    pub(crate) fn set(&mut self, name: &str, count: Count) {
        self.cases.insert(name.to_owned(), count);
    }

    pub(crate) fn write(&self) -> Outcome {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        std::fs::write(place(), text + "\n").map_err(|error| format!("{PLACE}: {error}"))
    }
}

fn place() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"))
}

/// As it names itself. The one on the path: this program is built and run by the same chore.
fn compiler() -> Outcome<String> {
    let said = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
