// SPDX-License-Identifier: Apache-2.0
//! What an operator sees of a process: [`Health`], and the server for `/health`, `/live` and `/metrics`.

mod health;
#[cfg(feature = "http")]
mod link;
#[cfg(feature = "http")]
mod pages;
#[cfg(feature = "http")]
mod server;

pub use self::health::{EndpointHealth, Health, HealthReport, ServedEndpoint, Status};
#[cfg(feature = "http")]
pub use self::server::SystemServer;
