// SPDX-License-Identifier: Apache-2.0
//! A selection told to a person, as a table or as an error, and to a program, as JSON.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, Phase, Result};
use crate::registry::select::{AskedBy, Candidate, Meeting, Selection, Unknown};
use crate::registry::unknown::{noun, unknown_id, unknown_scheme};
use crate::registry::verdict::{Reason, Verdict};
use crate::target::TransportId;

/// Who would carry a call, and why each other candidate would not. `Display` is a table, `Serialize` the same for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The URL or the name that was asked about, without credentials.
    pub asked: String,
    /// One selection for each plane.
    pub planes: Vec<Selection>,
    /// How the answer finds its caller, where request and answer travel apart.
    pub answer: Option<Meeting>,
    /// What else bears on the call: instances, fallbacks.
    pub notes: Vec<Note>,
}

/// A line below the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// A word.
    pub name: &'static str,
    /// A sentence.
    pub text: String,
}

impl Explanation {
    /// About `asked`, which must be free of credentials, as [`Target`](crate::Target) prints itself.
    pub fn new(asked: impl fmt::Display) -> Self {
        Self { asked: asked.to_string(), planes: Vec::new(), answer: None, notes: Vec::new() }
    }

    /// Adds the selection of one plane.
    pub fn with(mut self, selection: Selection) -> Self {
        self.planes.push(selection);
        self
    }

    /// Puts `selection` in the place of the one of its plane.
    pub fn replacing(mut self, selection: Selection) -> Self {
        match self.planes.iter_mut().find(|known| known.plane == selection.plane) {
            Some(known) => *known = selection,
            None => self.planes.push(selection),
        }
        self
    }

    /// Says how the answer finds its caller.
    pub fn with_answer(mut self, meeting: Option<Meeting>) -> Self {
        self.answer = meeting;
        self
    }

    /// Adds a line.
    pub fn with_note(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.notes.push(Note { name, text: text.into() });
        self
    }

    /// Whether every plane found somebody.
    pub fn is_complete(&self) -> bool {
        self.planes.iter().all(|selection| selection.chosen.is_some())
    }
}

impl Selection {
    /// The winner, or an error that says of each candidate why it lost.
    pub fn require(&self) -> Result<TransportId> {
        self.chosen.clone().ok_or_else(|| self.error())
    }

    fn error(&self) -> Error {
        let ids: Vec<&str> = self.candidates.iter().map(|candidate| candidate.id.as_str()).collect();
        // What an instance offers and we lack is no fault of the caller's, so it is told below, as a reason.
        if let Some(unknown) = self.unknown.iter().find(|unknown| unknown.asked_by != AskedBy::Instance) {
            return unknown_id(self.plane, unknown.id.as_str(), &ids, &unknown.elsewhere);
        }
        if let Some(scheme) = &self.scheme
            && let Some(schemes) = self.candidates.iter().map(schemes_if_other).collect::<Option<Vec<_>>>()
        {
            return unknown_scheme(self.plane, scheme, &schemes);
        }
        let because: Vec<String> =
            self.candidates.iter().map(|candidate| format!("{} ({})", candidate.id, candidate.verdict)).collect();
        let missing: String = self.unknown.iter().map(|unknown| format!("; {unknown}")).collect();
        let noun = noun(self.plane);
        let message = if because.is_empty() {
            format!("no {noun} is registered{missing}")
        } else {
            format!("no {noun} can carry this: {}{missing}", because.join(", "))
        };
        Error::no_transport(message)
            .with_phase(Phase::Select)
            .with_hint("`biplane transports` lists what is registered; a plugin is linked by `use its_crate as _;`")
    }
}

/// The schemes of a candidate that lost for its schemes.
fn schemes_if_other(candidate: &Candidate) -> Option<(&str, &[&str])> {
    match &candidate.verdict {
        Verdict::Lost(Reason::OtherScheme { serves, .. }) => Some((candidate.id.as_str(), *serves)),
        _ => None,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.asked)?;
        for selection in &self.planes {
            write!(f, "\n{selection}")?;
        }
        if self.answer.is_some() || !self.notes.is_empty() {
            writeln!(f)?;
        }
        if let Some(meeting) = self.answer {
            writeln!(f, "answer: {meeting}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{}: {}", note.name, note.text))
    }
}

impl fmt::Display for Selection {
    /// A heading, a table of the candidates, and what was asked for in vain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = self.chosen.as_ref().map_or("nobody", TransportId::as_str);
        writeln!(f, "{}: {chosen}", self.plane)?;
        let rows: Vec<[String; 5]> = self.candidates.iter().map(Candidate::row).collect();
        table(f, ["TRANSPORT", "PRIORITY", "VERDICT", "WHY", "ORIGIN"], &rows)?;
        self.unknown.iter().try_for_each(|unknown| writeln!(f, "  {unknown}"))
    }
}

impl Candidate {
    fn row(&self) -> [String; 5] {
        [
            self.id.to_string(),
            self.priority.to_string(),
            outcome(&self.verdict).to_owned(),
            self.verdict.to_string(),
            self.origin.to_owned(),
        ]
    }
}

fn outcome(verdict: &Verdict) -> &'static str {
    if verdict.is_chosen() { "chosen" } else { "lost" }
}

/// Columns as wide as their widest cell, two spaces apart, nothing after the last.
fn table<const N: usize>(f: &mut fmt::Formatter<'_>, head: [&str; N], rows: &[[String; N]]) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(f, "  nothing is registered");
    }
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(head).chain(rows.iter().map(|row| row.each_ref().map(String::as_str))) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(f, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.asked_by {
            AskedBy::Url => "the URL insists on it",
            AskedBy::Configuration => "it is configured",
            AskedBy::Instance => "the instance offers it",
        };
        write!(f, "{} is not registered here ({who})", self.id)?;
        match self.elsewhere.as_slice() {
            [] => Ok(()),
            planes => write!(f, ", only as: {}", super::verdict::list(planes)),
        }
    }
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "inline, on the request's own link",
            Self::CallHome => "call-home, the responder dials the caller",
            Self::Fetch => "fetch, the caller gets it from the responder",
        })
    }
}

impl Serialize for Candidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            id: &'a TransportId,
            priority: u16,
            origin: &'a str,
            verdict: &'static str,
            reason: &'static str,
            why: String,
        }
        Row {
            id: &self.id,
            priority: self.priority,
            origin: self.origin,
            verdict: outcome(&self.verdict),
            reason: self.verdict.code(),
            why: self.verdict.to_string(),
        }
        .serialize(serializer)
    }
}
