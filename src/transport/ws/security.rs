// SPDX-License-Identifier: Apache-2.0
//! `wss:` where the program has TLS, a clear word where it has not.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::io::BoxedBytes;
#[cfg(feature = "tls")]
use crate::io::tls::{ClientTls, ServerTls};

/// A WebSocket begins as HTTP/1.1.
#[cfg(feature = "tls")]
const ALPN: &[&[u8]] = &[b"http/1.1"];

/// How dialled links are secured.
#[cfg(feature = "tls")]
pub(super) struct Security(Result<Arc<ClientTls>>);

/// How accepted links are secured.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub(super) struct Guard(Arc<ServerTls>);

#[cfg(feature = "tls")]
impl Security {
    pub(super) fn new(config: &Config) -> Self {
        Self(ClientTls::from_config(config).map(|tls| tls.unwrap_or_else(ClientTls::system)))
    }

    /// A link to `host` that was dialled.
    pub(super) async fn dialled(&self, stream: TcpStream, host: &str) -> Result<BoxedBytes> {
        let tls = self.0.as_ref().map_err(Error::duplicate)?;
        Ok(Box::new(tls.connect(stream, host, ALPN).await?))
    }

    /// What a listener needs.
    pub(super) fn guard(&self, config: &Config) -> Result<Guard> {
        match ServerTls::from_config(config)? {
            Some(tls) => Ok(Guard(tls.with_alpn(ALPN))),
            None => Err(Error::config("a wss: listener needs a certificate, and none is configured")
                .with_hint("set tls.cert and tls.key, or listen at ws:")),
        }
    }
}

#[cfg(feature = "tls")]
impl Guard {
    pub(super) async fn accepted(&self, stream: TcpStream) -> Result<BoxedBytes> {
        Ok(Box::new(self.0.accept(stream).await?))
    }
}

#[cfg(not(feature = "tls"))]
pub(super) struct Security;

#[cfg(not(feature = "tls"))]
#[derive(Clone)]
pub(super) struct Guard(std::convert::Infallible, std::marker::PhantomData<Arc<()>>);

#[cfg(not(feature = "tls"))]
impl Security {
    pub(super) fn new(_config: &Config) -> Self {
        Self
    }

    pub(super) async fn dialled(&self, _stream: TcpStream, _host: &str) -> Result<BoxedBytes> {
        Err(without())
    }

    pub(super) fn guard(&self, _config: &Config) -> Result<Guard> {
        Err(without())
    }
}

#[cfg(not(feature = "tls"))]
impl Guard {
    pub(super) async fn accepted(&self, _stream: TcpStream) -> Result<BoxedBytes> {
        match self.0 {}
    }
}

#[cfg(not(feature = "tls"))]
fn without() -> Error {
    Error::config("this program was built without TLS, which wss: needs").with_hint("build it with the feature `tls`")
}
