// SPDX-License-Identifier: Apache-2.0
//! A broker for those who need one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Outcome;

/// A `nats-server` on a port of its own, ended with the value.
pub struct NatsServer {
    child: Child,
    address: String,
}

impl NatsServer {
    /// Starts it, and waits until it listens.
    pub fn start() -> Outcome<Self> {
        // Debian puts it where only an administrator's `PATH` leads.
        let started =
            ["nats-server", "/usr/sbin/nats-server", "/usr/local/bin/nats-server"].iter().find_map(|program| {
                let mut command = Command::new(program);
                command.args(["--addr", "127.0.0.1", "--port", "-1"]).stdin(Stdio::null()).stderr(Stdio::piped());
                command.spawn().ok()
            });
        let mut child = started.ok_or("nats-server is not installed; get it with: apt-get install nats-server")?;
        let log = child.stderr.take().ok_or("nats-server has no log")?;
        let mut server = Self { child, address: String::new() };
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let said = lines.find_map(|line| line.split_once("client connections on ").map(|(_, at)| at.trim().to_owned()));
        server.address = said.ok_or("nats-server ended before it listened")?;
        // What it says later is of no interest, but a full pipe would hold it up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process, for [`Serving::with_process`](crate::Serving::with_process).
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
