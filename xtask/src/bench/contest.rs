// SPDX-License-Identifier: Apache-2.0
//! A server and a driver, and what they say.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::cores::Cores;
use super::json::{number, numbers, text};
use super::options::Options;
use super::programs::Contender;
use super::results::Run;
use crate::{Outcome, tools};

/// How long anything may take that is not measured: starting, warming up, ending.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process with whom one talks by lines. It ends when its input does, and is ended when it does not.
pub(super) struct Talking {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talking {
    pub(super) fn start(mut command: Command) -> Outcome<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("PATH", tools::search_path());
        let mut child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (said, lines) = channel();
        let send = |said: std::sync::mpsc::Sender<String>, output: ChildStdout| {
            BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(said.send(line)));
        };
        let last = said.clone();
        // The end of both is the end of the channel.
        if let Some(output) = output {
            std::thread::spawn(move || send(said, output));
        }
        if let Some(errors) = errors {
            std::thread::spawn(move || {
                BufReader::new(errors)
                    .lines()
                    .map_while(Result::ok)
                    .for_each(|line| drop(last.send(format!("!{line}"))));
            });
        }
        Ok(Self { child, input, lines })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its next line of JSON. What it says otherwise is remembered for an error.
    pub(super) fn line(&mut self, patience: Duration) -> Outcome<String> {
        let deadline = Instant::now() + patience;
        let mut complaint = String::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with('{') => return Ok(line),
                Ok(line) => complaint = line.trim_start_matches('!').to_owned(),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("it said nothing for {} s", patience.as_secs()));
                }
                Err(_) if complaint.is_empty() => return Err("it ended without a word".to_owned()),
                Err(_) => return Err(complaint),
            }
        }
    }

    /// Sends an empty line: the next thing, please.
    pub(super) fn nudge(&mut self) -> Outcome {
        let input = self.input.as_mut().ok_or("it is not listening")?;
        input.write_all(b"\n").and_then(|()| input.flush()).map_err(|error| error.to_string())
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        self.input = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A contender at work in a cell: the server, where it is a process of its own, and the driver.
pub(super) struct Contest {
    pub(super) server: Option<Talking>,
    pub(super) driver: Talking,
    /// All whose work counts, the driver apart.
    pub(super) processes: Vec<u32>,
    _spinning: Vec<Talking>,
}

impl Contest {
    /// Starts both, and what the cell's cores do meanwhile.
    pub(super) fn start(program: &Path, contender: &Contender, cell: &str, words: &[String]) -> Outcome<Self> {
        let (cell, cores) = Cores::of(cell);
        let spinning = cores.spin(program)?;
        let mut drive = cores.command(program);
        drive.args(["drive", &contender.name, cell]).args(words);
        let (mut server, mut processes) = (None, Vec::new());
        if !contender.within_process {
            let mut serve = cores.command(program);
            serve.args(["serve", &contender.name]);
            let mut talking = Talking::start(serve)?;
            let line = talking.line(PATIENCE).map_err(|why| format!("its server: {why}"))?;
            let address = text(&line, "address").ok_or_else(|| format!("its server said {line}"))?;
            processes = numbers(&line, "processes");
            for id in &processes {
                drive.args(["--watch", &id.to_string()]);
            }
            drive.args(["--address", &address]);
            server = Some(talking);
        }
        Ok(Self { server, driver: Talking::start(drive)?, processes, _spinning: spinning })
    }
}

/// One run of one cell.
pub(super) fn drive(contender: &Contender, cell: &str, options: &Options) -> Outcome<Run> {
    let words = ["--seconds".to_owned(), options.seconds.to_string()];
    let mut contest = Contest::start(&contender.program, contender, cell, &words)?;
    let line = contest.driver.line(PATIENCE + Duration::from_secs_f64(options.seconds))?;
    let figure = |name| number(&line, name).ok_or_else(|| format!("its driver said {line}"));
    Ok(Run {
        cpu_us: figure("cpu_us_per_request")?,
        rate: figure("requests_per_second")?,
        p50_us: figure("p50_us")?,
        p99_us: figure("p99_us")?,
    })
}
