// SPDX-License-Identifier: Apache-2.0
//! The `ws` transport between two runtimes, with peers that speak HTTP by hand, and with those of other languages.

#[path = "../tls/certs.rs"]
mod certs;
mod links;
mod others;
mod refusals;
mod world;
