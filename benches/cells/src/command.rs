// SPDX-License-Identifier: Apache-2.0
//! The command line, by hand: a program with many dependencies needs not one more.

use std::time::Duration;

use crate::{Cell, Outcome};

pub(crate) const USAGE: &str = "\
usage: PROGRAM list
       PROGRAM serve NAME [--threads N]
       PROGRAM drive NAME CELL [--address A] [--requests N | --seconds S] [--watch PID]… [--wait] [--threads N]
       PROGRAM awake    spins until its standard input ends, for `chrt --idle 0`

  --address A   where `serve` said that it is; without it, the driver serves itself
  --requests N  how many are measured (default: as many as take 2 seconds)
  --watch PID   adds what these processes use; once for each
  --wait        says {\"ready\":true} after warming up, and goes on at a line on its standard input
  --threads N   a runtime of N threads rather than the current one";

/// What was asked for.
pub(crate) enum Command {
    List,
    Awake,
    Serve(String),
    Drive(Drive),
}

/// The arguments of `drive`.
pub(crate) struct Drive {
    pub(crate) name: String,
    pub(crate) cell: &'static Cell,
    pub(crate) address: Option<String>,
    pub(crate) amount: Amount,
    pub(crate) watch: Vec<u32>,
    pub(crate) wait: bool,
}

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    Requests(u64),
    Time(Duration),
}

/// The command, and how many threads its runtime is to have besides the current one.
pub(crate) fn read(words: impl Iterator<Item = String>) -> Outcome<(Command, usize)> {
    let (mut plain, mut threads) = (Vec::new(), 0);
    let (mut address, mut watch, mut wait) = (None, Vec::new(), false);
    let mut amount = Amount::Time(Duration::from_secs(2));
    let mut words = words;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--address" => address = Some(value()?),
            "--requests" => amount = Amount::Requests(value()?.parse()?),
            "--seconds" => amount = Amount::Time(Duration::try_from_secs_f64(value()?.parse()?)?),
            "--watch" => watch.push(value()?.parse()?),
            "--threads" => threads = value()?.parse()?,
            "--wait" => wait = true,
            flag if flag.starts_with('-') => return Err(format!("{flag} is unknown\n{USAGE}").into()),
            _ => plain.push(word),
        }
    }
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let command = match plain.as_slice() {
        ["list"] => Command::List,
        ["awake"] => Command::Awake,
        ["serve", name] => Command::Serve((*name).to_owned()),
        ["drive", name, cell] => {
            let cell = Cell::named(cell).ok_or_else(|| format!("there is no cell {cell}"))?;
            Command::Drive(Drive { name: (*name).to_owned(), cell, address, amount, watch, wait })
        }
        _ => return Err(USAGE.into()),
    };
    Ok((command, threads))
}
