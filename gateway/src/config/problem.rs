// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a configuration: all of it at once, each with its place and what to do.

use biplane::{Error, Phase, Result};

/// More than these are counted, not listed.
const LISTED: usize = 50;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    /// `place` is a file with line and column and the key, or a flag; `what` says what was expected.
    pub(super) fn add(&mut self, place: &str, what: &str) {
        self.0.push(format!("{place}: {what}"));
    }

    pub(super) fn into_result(self) -> Result<()> {
        let error = match self.0.as_slice() {
            [] => return Ok(()),
            [only] => Error::config(only.clone()),
            several => {
                let mut text = format!("{} problems in the configuration:", several.len());
                for problem in several.iter().take(LISTED) {
                    text.push_str("\n  ");
                    text.push_str(problem);
                }
                if let Some(more) = several.len().checked_sub(LISTED).filter(|more| *more > 0) {
                    text.push_str(&format!("\n  and {more} more"));
                }
                Error::config(text)
            }
        };
        Err(error.with_phase(Phase::Configure))
    }
}

/// The candidate that `text` was probably meant to be.
pub(super) fn near<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time quadratic in the length, and nobody mistypes this much.
    if text.len() > 64 {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let bound = (text.chars().count() / 3).clamp(1, 3);
    let distances = candidates.into_iter().map(|known| (strsim::damerau_levenshtein(&text, known), known));
    distances.filter(|(distance, _)| *distance <= bound).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}
