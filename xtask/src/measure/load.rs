// SPDX-License-Identifier: Apache-2.0
//! Runs of the load generator.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::usage::Process;
use crate::Outcome;

/// What calls in a closed loop came to.
#[derive(Clone, Copy, Default)]
pub(super) struct Calls {
    pub(super) rate: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Of the process that was watched, for each call.
    pub(super) cpu_us: f64,
}

/// A load generator at work.
pub(super) struct Load {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Load {
    pub(super) fn start(program: &Path, words: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let output = child.stdout.take().ok_or("the load generator has no output")?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    pub(super) fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() { Err("the load generator gave up".to_owned()) } else { Ok(line.trim().to_owned()) }
    }

    /// Lets go of what it holds, and waits for its end.
    pub(super) fn finish(mut self) -> Outcome<String> {
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let line = self.line();
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { line } else { Err(format!("the load generator ended with {status}")) }
    }
}

/// Runs it to its end, and gives its last word.
pub(super) fn whole(program: &Path, words: &[&str]) -> Outcome<String> {
    Load::start(program, words)?.finish()
}

/// Calls through `url`, with an eye on what `watched` takes for them.
pub(super) fn calls(
    program: &Path,
    url: &str,
    sessions: usize,
    tool: &str,
    time: Duration,
    watched: Process,
) -> Outcome<Calls> {
    let (sessions, time) = (sessions.to_string(), time.as_secs().to_string());
    let mut load = Load::start(program, &["calls", url, "--sessions", &sessions, "--seconds", &time, "--tool", tool])?;
    load.line()?;
    let before = watched.processor();
    let line = load.line()?;
    let took = watched.processor().saturating_sub(before);
    load.finish()?;
    let calls = read(&line)?;
    let cpu_us = took.as_secs_f64() * 1e6 / value(&line, "calls")?;
    Ok(Calls { cpu_us, ..calls })
}

/// The same call with nothing between, one at a time.
pub(super) fn direct(program: &Path, server: &[&str], time: Duration) -> Outcome<Calls> {
    let time = time.as_secs().to_string();
    read(&whole(program, &[&["direct", "--seconds", &time], server].concat())?)
}

fn read(line: &str) -> Outcome<Calls> {
    let value = |name| value(line, name);
    Ok(Calls { rate: value("rate")?, p50_us: value("p50_us")?, p99_us: value("p99_us")?, cpu_us: 0.0 })
}

fn value(line: &str, name: &str) -> Outcome<f64> {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {name} in {line:?}"))
}
