// SPDX-License-Identifier: Apache-2.0
//! `stdio`: JSON-RPC messages as lines through a child's standard input and output, or through our own.
//!
//! `stdio:COMMAND` starts a program, split into words as `sh` splits them but run by no shell. The child leads a process
//! group of its own, sees an allow-listed environment, and is ended with everything that it forked when its connection is
//! closed or dropped: its standard input is closed, then SIGTERM, then SIGKILL, and its status is taken. A process that
//! leaves the group (`setsid`, a daemon) cannot be ended from here; nor can anything be if this process is killed with
//! SIGKILL, when children see the end of their standard input.
//!
//! `stdio:` with nothing behind it is for listening: one connection through this process's own standard input and output.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::child::Child;
use self::children::Children;
use self::own::OwnStreams;
use self::settings::{ENV, Settings};
use self::wire::ChildWire;
use crate::connection::{Connection, ConnectionInfo, Listener, Transport};
use crate::error::{Error, Phase, Result};
use crate::io::messages;
use crate::io::process::CommandLine;
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::{Target, TransportId};

mod child;
mod children;
mod ended;
mod own;
mod rate;
mod settings;
mod wire;

const ID: &str = "stdio";

/// Connections by `stdio:COMMAND`, and `stdio:` to listen on our own standard input and output.
pub const CONNECTION: TransportRegistration = TransportRegistration::connection(ID, build_transport)
    .schemes(&[ID])
    .capabilities(messages::CLAIMS)
    .priority(30)
    .env(ENV);

/// All of them, for explicit registration.
pub const REGISTRATIONS: [TransportRegistration; 1] = [CONNECTION];

crate::register_transport!(CONNECTION);

fn build_transport(context: &BuildContext) -> Result<Arc<dyn Transport>> {
    let settings = Settings::read(context)?;
    Ok(Arc::new(Stdio {
        children: Children::new(&settings),
        own: OwnStreams::default(),
        max_message: context.config().limits.max_message_size,
        settings,
    }))
}

struct Stdio {
    settings: Settings,
    children: Children,
    own: OwnStreams,
    max_message: usize,
}

#[async_trait]
impl Transport for Stdio {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let command = command(target)?;
        if command.is_empty() {
            return Err(Error::config("`stdio:` alone names no program to connect to")
                .with_hint("write stdio:COMMAND; `stdio:` is for listening on our own standard input and output"));
        }
        let failed = |error: Error| error.with_transport(ID).with_phase(Phase::Connect);
        let line = CommandLine::parse(command).map_err(failed)?;
        let child = Child::start(&line, target, &self.settings, &self.children).await.map_err(failed)?;
        let info = ConnectionInfo::new(ID, child.name(), messages::CLAIMS);
        let settings = messages::Settings::dialer(self.max_message);
        Ok(messages::connection(ChildWire::new(child, self.max_message, self.settings.start_timeout), info, settings))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        if !command(target)?.is_empty() {
            return Err(Error::config(format!("stdio listens on our own standard input and output, not on {target}"))
                .with_hint("write `stdio:` alone"));
        }
        Ok(Box::new(self.own.listen(self.max_message)?))
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.children.end_all(grace.min(self.settings.stop_grace)).await;
        Ok(())
    }
}

fn command(target: &Target) -> Result<&str> {
    if target.scheme() != ID {
        return Err(Error::unsupported(format!("{ID} starts stdio:COMMAND only, not {target}")));
    }
    Ok(target.rest().trim())
}

/// The id, typed.
fn id() -> TransportId {
    TransportId::from_static(ID)
}
