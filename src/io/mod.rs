// SPDX-License-Identifier: Apache-2.0
//! The toolkit of transport authors.
//!
//! Two doors: **bytes** ([`ByteTransport`]: give `AsyncRead + AsyncWrite` for dial and accept, get connections and both
//! planes), and **native** (implement the traits of [`connection`](crate::connection) and [`plane`](crate::plane)
//! yourself). A third one, for transports that carry whole messages, is not built yet.

mod accept;
#[cfg(feature = "http")]
pub mod admission;
pub mod advertise;
pub mod bind;
pub mod buffer;
mod bytes;
mod connection;
mod driver;
mod known;
mod link;
mod principal;
#[cfg(unix)]
pub mod private;
mod request;
mod response;
pub mod sessions;

pub use bytes::{BoxedBytes, ByteListener, ByteTransport, Door, LinkSettings, Links};
pub use connection::MuxTransport;
pub use driver::ByteStream;
pub use link::{MuxLink, NoService, Service};
pub use principal::{PRINCIPAL, Principal};
pub use request::{MuxRequestClient, MuxRequestServer};
pub use response::MuxResponsePlane;
