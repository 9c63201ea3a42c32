// SPDX-License-Identifier: Apache-2.0
//! TLS over any byte stream, on rustls: what `https:`, `wss:` and the tcp planes share.
//!
//! ```no_run
//! # async fn example(config: &biplane::config::Config) -> biplane::Result<()> {
//! use biplane::io::tls::ClientTls;
//! use tokio::net::TcpStream;
//!
//! let tls = ClientTls::from_config(config)?.unwrap_or_else(ClientTls::system);
//! let stream = TcpStream::connect("tools.example:443").await.unwrap();
//! let stream = tls.connect(stream, "tools.example", &[b"h2", b"http/1.1"]).await?;
//! let speaks_http2 = stream.negotiated_alpn() == Some(b"h2");
//! # let _ = speaks_http2; Ok(()) }
//! ```
//!
//! One provider of cryptography is named here and never taken from the process, whose default is whoever came first. The
//! peer is always verified; there is no switch that turns it off. A handshake takes at most [`HANDSHAKE_TIMEOUT`]. Every
//! failure is an [`Error`](crate::Error) with [`Detail::Tls`](crate::Detail::Tls), which says what to do about it.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{SupportedProtocolVersion, version};

use crate::config::TlsVersion;

mod client;
mod fault;
mod pem;
mod server;
mod stream;
mod validity;

pub use client::ClientTls;
pub use server::ServerTls;
pub use stream::TlsStream;

/// The longest handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// ring: it builds in seconds, without a C toolchain's cmake.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

const NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
const ALL: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsVersion::Tls12 => ALL,
        TlsVersion::Tls13 => NEWEST,
    }
}

fn alpn_of(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.to_vec()).collect()
}
