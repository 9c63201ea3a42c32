// SPDX-License-Identifier: Apache-2.0
//! The MCP gateway: any client uses any server, in either era, over any transport.
//!
//! A *face* is what clients see, an *upstream* is a server behind it. Both are [`Connection`](biplane::Connection)s; how
//! MCP travels over one is told in [`biplane::io::messages`].
//!
//! ```no_run
//! # async fn example() -> biplane::Result<()> {
//! use biplane::Biplane;
//! use biplane_gateway::Gateway;
//!
//! let biplane = Biplane::from_env()?;
//! let gateway = Gateway::builder(&biplane)
//!     .listen("http://127.0.0.1:8080/mcp")
//!     .upstream("everything", "stdio:npx -y @modelcontextprotocol/server-everything")
//!     .start()
//!     .await?;
//! println!("{:?}", gateway.listeners());
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

pub mod config;
mod core;
mod doors;
pub mod era;
mod face;
mod gateway;
pub mod merge;
mod metrics;
pub mod reload;
mod running;
pub mod session_id;
pub mod upstream;
mod view;

pub use crate::config::GatewayConfig;
pub use crate::doors::Doors;
pub use crate::gateway::Gateway;
pub use crate::merge::Naming;
pub use crate::running::Running;
pub use crate::upstream::Upstream;
pub use crate::view::{Client, Era, Facts, View};
