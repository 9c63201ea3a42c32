// SPDX-License-Identifier: Apache-2.0
//! A gateway of the test's own, in front of the server of these tests.

use std::net::{TcpListener, TcpStream};

use crate::support::{Running, World, children_of, eventually};

pub(crate) struct Gateway {
    pub(crate) port: u16,
    pub(crate) process: Running,
    /// Its store ends with it.
    world: World,
}

impl Gateway {
    /// In front of the server with good manners.
    pub(crate) fn start() -> Self {
        Self::before("")
    }

    /// In front of the server with `manners`.
    pub(crate) fn before(manners: &str) -> Self {
        Self::on(free_port(), manners)
    }

    pub(crate) fn on(port: u16, manners: &str) -> Self {
        let this = std::env::current_exe().unwrap();
        Self::with_upstream(port, &format!("stdio:'{}' mcp-child {manners}", this.display()))
    }

    pub(crate) fn with_upstream(port: u16, upstream: &str) -> Self {
        Self::with(port, &["--upstream", upstream])
    }

    pub(crate) fn with(port: u16, arguments: &[&str]) -> Self {
        let world = World::new();
        let url = format!("http://127.0.0.1:{port}/mcp");
        let process = world.start_with(&[&["gateway", "--listen", &url], arguments].concat(), &[]);
        eventually("the gateway listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process, world }
    }

    /// The host that it is on: what is served there, it finds.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The servers that it has started and that have not ended.
    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.process.id()).into_iter().filter(|child| !is_zombie(*child)).collect()
    }

    /// How many files, sockets and pipes it holds.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).map(Iterator::count).unwrap_or_default()
    }
}

/// A port that nobody has at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Whether there is such a process and it has not ended.
pub(crate) fn is_alive(process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists() && !is_zombie(process)
}

fn is_zombie(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Sends `process` the signal of that name.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = std::process::Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "no process {process} for {name}");
}
