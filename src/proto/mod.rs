// SPDX-License-Identifier: Apache-2.0
//! Protocols without sockets, tasks or clocks: every one can be driven by a test that feeds it bytes.

pub mod binary;
pub mod frame;
pub mod mux;
pub mod ndjson;
pub mod open;
pub mod prologue;
pub mod sse;
