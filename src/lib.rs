// SPDX-License-Identifier: Apache-2.0
//! Biplane: a registry-driven pluggable transport runtime.
//!
//! A service is written once, against one [`Handler`]. A caller asks once, by name or by URL, and reads a
//! [`ResponseStream`]. Which wire carries the request and which wire carries the answer is decided outside the code: by
//! the URL, by the environment, by what each transport declares that it can do.
//!
//! ```no_run
//! # async fn example() -> biplane::Result<()> {
//! use biplane::{Biplane, Request, ResponseSender, handler_fn};
//!
//! let biplane = Biplane::from_env()?;
//! let words = handler_fn(|request: Request, reply: ResponseSender| async move {
//!     for word in request.message.text()?.split(' ') {
//!         reply.send(word.to_owned()).await?;
//!     }
//!     Ok(())
//! });
//! let serving = biplane.serve("words", words).start().await?;
//!
//! let mut answer = biplane.call("words", "to be or not").await?;
//! while let Some(item) = answer.next().await {
//!     println!("{}", item?.text()?);
//! }
//! # drop(serving); Ok(()) }
//! ```
//!
//! # The two faces
//!
//! ```text
//!    connect(url) ──► Connection                    planes ──► RequestPlane + ResponsePlane
//!                         ▲                                            │
//!                         └─────────────── PlanePair implements ◄──────┘
//! ```
//!
//! - A [`Connection`] is what you have when request and answer share a wire: [`Biplane::connect`].
//! - Two [planes](plane) are what you have when they do not: a request plane, and a response plane that the *caller*
//!   chooses and the responder obeys. A [`PlanePair`](pair::PlanePair) shows them as a [`Connection`].
//!
//! A reply is always a stream; one item is the unary case ([`Connection::request`]). Dropping a stream cancels its
//! request. A sender waits for its reader's credit, so a slow reader slows its own handler and nobody else's.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`runtime`] | [`Biplane`]: serve, call, connect, explain, shut down; the only reader of the environment |
//! | [`message`], [`stream`], [`target`], [`error`] | what travels, both ends of an answer, names of places, what went wrong |
//! | [`connection`], [`plane`], [`pair`] | the two faces and the bridge between them |
//! | [`capability`], [`registry`] | claims and needs; registration and selection, which explains itself |
//! | [`config`] | layers of configuration: defaults, file, environment, code |
//! | [`discovery`] | who serves what and where; balancing |
//! | [`transport`] | the built-in transports: `mem`, `tcp`, `http`, `stdio`, `lines`, `ws` |
//! | [`io`] | the toolkit of transport authors |
//! | [`pool`] | the one pool of links |
//! | [`proto`] | protocols without sockets, tasks or clocks |
//! | [`layer`] | connections around connections: checks, tracing, yours |
//! | [`mcp`] | a client of MCP servers |
//! | [`telemetry`], [`system`] | metrics of one runtime; `/health`, `/live`, `/metrics` |
//! | [`testing`] | a scripted connection for your own tests |
//! | `conformance` | the suite that every transport must pass (feature `conformance`) |
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `mem` | yes | every plane within one process, the reference |
//! | `tcp` | yes | connections, both planes over multiplexed TCP links |
//! | `stdio` | yes | connections to a program that is started, or through our own standard input and output |
//! | `lines` | yes | JSON-RPC as lines over TCP and Unix sockets |
//! | `http` | yes | both planes and requests by URL over HTTP/1.1 and HTTP/2; the system server |
//! | `ws` | yes | connections by `ws:` and `wss:` |
//! | `tls` | yes | TLS on rustls, for `https:`, `wss:` and the tcp planes |
//! | `conformance` | no | `biplane::conformance`: the suite and its fault proxy |
//!
//! Other transports are crates of their own, such as `biplane-nats` and `biplane-uds`. A program that wants one says
//! `use biplane_uds as _;`, because the linker drops a crate that no code names.
//!
//! Must run within a Tokio runtime with I/O and time enabled.

#![deny(missing_docs)]

pub mod capability;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connection;
pub mod discovery;
mod dispatch;
pub mod error;
mod hex;
pub mod io;
pub mod layer;
pub mod mcp;
pub mod message;
pub mod pair;
pub mod plane;
pub mod pool;
pub mod proto;
pub mod registry;
pub mod runtime;
pub mod stream;
pub mod system;
pub mod target;
pub mod telemetry;
pub mod testing;
mod token;
pub mod transport;

pub use crate::connection::{Answerer, Connection, ConnectionInfo, Inbound, Listener, Transport};
pub use crate::dispatch::{Dispatch, DispatchLimits, Running, launch};
pub use crate::error::{Detail, Error, ErrorKind, PeerError, Phase, Result, Retry, TlsReason};
pub use crate::message::{
    ControlMessage, Headers, Message, Request, RequestContext, RequestId, SessionId, Subject, TraceContext,
};
pub use crate::plane::{Handler, PlaneType, handler_fn};
pub use crate::runtime::{Biplane, Service, Serving};
pub use crate::stream::{Event, ResponseSender, ResponseStream};
pub use crate::target::{ServiceName, Target, TransportAddress, TransportId};

/// The code of the front page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
