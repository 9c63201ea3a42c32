// SPDX-License-Identifier: Apache-2.0
//! How fast a connection can be, and how fast Biplane's are: see `cargo xtask bench`.

mod connections;
mod mux;
mod pingpong;
mod planes;

use biplane_cells::Program;
use connections::Connections;
use mux::Mux;
use pingpong::PingPong;
use planes::Planes;

fn main() -> std::process::ExitCode {
    Program::new()
        .peer(Mux)
        .peer(PingPong)
        .peer(Planes::new("mem", "mem"))
        .peer(Planes::new("tcp", "tcp"))
        .peer(Planes::new("uds", "uds"))
        .peer(Planes::new("http", "http"))
        .peer(Planes::new("http", "tcp"))
        .peer(Planes::new("http", "tcp").unpooled())
        .peer(Planes::new("nats", "tcp"))
        .peer(Planes::new("nats", "tcp").unpooled())
        .peer(Connections { name: "connect-tcp", url: "tcp://127.0.0.1:0", streams: true })
        .peer(Connections { name: "ws", url: "ws://127.0.0.1:0/", streams: false })
        .peer(Connections { name: "lines", url: "lines+tcp://127.0.0.1:0", streams: false })
        .run()
}
