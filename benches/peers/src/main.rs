// SPDX-License-Identifier: Apache-2.0
//! What a user would otherwise pick, each as small as one writes it and set up as its documentation advises: one connection
//! for everybody where the library can, small writes at once, room for every stream of a cell.

mod body;
mod grpc;
mod http1;
mod http2;
mod items;
mod nats;
mod rpc;
mod serving;
mod websocket;

use std::process::ExitCode;

use biplane_cells::Program;

use crate::body::Frames;

fn main() -> ExitCode {
    Program::new()
        .peer(grpc::Tonic)
        .peer(http2::Http2(Frames::Each))
        .peer(http2::Http2(Frames::Ready))
        .peer(http1::Http1)
        .peer(rpc::Tarpc)
        .peer(websocket::WebSocket)
        .peer(nats::Nats)
        .run()
}
