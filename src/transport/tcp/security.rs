// SPDX-License-Identifier: Apache-2.0
//! TLS on tcp links: on for all of them or for none, so that no link is in clear text by mistake.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;

use crate::config::TlsConfig;
use crate::error::{Error, Result};
use crate::io::BoxedBytes;
use crate::io::tls::{ClientTls, ServerTls};

/// The mux of `docs/wire.md`, first version, to whoever chooses by it.
const ALPN: &[&[u8]] = &[b"biplane/1"];

/// How links of one plane are secured.
#[derive(Debug)]
pub(super) struct Security(Option<Tls>);

#[derive(Debug)]
struct Tls {
    config: TlsConfig,
    client: Arc<ClientTls>,
    /// Read when the first listener starts, which is where an error has somebody to act on it.
    server: OnceLock<Arc<ServerTls>>,
}

impl Security {
    /// As configured. Reads nothing yet.
    pub(super) fn new(config: Option<&TlsConfig>) -> Self {
        Self(config.map(|config| Tls {
            config: config.clone(),
            client: ClientTls::new(config.clone()),
            server: OnceLock::new(),
        }))
    }

    /// A link that was dialled at `address`, which is `host:port`.
    pub(super) async fn dialled(&self, stream: TcpStream, address: &str) -> Result<BoxedBytes> {
        let Some(tls) = &self.0 else { return Ok(Box::new(stream)) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        Ok(Box::new(tls.client.connect(stream, host, ALPN).await?))
    }

    /// Reads what a listener needs. True if there will be TLS.
    pub(super) fn prepare_to_accept(&self) -> Result<bool> {
        let Some(tls) = &self.0 else { return Ok(false) };
        if tls.server.get().is_none() {
            // Of two listeners that start at once the first wins; both read the same files.
            let _ = tls.server.set(ServerTls::new(&tls.config)?.with_alpn(ALPN));
        }
        Ok(true)
    }

    /// A link that was accepted.
    pub(super) async fn accepted(&self, stream: BoxedBytes) -> Result<BoxedBytes> {
        let Some(tls) = &self.0 else { return Ok(stream) };
        let Some(server) = tls.server.get() else {
            return Err(Error::unexpected("a link was accepted before its listener was ready"));
        };
        Ok(Box::new(server.accept(stream).await?))
    }
}
