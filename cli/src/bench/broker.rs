// SPDX-License-Identifier: Apache-2.0
//! A NATS server for the time of a run.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use biplane::config::Source;
use biplane::{Biplane, Error, Phase, Result};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const PROGRAM: &str = "nats-server";

/// Where the plugin looks when nobody names a server.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4222);

/// To start and say where.
const PATIENCE: Duration = Duration::from_secs(10);

/// To end.
const GRACE: Duration = Duration::from_secs(2);

/// Starts what its arguments say and ends it when standard input ends, so that the server cannot outlive this process,
/// however that one ends.
const WARDEN: &str = r#""$@" & cat >/dev/null; kill $!; wait"#;

/// A server on a port of loopback that it chose itself. Drop ends it.
pub(super) struct Broker {
    warden: Child,
    url: String,
}

impl Broker {
    /// Whether a server is configured, or one runs where it usually does.
    pub(super) async fn is_provided(biplane: &Biplane) -> bool {
        let is_set = |setting: &biplane::config::Setting| {
            setting.path == "transport.nats.server" && setting.source != Source::Default
        };
        biplane.settings().iter().any(is_set)
            || matches!(timeout(Duration::from_millis(500), TcpStream::connect(USUAL)).await, Ok(Ok(_)))
    }

    /// Starts one; its files go to `directory`.
    pub(super) async fn start(directory: &Path) -> Result<Self> {
        let program = find().ok_or_else(|| {
            Error::connect(format!(
                "the plane `nats` needs a NATS server: none is at {USUAL}, and there is no {PROGRAM} to start"
            ))
            .with_phase(Phase::Configure)
            .with_hint(format!("set NATS_SERVER, or install one: apt-get install {PROGRAM}"))
        })?;
        let failed = |error| Error::unexpected(format!("cannot start {}", program.display())).with_source(error);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WARDEN, "sh"]).arg(&program);
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"]).arg(directory);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C is for this process, which ends the server when nobody needs it any more.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut broker = Self { warden: command.spawn().map_err(failed)?, url: String::new() };
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(url) = url_in(directory) {
                broker.url = url;
                return Ok(broker);
            }
            if Instant::now() >= until {
                return Err(Error::timeout(format!("{} did not say its port", program.display()))
                    .with_hint("start one yourself and set NATS_SERVER"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let until = Instant::now() + GRACE;
        while let Ok(None) = self.warden.try_wait() {
            if Instant::now() >= until {
                let _ = self.warden.kill();
                let _ = self.warden.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// In the file `nats-server_<pid>.ports`, which the server writes once it listens.
fn url_in(directory: &Path) -> Option<String> {
    let mut entries = std::fs::read_dir(directory).ok()?.flatten();
    let file = entries.find(|entry| entry.path().extension().is_some_and(|extension| extension == "ports"))?;
    let ports: HashMap<String, Vec<String>> = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    ports.get("nats")?.first().cloned()
}

/// Debian puts servers where only an administrator's `PATH` leads.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|place| place.join(PROGRAM)).find(|program| program.is_file())
}
