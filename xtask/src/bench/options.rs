// SPDX-License-Identifier: Apache-2.0
//! What of the benchmark is wanted.

use std::path::PathBuf;

use super::FLOOR;
use super::programs::Contender;
use crate::Outcome;

pub(super) struct Options {
    pub(super) quick: bool,
    pub(super) rounds: usize,
    /// Of measuring, for each contender, cell and round.
    pub(super) seconds: f64,
    /// Words in the names of contenders or cells.
    only: Vec<String>,
    pub(super) json: Option<PathBuf>,
    pub(super) counts: bool,
    pub(super) instructions: bool,
    pub(super) write_docs: bool,
    /// As it was given, for the document.
    pub(super) command: String,
}

impl Options {
    pub(super) fn read(words: &[&str]) -> Outcome<Self> {
        let quick = words.contains(&"--quick");
        let mut options = Self {
            quick,
            rounds: if quick { 2 } else { 5 },
            seconds: if quick { 0.3 } else { 1.0 },
            only: Vec::new(),
            json: None,
            counts: true,
            instructions: false,
            write_docs: false,
            command: std::iter::once("cargo xtask bench").chain(words.iter().copied()).collect::<Vec<_>>().join(" "),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => {}
                "--rounds" => options.rounds = number(value()?)?,
                "--seconds" => options.seconds = number(value()?)?,
                "--only" => options.only.push((*value()?).to_owned()),
                "--json" => options.json = Some(PathBuf::from(value()?)),
                "--no-counts" => options.counts = false,
                "--instructions" => options.instructions = true,
                "--write-docs" => options.write_docs = true,
                other => return Err(format!("bench knows no {other}; `cargo xtask help` says what it knows")),
            }
        }
        if options.rounds == 0 || options.seconds.is_nan() || options.seconds <= 0.0 {
            return Err("nothing can be measured in no time".to_owned());
        }
        Ok(options)
    }

    /// Leaves out whom no word names; words may also be about cells. The floor is always there.
    pub(super) fn narrow(&self, all: Vec<Contender>) -> Outcome<Vec<Contender>> {
        let is_cell = |word: &str| all.iter().flat_map(|contender| &contender.cells).any(|cell| cell.contains(word));
        let named = |word: &str| all.iter().any(|contender| contender.name.contains(word));
        if let Some(word) = self.only.iter().find(|word| !named(word) && !is_cell(word)) {
            let names: Vec<&str> = all.iter().map(|contender| contender.name.as_str()).collect();
            return Err(format!("nothing is called {word}; there are {}", names.join(", ")));
        }
        let words: Vec<&String> = self.only.iter().filter(|word| named(word)).collect();
        let wanted = |contender: &Contender| {
            contender.name == FLOOR || words.is_empty() || words.iter().any(|word| contender.name.contains(*word))
        };
        Ok(all.into_iter().filter(wanted).collect())
    }

    /// Nothing is left out.
    pub(super) fn is_whole(&self) -> bool {
        self.only.is_empty()
    }

    /// The cells of these contenders that are wanted, those of the first before those that it has not.
    pub(super) fn cells(&self, contenders: &[Contender]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for cell in contenders.iter().flat_map(|contender| &contender.cells) {
            if !all.contains(cell) {
                all.push(cell.clone());
            }
        }
        let words: Vec<&String> =
            self.only.iter().filter(|word| all.iter().any(|cell| cell.contains(word.as_str()))).collect();
        let wanted = |cell: &String| words.is_empty() || words.iter().any(|word| cell.contains(word.as_str()));
        all.into_iter().filter(wanted).collect()
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Outcome<T> {
    word.parse().map_err(|_| format!("{word} is no number that fits there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, cells: &[&str]) -> Contender {
        Contender {
            name: name.to_owned(),
            cells: cells.iter().map(|cell| (*cell).to_owned()).collect(),
            within_process: false,
            ours: true,
            program: PathBuf::new(),
            counting: None,
        }
    }

    #[test]
    fn words_narrow_contenders_and_cells() {
        let all =
            || vec![contender(FLOOR, &["unary-1", "stream"]), contender("tcp+tcp", &["unary-1"]), contender("ws", &[])];
        let names = |words: &[&str]| -> Outcome<(Vec<String>, Vec<String>)> {
            let options = Options::read(words)?;
            let left = options.narrow(all())?;
            let cells = options.cells(&left);
            Ok((left.into_iter().map(|contender| contender.name).collect(), cells))
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&[]), Ok((words(&[FLOOR, "tcp+tcp", "ws"]), words(&["unary-1", "stream"]))));
        assert_eq!(names(&["--only", "tcp", "--only", "unary"]), Ok((words(&[FLOOR, "tcp+tcp"]), words(&["unary-1"]))));
        assert_eq!(names(&["--only", "stream"]), Ok((words(&[FLOOR, "tcp+tcp", "ws"]), words(&["stream"]))));
        assert!(names(&["--only", "nobody"]).is_err_and(|why| why.contains("there are floor, tcp+tcp, ws")));
        assert!(names(&["--rounds", "0"]).is_err());
        assert!(names(&["--rounds"]).is_err());
    }
}
