// SPDX-License-Identifier: Apache-2.0
//! The MCP gateway: any client uses any server, in either era, over any transport.
//!
//! A face is what clients see, an upstream is a server behind it. Both are [`Connection`](biplane::Connection)s; how MCP
//! travels over one is told in [`biplane::io::messages`].

#![forbid(unsafe_code)]

pub mod config;
pub mod era;
pub mod merge;
pub mod reload;
pub mod session_id;
mod view;

pub use crate::view::{Client, Era, Facts, View};
