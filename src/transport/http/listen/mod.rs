// SPDX-License-Identifier: Apache-2.0
//! The listening half of the connection face: MCP over HTTP, as a server.
//!
//! One listener at `http://host:port/mcp` serves
//!
//! | | revisions | where |
//! |---|---|---|
//! | Streamable HTTP, modern | 2026-07-28 | `POST /mcp`: every request describes itself, in `_meta` and again in headers |
//! | Streamable HTTP, legacy | 2025-03-26 to 2025-11-25 | `POST`, `GET` and `DELETE /mcp`, with sessions |
//! | HTTP with SSE | 2024-11-05 | `GET /sse`, which names the path to `POST` to; beside the last segment of the path |
//!
//! Both versions of HTTP on one port, in clear text or under TLS. Who may come in, the [`Gate`](crate::io::admission::Gate)
//! says, before a body is read; sessions are those of [`io::sessions`](crate::io::sessions). Requests are told apart by
//! what they say of themselves; [`era`] has the rules.

mod accepted;
mod batch;
mod body;
mod cors;
mod delete;
mod door;
mod era;
mod events;
mod fault;
mod get;
mod listener;
mod mirrored;
mod post;
mod reply;
mod sentinel;
mod settings;
mod site;
mod two_endpoint;

pub(super) use self::events::Events;
pub(super) use self::listener::{Faces, Listens};
pub use self::settings::{ListenSettings, Revisions};
