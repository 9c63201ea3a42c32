// SPDX-License-Identifier: Apache-2.0
//! A real nats-server for tests: on a port of its own, ended with the value.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to say that it is ready. Generous: it is the machine's load that decides.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running nats-server. Dropping it ends it.
#[derive(Debug)]
pub struct NatsServer {
    process: Option<Child>,
    /// Its configuration, its ports file and its log.
    directory: tempfile::TempDir,
    address: String,
}

impl NatsServer {
    /// A server with default settings on a free port of the loopback interface.
    ///
    /// `None` if nats-server is not installed: the reason and the remedy are printed, and the test has nothing to do.
    ///
    /// # Panics
    /// If it is not installed and the environment says `CI=true`, or if it does not start.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// As [`start`](Self::start), with settings in the language of nats-server's configuration file.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(settings: &str) -> Option<Self> {
        let program = program()?;
        let started = Self::launch(&program, settings);
        Some(started.unwrap_or_else(|error| panic!("{} did not start: {error}", program.display())))
    }

    /// `nats://host:port`, as in `NATS_SERVER`.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// `host:port`
    pub fn authority(&self) -> &str {
        self.address.trim_start_matches("nats://")
    }

    /// Ends the server; its port is free afterwards.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only if it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the port that it had, with the same settings.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let program = program().unwrap_or_else(|| panic!("nats-server was there a moment ago"));
        let port = self.authority().rsplit(':').next().unwrap_or_default().to_owned();
        let started = run(&program, self.directory.path(), &port);
        let (process, address) = started.unwrap_or_else(|error| panic!("nats-server did not start again: {error}"));
        self.process = Some(process);
        assert_eq!(address, self.address, "the server came back elsewhere");
    }

    fn launch(program: &Path, settings: &str) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("server.conf"), settings)?;
        let (process, address) = run(program, directory.path(), "-1")?;
        Ok(Self { process: Some(process), directory, address })
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where nats-server is. Debian puts it where only an administrator's `PATH` leads.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
    let found = places.map(|place| place.join("nats-server")).find(|program| program.is_file());
    if found.is_none() {
        let missing = "nats-server is not installed; get it with: apt-get install nats-server";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}

/// Starts the server in `directory` on `port` (`-1`: any) and waits until it is ready. Returns where it listens.
fn run(program: &Path, directory: &Path, port: &str) -> io::Result<(Child, String)> {
    let log = std::fs::File::create(directory.join("server.log"))?;
    let mut process = Command::new(program)
        .args(["--addr", "127.0.0.1", "--port", port])
        .arg("--config")
        .arg(directory.join("server.conf"))
        .arg("--ports_file_dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    // Written by the server once it listens, named after its process.
    let ports = directory.join(format!("nats-server_{}.ports", process.id()));
    let started = Instant::now();
    loop {
        if let Some(address) = std::fs::read_to_string(&ports).ok().and_then(|text| client_address(&text)) {
            return Ok((process, address));
        }
        let ended = process.try_wait()?;
        if ended.is_some() || started.elapsed() > START_LIMIT {
            // Fails only if it has ended already.
            let _ = process.kill();
            let _ = process.wait();
            let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
            return Err(io::Error::other(format!("it is not ready ({ended:?}); its log:\n{log}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The first client address of a ports file, which is JSON and is written in one piece.
fn client_address(ports: &str) -> Option<String> {
    let start = ports.find("nats://")?;
    let address = ports.get(start..)?;
    address.get(..address.find('"')?).map(str::to_owned)
}
