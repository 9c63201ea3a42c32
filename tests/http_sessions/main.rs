// SPDX-License-Identifier: Apache-2.0
//! MCP over HTTP as a server, over real sockets on loopback: what each revision's client is answered, byte by byte.
#![allow(clippy::unwrap_used)]

mod admission;
mod client;
mod legacy;
mod limits;
mod modern;
mod resume;
mod secure;
mod two_endpoint;
mod world;
