// SPDX-License-Identifier: Apache-2.0
//! The client side of MCP over HTTP, against servers that do exactly what a test tells them, good or bad.
#![allow(clippy::unwrap_used)]

mod events;
mod library;
mod modern;
mod probe;
mod refusals;
mod script;
mod session;
mod two_endpoint;
