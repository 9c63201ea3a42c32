// SPDX-License-Identifier: Apache-2.0
//! What is counted: system calls, allocations and, if somebody has the time, instructions. In runs of their own, because
//! counting costs what is being measured.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::contest::{Contest, Talking};
use super::folder;
use super::json::number;
use super::options::Options;
use super::programs::Contender;
use super::results::Counts;
use crate::Outcome;
use crate::process::output;

const PATIENCE: Duration = Duration::from_secs(120);

/// Requests that are counted: many batches of what is in flight.
fn requests(cell: &str, quick: bool) -> u64 {
    let requests = if cell.starts_with("unary") { 20_000 } else { 1_000 };
    if quick { requests / 4 } else { requests }
}

/// Counts for one contender in one cell.
pub(super) fn count(contender: &Contender, cell: &str, options: &Options) -> Outcome<Counts> {
    let program = contender.counting.as_ref().unwrap_or(&contender.program);
    let requests = requests(cell, options.quick);
    let words = ["--wait".to_owned(), "--requests".to_owned(), requests.to_string()];
    let mut contest = Contest::start(program, contender, cell, &words)?;
    contest.driver.line(PATIENCE)?;
    let calls = Calls::watch(contest.processes.iter().copied().chain([contest.driver.id()]));
    let before = asked(contest.server.as_mut())?;
    contest.driver.nudge()?;
    let own = contest.driver.line(PATIENCE)?;
    let after = asked(contest.server.as_mut())?;
    let syscalls = calls.and_then(Calls::end);
    let each = |name: &str| {
        let server = match (&before, &after) {
            (Some(before), Some(after)) => number(after, name)? - number(before, name)?,
            _ => 0.0,
        };
        Some((number(&own, name)? + server) / requests as f64)
    };
    Ok(Counts {
        syscalls: syscalls.map(|calls| calls / requests as f64),
        allocations: each("allocations"),
        allocated: each("allocated"),
        instructions: if options.instructions { instructions(contender, cell).ok() } else { None },
    })
}

/// What a server has used so far.
fn asked(server: Option<&mut Talking>) -> Outcome<Option<String>> {
    let Some(server) = server else { return Ok(None) };
    server.nudge()?;
    server.line(PATIENCE).map(Some)
}

/// The kernel's count of system calls, by `perf`.
struct Calls(Child);

const EVENT: &str = "raw_syscalls:sys_enter";

impl Calls {
    fn watch(processes: impl Iterator<Item = u32>) -> Option<Self> {
        let processes: Vec<String> = processes.map(|id| id.to_string()).collect();
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", EVENT, "-p", &processes.join(",")]).env("LC_ALL", "C");
        perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = perf.spawn().ok()?;
        // It does not say when it has begun.
        std::thread::sleep(Duration::from_millis(300));
        matches!(child.try_wait(), Ok(None)).then_some(Self(child))
    }

    fn end(self) -> Option<f64> {
        let asked = Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).status();
        asked.ok()?;
        let said = self.0.wait_with_output().ok()?;
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        said.lines().find(|line| line.contains(EVENT))?.split(',').next()?.parse().ok()
    }
}

/// What cannot be counted on this machine, and how it could.
pub(super) fn missing() -> Vec<String> {
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x", ",", "-e", EVENT, "true"]);
    let works = output(perf, Duration::from_secs(10)).is_ok_and(|said| {
        said.lines().any(|line| line.contains(EVENT) && line.starts_with(|first: char| first.is_ascii_digit()))
    });
    if works {
        return Vec::new();
    }
    vec![format!(
        "system calls are not counted: `perf stat -e {EVENT}` must be there and be allowed (as root, or with kernel.perf_event_paranoid at -1)"
    )]
}

/// Instructions in user space, by callgrind: the difference of two runs, so that starting and warming up drop out.
fn instructions(contender: &Contender, cell: &str) -> Outcome<f64> {
    let requests = requests(cell, true);
    let whole = |requests: u64| -> Outcome<f64> {
        let files = ["server", "driver"].map(|side| folder().join(format!("callgrind.{side}")));
        let [server, driver] = &files;
        files.iter().for_each(|file| drop(std::fs::remove_file(file)));
        watched(contender, cell, requests, server, driver)?;
        files.iter().filter(|file| file.exists()).map(|file| total(file)).sum()
    };
    Ok((whole(2 * requests)? - whole(requests)?) / requests as f64)
}

fn watched(contender: &Contender, cell: &str, requests: u64, server: &Path, driver: &Path) -> Outcome {
    let valgrind = |file: &Path| {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", file.display()));
        command.arg(&contender.program);
        command
    };
    let mut drive = valgrind(driver);
    drive.args(["drive", &contender.name, cell, "--requests", &requests.to_string()]);
    let mut serving = None;
    if !contender.within_process {
        let mut serve = valgrind(server);
        serve.args(["serve", &contender.name]);
        let mut talking = Talking::start(serve)?;
        let line = talking.line(PATIENCE)?;
        drive.args(["--address", &super::json::text(&line, "address").ok_or(line)?]);
        serving = Some(talking);
    }
    let mut driving = Talking::start(drive)?;
    driving.line(PATIENCE)?;
    drop(driving);
    drop(serving);
    Ok(())
}

fn total(file: &Path) -> Outcome<f64> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| format!("{} has no total", file.display()))
}
