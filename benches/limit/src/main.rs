// SPDX-License-Identifier: Apache-2.0
//! How fast a connection can be, and how fast Biplane's are: see `cargo xtask bench`.

mod call_home;
mod connections;
mod mux;
mod pingpong;
mod planes;
mod steps;

use biplane_cells::Program;
use connections::Connections;
use mux::Mux;
use pingpong::PingPong;
use planes::Planes;
use steps::Step;

fn main() -> std::process::ExitCode {
    // Who is compared stands side by side: a machine that is slower for a while is so for both. The peers come next.
    Program::new()
        .peer(Mux)
        .peer(PingPong)
        .peer(Planes::new("tcp", "tcp"))
        .peer(tcp(Step::Bare))
        .peer(tcp(Step::Boundary))
        .peer(tcp(Step::Hooks))
        .peer(tcp(Step::Metrics))
        .peer(Planes::new("mem", "mem"))
        .peer(Planes::new("uds", "uds"))
        .peer(Connections { name: "ws", url: "ws://127.0.0.1:0/", streams: false, step: Step::Bare })
        .peer(Connections { name: "lines", url: "lines+tcp://127.0.0.1:0", streams: false, step: Step::Bare })
        .peer(Planes::new("nats", "tcp"))
        .peer(Planes::new("nats", "tcp").unpooled())
        .peer(Planes::new("nats", "tcp").clocked())
        .peer(Planes::new("nats", "tcp").clocked().unpooled())
        .peer(Planes::new("http", "tcp"))
        .peer(Planes::new("http", "tcp").unpooled())
        .peer(Planes::new("http", "tcp").clocked())
        .peer(Planes::new("http", "tcp").clocked().unpooled())
        .peer(Planes::new("http", "http"))
        .run()
}

fn tcp(step: Step) -> Connections {
    Connections { name: "connect-tcp", url: "tcp://127.0.0.1:0", streams: true, step }
}
