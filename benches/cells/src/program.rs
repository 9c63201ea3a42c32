// SPDX-License-Identifier: Apache-2.0
//! A program and its peers.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::command::{self, Command, Drive};
use crate::{CELLS, Outcome, Peer, awake, drive, serve};

/// Peers behind one command line.
#[derive(Default)]
pub struct Program {
    peers: Vec<Box<dyn Any>>,
}

/// A [`Peer`] whose types nobody needs to know until its work begins. Within a cell, every call is a static one.
trait Any {
    fn name(&self) -> String;
    fn describe(&self) -> String;
    fn serve(&self, runtime: &Runtime) -> Outcome;
    fn drive(&self, runtime: &Runtime, command: &Drive) -> Outcome;
}

impl<P: Peer> Any for P {
    fn name(&self) -> String {
        Peer::name(self)
    }

    fn describe(&self) -> String {
        let cells: Vec<String> =
            CELLS.iter().filter(|cell| self.can(cell)).map(|cell| format!("\"{}\"", cell.name)).collect();
        let (name, within, cells) = (Peer::name(self), self.within_process(), cells.join(","));
        format!("{{\"name\":\"{name}\",\"within_process\":{within},\"cells\":[{cells}]}}")
    }

    fn serve(&self, runtime: &Runtime) -> Outcome {
        runtime.block_on(serve::until_input_ends(self))
    }

    fn drive(&self, runtime: &Runtime, command: &Drive) -> Outcome {
        if !self.can(command.cell) {
            return Err(format!("{} does no {}", Peer::name(self), command.cell.name).into());
        }
        runtime.block_on(drive::run(self, command))
    }
}

impl Program {
    /// A program without peers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn peer(mut self, peer: impl Peer) -> Self {
        self.peers.push(Box::new(peer));
        self
    }

    /// Does what the command line says: the whole of `main`.
    pub fn run(self) -> ExitCode {
        match self.obey() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        }
    }

    fn obey(&self) -> Outcome {
        let (command, threads) = command::read(std::env::args().skip(1))?;
        match command {
            Command::List => {
                self.peers.iter().for_each(|peer| println!("{}", peer.describe()));
                Ok(())
            }
            Command::Awake => {
                awake::until_input_ends();
                Ok(())
            }
            Command::Serve(name) => self.named(&name)?.serve(&runtime(threads)?),
            Command::Drive(command) => self.named(&command.name)?.drive(&runtime(threads)?, &command),
        }
    }

    fn named(&self, name: &str) -> Outcome<&dyn Any> {
        let found = self.peers.iter().find(|peer| peer.name() == name);
        let names = || self.peers.iter().map(|peer| peer.name()).collect::<Vec<_>>().join(", ");
        found.map(|peer| &**peer).ok_or_else(|| format!("there is no {name}; there are {}", names()).into())
    }
}

fn runtime(threads: usize) -> Outcome<Runtime> {
    let runtime = match threads {
        0 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    Ok(runtime?)
}
