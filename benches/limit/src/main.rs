// SPDX-License-Identifier: Apache-2.0
//! How fast a connection can be, and how fast Biplane's are: see `cargo xtask bench`.

mod mux;
mod pingpong;

use biplane_cells::Program;

fn main() -> std::process::ExitCode {
    Program::new().peer(mux::Mux).peer(pingpong::PingPong).run()
}
