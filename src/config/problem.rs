// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a configuration, all of it, for the person who wrote it.

use std::fmt;

use crate::config::keys::Path;
use crate::error::{Error, Phase};

/// More than these are counted, not listed: the first ones are enough to see what happened.
const LISTED: usize = 50;

/// Characters of a value that a message repeats.
const QUOTED: usize = 64;

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    /// The variable, or the file and the key.
    pub(super) place: String,
    /// What was found, already quoted or redacted; `None` if there is no value to show.
    pub(super) found: Option<String>,
    /// What is wrong with it, and what to write instead.
    pub(super) refusal: Refusal,
}

/// Why a value is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// A clause that follows "expected".
    pub(super) expected: String,
    /// What to do, as an imperative clause or a question.
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn expected(what: impl Into<String>) -> Self {
        Self { expected: what.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds "did you mean …?" if a candidate is near.
    pub(super) fn or_near<'a>(self, text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match near(text, candidates) {
            Some(candidate) => self.hint(format!("did you mean `{candidate}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(found) = &self.found {
            write!(f, " is {found}")?;
        }
        write!(f, ": expected {}", self.refusal.expected)?;
        match &self.refusal.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// All problems of all layers.
#[derive(Debug, Default)]
pub(super) struct Problems {
    all: Vec<Problem>,
    spoiled: Vec<Path>,
}

impl Problems {
    pub(super) fn add(&mut self, place: impl Into<String>, found: Option<String>, refusal: Refusal) {
        self.all.push(Problem { place: place.into(), found, refusal });
    }

    /// Remembers that the value of a key was refused.
    pub(super) fn spoil(&mut self, path: &[String]) {
        self.spoiled.push(path.to_vec());
    }

    pub(super) fn spoiled(&self, path: &[String]) -> bool {
        self.spoiled.iter().any(|spoiled| spoiled == path)
    }

    /// Whether a further problem is counted only, so that looking for advice would be in vain.
    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= LISTED
    }

    /// `Ok` if there are none. One problem is one line; several are a line each, below a line that counts them, because
    /// an operator works through them as a list.
    pub(super) fn into_result(self) -> Result<(), Error> {
        let error = match self.all.as_slice() {
            [] => return Ok(()),
            [only] => Error::config(only.to_string()),
            several => {
                let mut text = format!("{} problems in the configuration:", several.len());
                for problem in several.iter().take(LISTED) {
                    text.push_str("\n  ");
                    text.push_str(&problem.to_string());
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

/// A value in quotes, control characters escaped, cut to what a line can carry.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
        None => format!("{text:?}"),
    }
}

/// `text` without what may be credentials of a URL: all between the scheme and the last `@`, be it one URL or a list.
pub(super) fn conceal(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://***@{host}"),
        None if before.contains(':') => format!("***@{host}"),
        None => text.to_owned(),
    }
}

/// The candidate that `text` was probably meant to be.
pub(super) fn near<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time quadratic in the length, and nobody mistypes this much.
    if text.len() > QUOTED {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let bound = (text.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&text, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_finds_slips_and_nothing_else() {
        let names = ["http", "tcp", "nats"];
        for (text, expected) in
            [("htp", Some("http")), ("HTPT", Some("http")), ("nast", Some("nats")), ("quic", None), ("", None)]
        {
            assert_eq!(near(text, names), expected, "{text}");
        }
        assert_eq!(near(&"x".repeat(10 << 20), names), None);
    }

    #[test]
    fn a_huge_value_makes_a_short_message() {
        let quoted = quote(&"é\n".repeat(5 << 20));
        assert!(quoted.len() < 300 && quoted.contains("15728640 bytes"), "{quoted}");
    }

    #[test]
    fn credentials_are_concealed() {
        for (text, shown) in [
            ("nats://bob:pa@ss@h:4222/x", "nats://***@h:4222/x"),
            ("nats://a:b@h,nats://c:d@i", "nats://***@i"),
            ("bob:s3cret@h", "***@h"),
            ("/a@b", "/a@b"),
            ("plain", "plain"),
        ] {
            assert_eq!(conceal(text), shown);
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let mut problems = Problems::default();
        for _ in 0..10_000 {
            problems.add("X", None, Refusal::expected("nothing"));
        }
        let text = problems.into_result().unwrap_err().to_string();
        assert_eq!(text.lines().count(), LISTED + 2);
        assert!(text.ends_with("and 9950 more"), "{text}");
    }
}
