// SPDX-License-Identifier: Apache-2.0
//! What the tests of the program share: a store of their own, workers that end with the test, calls that cannot hang it.

// Each test binary uses its part of this.
#![allow(dead_code, unreachable_pub)]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing in a test takes this long, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A host of its own: a store, and variables that every process gets beside no others of ours.
pub struct World {
    store: TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl World {
    /// Every plane on a port that the system chooses.
    pub fn new() -> Self {
        let world = Self { store: tempfile::tempdir().unwrap(), variables: Vec::new() };
        let store = world.store.path().as_os_str().to_owned();
        let ports = ["DYN_TCP_REQUEST_PORT", "DYN_HTTP_RPC_PORT", "DYN_HTTP_RESPONSE_PORT"];
        ports.into_iter().fold(world.with("DYN_FILE_KV", store), |world, port| world.with(port, "0"))
    }

    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// A directory that goes with the test.
    pub fn directory(&self) -> &Path {
        self.store.path()
    }

    /// The program with `arguments`. The test's own environment has no say in what it does.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        // Another build of the program may be tried, an optimised one for instance.
        let other = std::env::var_os("BIPLANE_TEST_PROGRAM");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_biplane").into()));
        let ours = |name: &OsStr| {
            let name = name.to_string_lossy();
            ["DYN_", "BIPLANE_", "NATS_", "MCP_"].iter().any(|prefix| name.starts_with(prefix)) || name == "RUST_LOG"
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    /// Starts `biplane serve` and waits until it serves.
    pub fn serve(&self, arguments: &[&str]) -> Worker {
        self.serve_with(arguments, &[])
    }

    pub fn serve_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Worker {
        let arguments = ["serve"].iter().chain(arguments);
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        let worker = Worker(Running::start(command));
        worker.0.wait_for("\n  try ");
        worker
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.start_with(arguments, variables).finish()
    }

    /// Starts the program.
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Running::start(command)
    }

    /// What `services --json` says.
    pub fn services(&self) -> Vec<Value> {
        let listed = self.run(&["services", "--json"]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        serde_json::from_str(&listed.out).unwrap()
    }
}

/// A process whose output is read while it runs. Killed with the value.
pub struct Running {
    child: Child,
    out: Text,
    err: Text,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let (out, err) = (Text::of(child.stdout.take().unwrap()), Text::of(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard error has `text`.
    pub fn wait_for(&self, text: &str) {
        self.err.wait_for(text);
    }

    /// Waits until standard output has `text`.
    pub fn wait_for_output(&self, text: &str) {
        self.out.wait_for(text);
    }

    /// What stands between `before` and `after` in what it said.
    pub fn said(&self, before: &str, after: &str) -> String {
        let said = self.err.so_far();
        let (_, rest) = said.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {said}"));
        rest.split(after).next().unwrap().to_owned()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ended {
        let status = wait(&mut self.child, || format!("out: {}\nerr: {}", self.out.so_far(), self.err.so_far()));
        Ended { code: status.code(), out: self.out.to_the_end(), err: self.err.to_the_end() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What it has started leads groups of its own, and nobody else would end those.
        let children = children_of(self.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for child in children {
            // That it has ended by itself is as good.
            let kill = ["-s", "KILL", "--", &format!("-{child}")];
            let _ = Command::new("kill").args(kill).stderr(Stdio::null()).status();
        }
    }
}

/// A running `biplane serve`.
pub struct Worker(pub Running);

impl Worker {
    /// The instance id that it says it has.
    pub fn instance(&self) -> u64 {
        self.said("(instance ", ",").parse().unwrap()
    }

    /// The address of `plane` that it says it has.
    pub fn address(&self, plane: &str) -> String {
        self.said(&format!("\n  {plane} "), "\n").trim().to_owned()
    }

    /// Ends it as nothing can be caught, and then what it has started.
    pub fn kill_9(self) {
        drop(self);
    }

    fn said(&self, before: &str, after: &str) -> String {
        self.0.said(before, after)
    }
}

/// The processes whose parent is `process`.
pub fn children_of(process: u32) -> Vec<u32> {
    processes().filter(|(_, parent)| *parent == process).map(|(id, _)| id).collect()
}

/// Id and parent of all processes, from `/proc/*/stat`.
fn processes() -> impl Iterator<Item = (u32, u32)> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((id, parent))
    })
}

/// Whether some process was started with exactly this in its arguments.
pub fn is_running(argument: &str) -> bool {
    processes().any(|(id, _)| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|one| one == argument.as_bytes())
    })
}

/// Waits until `holds`.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait(child: &mut Child, said: impl Fn() -> String) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("hangs; {}", said());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a pipe has given so far.
#[derive(Clone)]
struct Text(Arc<Mutex<(String, bool)>>);

impl Text {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text = Self(Arc::default());
        let writer = text.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                writer.0.lock().unwrap().0.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
            writer.0.lock().unwrap().1 = true;
        });
        text
    }

    fn so_far(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }

    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        loop {
            let (said, has_ended) = self.0.lock().unwrap().clone();
            if said.contains(text) {
                return;
            }
            assert!(!has_ended && start.elapsed() < PATIENCE, "waited for {text:?}, got: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn to_the_end(&self) -> String {
        eventually("the pipe ends", || self.0.lock().unwrap().1);
        self.so_far()
    }
}
