// SPDX-License-Identifier: Apache-2.0
//! What people see: results on standard output, everything else on standard error, colours only where somebody looks.

use std::io::{IsTerminal, Write};

use biplane::{Error, Result};

pub(crate) use self::failure::{error_json, is_output_gone, output_gone};
pub(crate) use self::style::Style;
pub(crate) use self::table::{Cell, Table};

mod failure;
mod style;
mod table;

/// The terminal of this process, or what stands in its place.
pub(crate) struct Ui {
    quiet: bool,
    stdout: Face,
    stderr: Face,
}

/// One of the two streams.
#[derive(Clone, Copy)]
struct Face {
    is_terminal: bool,
    paints: bool,
}

impl Face {
    fn of(stream: &impl IsTerminal) -> Self {
        // <https://no-color.org>: set and not empty, whatever it says.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let is_terminal = stream.is_terminal();
        Self { is_terminal, paints: is_terminal && !refused && !is_dumb }
    }
}

impl Ui {
    pub(crate) fn of_this_process(quiet: bool) -> Self {
        Self { quiet, stdout: Face::of(&std::io::stdout()), stderr: Face::of(&std::io::stderr()) }
    }

    /// Whether `--quiet` was given: no progress and no notes.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a line that rewrites itself would be seen as such.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && self.stderr.is_terminal
    }

    /// Whether results may carry colours.
    pub(crate) fn paints_stdout(&self) -> bool {
        self.stdout.paints
    }

    /// Whether notes and logs may carry colours.
    pub(crate) fn paints_stderr(&self) -> bool {
        self.stderr.paints
    }

    /// Writes a result, as it is, and flushes. Fails where standard output is closed.
    pub(crate) fn print(&self, text: impl AsRef<[u8]>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(output_gone)
    }

    /// Writes a result as one line of JSON.
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| Error::unexpected("the result cannot be written as JSON").with_source(error))?;
        line.push(b'\n');
        self.print(line)
    }

    /// Writes a table as a result.
    pub(crate) fn print_table(&self, table: &Table) -> Result<()> {
        self.print(table.render(self.paints_stdout()))
    }

    /// Tells something beside the result, unless `--quiet`.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            // A closed standard error is nothing that can be told.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Tells what went wrong.
    pub(crate) fn error(&self, error: &Error) {
        let head = Style::Bad.paint("error:", self.paints_stderr());
        let _ = writeln!(std::io::stderr().lock(), "{head} {error}");
    }
}
