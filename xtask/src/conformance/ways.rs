// SPDX-License-Identifier: Apache-2.0
//! The ways from a suite to the fixture: the rows of the table.

use std::process::Command;

use super::Programs;
use crate::process::{Server, free_port};
use crate::{Outcome, peers};

/// One row.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) name: &'static str,
    era: &'static str,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// Whatever listens there.
    Url(String),
    /// The fixture itself: what it scores is what can be had.
    Direct,
    Stdio,
    Http,
    /// A worker that hosts the fixture, found and called over the planes.
    Rpc,
}

pub(super) fn ways() -> Vec<Way> {
    let way = |name, era, kind| Way { name, era, kind };
    vec![
        way("fixture itself", "dual", Kind::Direct),
        way("dual over stdio", "dual", Kind::Stdio),
        way("dual over http", "dual", Kind::Http),
        way("dual over rpc", "dual", Kind::Rpc),
        way("legacy over stdio", "legacy", Kind::Stdio),
        way("legacy over http", "legacy", Kind::Http),
        way("modern over stdio", "modern", Kind::Stdio),
        way("modern over http", "modern", Kind::Http),
    ]
}

/// Everything that was started for a run, ended in this order.
pub(super) struct Started {
    pub(super) url: String,
    servers: Vec<Server>,
}

impl Started {
    /// The end of what the first server said.
    pub(super) fn last_words(&self) -> String {
        self.servers.first().map(Server::last_words).unwrap_or_default()
    }
}

impl Way {
    pub(super) fn at(url: &str) -> Self {
        Self { name: "url", era: "dual", kind: Kind::Url(url.to_owned()) }
    }

    /// Starts what it takes, for one run of `suite`.
    pub(super) fn start(&self, programs: &Programs, suite: &str) -> Outcome<Started> {
        let folder = peers::folder().join("logs").join(self.name.replace(' ', "-")).join(suite);
        let log = |name: &str| folder.join(name);
        let child = format!("stdio:{} --stdio --era {}", programs.fixture.display(), self.era);
        let upstream = match &self.kind {
            Kind::Url(url) => return Ok(Started { url: url.clone(), servers: Vec::new() }),
            Kind::Direct => {
                let (url, server) = self.fixture(programs, &log("fixture"))?;
                return Ok(Started { url, servers: vec![server] });
            }
            Kind::Stdio => (child, None),
            Kind::Http => {
                let (url, server) = self.fixture(programs, &log("fixture"))?;
                (url, Some(server))
            }
            Kind::Rpc => {
                let mut worker = biplane(programs, &folder, &["serve", "conformance.fixture", "--upstream", &child]);
                worker.env("DYN_TCP_REQUEST_PORT", "0");
                let mut server = Server::start(worker, &log("worker"))?;
                server.wait_for_text("\n  try ")?;
                ("rpc:conformance.fixture".to_owned(), Some(server))
            }
        };
        let (upstream, behind) = upstream;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}/mcp");
        let gateway = biplane(programs, &folder, &["gateway", "--listen", &url, "--upstream", &upstream]);
        let mut gateway = Server::start(gateway, &log("gateway"))?;
        gateway.wait_for_port(port)?;
        Ok(Started { url, servers: std::iter::once(gateway).chain(behind).collect() })
    }

    fn fixture(&self, programs: &Programs, log: &std::path::Path) -> Outcome<(String, Server)> {
        let port = free_port()?;
        let mut command = Command::new(&programs.fixture);
        command.args(["--http", &port.to_string(), "--era", self.era]);
        let mut server = Server::start(command, log)?;
        server.wait_for_port(port)?;
        Ok((format!("http://127.0.0.1:{port}/mcp"), server))
    }
}

/// The program, with a store of its own for what it publishes.
fn biplane(programs: &Programs, folder: &std::path::Path, words: &[&str]) -> Command {
    let mut command = Command::new(&programs.gateway);
    command.args(words).env("DYN_FILE_KV", folder.join("store"));
    command
}
