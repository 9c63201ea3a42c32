// SPDX-License-Identifier: Apache-2.0
//! Protocols without sockets, tasks or clocks: every one can be driven by a test that feeds it bytes.

#[cfg(feature = "http")]
pub mod binary;
#[cfg(feature = "http")]
pub mod body;
mod chunks;
pub mod command_line;
pub mod events;
pub mod frame;
#[cfg(feature = "http")]
pub mod item_json;
pub mod json;
pub mod jsonrpc;
#[cfg(feature = "http")]
pub mod mcp;
pub mod mux;
#[cfg(feature = "http")]
pub mod ndjson;
pub mod open;
pub(crate) mod parcel;
pub mod prologue;
pub(crate) mod run;
#[cfg(feature = "http")]
pub mod sse;
