// SPDX-License-Identifier: Apache-2.0
//! What the programs have in common that `cargo xtask bench` compares: the same work, offered in the same way, measured in
//! the same way. A program names its [`Peer`]s and gets a command line:
//!
//! ```no_run
//! # use biplane_cells::{Caller, Outcome, Peer, Serving}; use bytes::Bytes;
//! # struct Echo; struct Call;
//! # impl Caller for Call { async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> { Ok(body) } }
//! # impl Peer for Echo {
//! #     type Caller = Call;
//! #     fn name(&self) -> String { "echo".into() }
//! #     async fn serve(&self) -> Outcome<Serving> { Ok(Serving::new("here", ())) }
//! #     async fn connect(&self, _: &str, in_flight: usize) -> Outcome<Vec<Call>> {
//! #         Ok((0..in_flight).map(|_| Call).collect())
//! #     }
//! # }
//! fn main() -> std::process::ExitCode {
//!     biplane_cells::Program::new().peer(Echo).run()
//! }
//! ```
//!
//! ```text
//! PROGRAM list                            its peers, one JSON line each
//! PROGRAM serve NAME                      {"address":"…","processes":[…]}; then {"cpu_ns":…} for each line on its standard input,
//!                                         and once more at the end of that, which is its own end
//! PROGRAM drive NAME CELL --address A     one JSON line of what was measured
//! PROGRAM awake                           nothing: it keeps a core from going idle until its standard input ends
//! ```
//!
//! Client and server are two processes, each with a runtime of one thread (`--threads N` for one of many). Without
//! `--address` the driver serves itself, for peers that stay within a process.

#![deny(missing_docs)]

mod ask;
mod awake;
mod broker;
mod cell;
mod command;
mod drive;
mod peer;
mod program;
mod serve;
mod settings;
mod usage;

pub use ask::{Ask, Pace};
pub use broker::NatsServer;
pub use cell::{CELLS, Cell, Work};
pub use peer::{Caller, Failure, Outcome, Peer, Serving};
pub use program::Program;
pub use settings::on_loopback;
pub use usage::Usage;
