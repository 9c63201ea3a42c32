// SPDX-License-Identifier: Apache-2.0
//! What the hot paths cost, counted and not timed: instructions of this program, allocations, readings of the clock and
//! system calls, per operation. Callgrind counts, so a busy machine changes little, and a change of five per cent is one.
//!
//! ```text
//! biplane-exact                   counts every case and compares with the baseline
//! biplane-exact --write           the same, and records what it counted as the new baseline
//! biplane-exact --only WORD       cases with this in their name
//! biplane-exact --keep FOLDER     leaves callgrind's files there, for callgrind_annotate
//! biplane-exact run CASE          one case, in this process: what callgrind looks at
//! biplane-exact prepare CASE      the same without the operations that count
//! ```

mod baseline;
mod callgrind;
mod cases;

use std::path::PathBuf;
use std::process::ExitCode;

use baseline::{Baseline, Verdict};
use callgrind::Count;

/// How often a figure that is worse is counted anew before it is believed.
const COUNTED_AGAIN: usize = 2;

/// What a program ends with: a sentence for the person who must act.
type Outcome<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["run", name] => cases::run(name).map(|nanoseconds| println!("{nanoseconds:.1}")),
        ["prepare", name] => cases::prepare(name).map(|()| println!("0.0")),
        options => Options::read(options).and_then(|options| count(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("biplane-exact: {why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    write: bool,
    only: Option<String>,
    keep: Option<PathBuf>,
}

impl Options {
    fn read(words: &[&str]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--write" => options.write = true,
                "--only" => options.only = Some((*value()?).to_owned()),
                "--keep" => options.keep = Some(PathBuf::from(value()?)),
                other => return Err(format!("knows no {other}; it knows --write, --only WORD, --keep FOLDER")),
            }
        }
        Ok(options)
    }
}

fn count(options: &Options) -> Outcome {
    let names = cases::names().filter(|name| options.only.as_ref().is_none_or(|word| name.contains(word)));
    let mut baseline = Baseline::read()?;
    let mut faults = Vec::new();
    println!("{}", Count::HEAD);
    for name in names {
        let (count, verdict) = judged(name, options, &baseline)?;
        println!("{}  {verdict}", count.line(name));
        if let Verdict::Worse(_) | Verdict::Better(_) = verdict {
            faults.push(name);
        }
        baseline.set(name, count);
    }
    if options.write {
        return baseline.write();
    }
    match (faults.is_empty(), baseline.other_compiler()) {
        (true, _) => Ok(()),
        (false, Some(other)) => {
            println!(
                "the baseline is of {other}, so that differences are no fault of the code; record one with --write"
            );
            Ok(())
        }
        (false, None) => Err(format!(
            "{} differ from {}; if that is meant: cargo xtask bench-exact --write",
            faults.join(", "),
            baseline::PLACE
        )),
    }
}

/// Counts a case, and anew if it looks worse: where there are two sides, a busy machine makes them meet in more turns
/// of the scheduler, never in fewer. The least counts.
fn judged(name: &str, options: &Options, baseline: &Baseline) -> Outcome<(Count, Verdict)> {
    let mut count = callgrind::count(name, options.keep.as_deref())?;
    for _ in 0..COUNTED_AGAIN {
        if !matches!(baseline.judge(name, &count), Verdict::Worse(_)) {
            break;
        }
        let again = callgrind::count(name, options.keep.as_deref())?;
        if again.instructions < count.instructions {
            count = again;
        }
    }
    let verdict = baseline.judge(name, &count);
    Ok((count, verdict))
}
