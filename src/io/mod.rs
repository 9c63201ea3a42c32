// SPDX-License-Identifier: Apache-2.0
//! The toolkit of transport authors.
//!
//! Three doors: **bytes** ([`ByteTransport`]: give `AsyncRead + AsyncWrite` for dial and accept, get connections and both
//! planes), **messages** ([`messages`]: give a wire of whole JSON-RPC messages, get connections) and **native** (implement
//! the traits of [`connection`](crate::connection) and [`plane`](crate::plane) yourself).

mod accept;
#[cfg(any(feature = "http", feature = "ws"))]
pub mod admission;
pub mod advertise;
pub mod bind;
pub mod buffer;
mod bytes;
mod connection;
mod driver;
mod known;
mod link;
pub mod messages;
mod principal;
#[cfg(unix)]
pub mod private;
#[cfg(all(unix, feature = "stdio"))]
pub mod process;
mod read_buffer;
mod request;
mod response;
pub mod sessions;
mod socket;
#[cfg(unix)]
pub mod socket_file;
mod targets;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(any(feature = "http", feature = "ws"))]
pub(crate) mod traffic;
#[cfg(any(feature = "tcp", feature = "lines"))]
pub(crate) mod tune;

pub use crate::dispatch::Turn;
pub use bytes::{BoxedBytes, ByteListener, ByteTransport, Door, LinkSettings, Links};
pub use connection::MuxTransport;
pub use driver::ByteStream;
pub use link::{MuxLink, NoService, Service};
pub use principal::{PRINCIPAL, Principal};
pub use request::{MuxRequestClient, MuxRequestServer};
pub use response::MuxResponsePlane;
