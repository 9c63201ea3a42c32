// SPDX-License-Identifier: Apache-2.0
//! The two that are measured: our gateway, and the best of the others.

use std::path::Path;
use std::process::Command;

use super::usage::Process;
use crate::process::{Server, free_port};
use crate::{Outcome, peers};

/// A bridge at work in front of a fixture of its own.
pub(super) struct Bridge {
    pub(super) url: String,
    /// The name that it gives the tool `echo`.
    pub(super) tool: &'static str,
    server: Server,
}

impl Bridge {
    pub(super) fn ours(program: &Path, fixture: &Path) -> Outcome<Self> {
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}/mcp");
        let upstream = format!("stdio:{} --stdio", fixture.display());
        let mut command = unlimited(program);
        command.args(["gateway", "--listen", &url, "--upstream", &upstream]);
        command.env("DYN_FILE_KV", peers::folder().join("measure"));
        Self::start(command, port, "ours", url, "echo")
    }

    pub(super) fn theirs(program: &Path, fixture: &Path) -> Outcome<Self> {
        let port = free_port()?;
        let config = peers::folder().join("measure").join("proxy.toml");
        let text = format!(
            "[proxy]\nname = \"other\"\nseparator = \"_\"\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\
             [[backends]]\nname = \"f\"\ntransport = \"stdio\"\ncommand = {:?}\nargs = [\"--stdio\"]\n",
            fixture.display().to_string()
        );
        std::fs::create_dir_all(peers::folder().join("measure"))
            .and_then(|()| std::fs::write(&config, text))
            .map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = unlimited(program);
        command.arg("--config").arg(&config);
        Self::start(command, port, "theirs", format!("http://127.0.0.1:{port}/"), "f_echo")
    }

    fn start(command: Command, port: u16, log: &str, url: String, tool: &'static str) -> Outcome<Self> {
        let mut server = Server::start(command, &peers::folder().join("measure").join(format!("{log}.log")))?;
        server.wait_for_port(port)?;
        Ok(Self { url, tool, server })
    }

    pub(super) fn process(&self) -> Process {
        Process(self.server.id())
    }
}

/// The program, allowed a descriptor for each of a few thousand clients.
fn unlimited(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 16384 2>/dev/null; exec \"$0\" \"$@\""]).arg(program);
    command
}
