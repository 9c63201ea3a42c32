// SPDX-License-Identifier: Apache-2.0
//! TLS for links to origins, where the build has it.

#[cfg(feature = "tls")]
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::{Config, HttpVersion};
#[cfg(not(feature = "tls"))]
use crate::error::Error;
use crate::error::Result;
use crate::io::BoxedBytes;
#[cfg(feature = "tls")]
use crate::io::tls::ClientTls;

/// How we dial `https:`.
pub(super) struct Security {
    #[cfg(feature = "tls")]
    tls: Arc<ClientTls>,
}

impl Security {
    #[cfg(feature = "tls")]
    pub(super) fn new(config: &Config) -> Result<Self> {
        Ok(Self { tls: ClientTls::from_config(config)?.unwrap_or_else(ClientTls::system) })
    }

    /// A session with the host of `authority`, and the version of HTTP that its server chose.
    #[cfg(feature = "tls")]
    pub(super) async fn session(&self, stream: TcpStream, authority: &str) -> Result<(BoxedBytes, HttpVersion)> {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let stream = self.tls.connect(stream, host, &[b"h2", b"http/1.1"]).await?;
        let version = match stream.negotiated_alpn() {
            Some(b"h2") => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        };
        Ok((Box::new(stream), version))
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn new(_config: &Config) -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(feature = "tls"))]
    pub(super) async fn session(&self, _stream: TcpStream, authority: &str) -> Result<(BoxedBytes, HttpVersion)> {
        Err(Error::unsupported(format!("https: to {authority} in a build without TLS"))
            .with_hint("build with the feature `tls`, or use http: behind a proxy that ends TLS"))
    }
}
