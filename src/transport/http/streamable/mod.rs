// SPDX-License-Identifier: Apache-2.0
//! Streamable HTTP: MCP over one URL, in every revision that has it.
//!
//! Each message of a client is its own POST, whose response is one JSON text or a stream of events. In the legacy
//! revisions there is a session beside it, opened by `initialize`, with a stream of its own for what the server sends
//! unasked. In the modern ones every request describes itself, in its `_meta` and again in headers.

mod call;
mod client;
mod connection;
mod flight;
mod headers;
mod probe;
mod push;
mod question;
mod session;
mod tools;

use std::sync::Arc;

use async_trait::async_trait;

use self::connection::StreamableConnection;
use super::endpoint::Endpoint;
use super::known::{Finding, Known, Speaks};
use super::links::{Links, decorate};
use super::listen::Listens;
use crate::connection::{Connection, Listener, Transport};
use crate::error::{Error, Result};
use crate::target::Target;

/// Connects to MCP servers by `http:` and `https:` URLs.
///
/// The first connection to a URL asks its server what it speaks; a server of the older transport gets `Unsupported`, so
/// that the next transport is asked, which speaks it.
pub struct StreamableHttp {
    links: Arc<Links>,
    known: Arc<Known>,
    listens: Listens,
}

impl StreamableHttp {
    pub(super) fn new(links: Arc<Links>, known: Arc<Known>, listens: Listens) -> Self {
        Self { links, known, listens }
    }

    async fn find_out(&self, endpoint: &Endpoint) -> Result<Finding> {
        let finding = probe::probe(endpoint).await.map_err(|error| decorate(error, endpoint.place()))?;
        self.known.remember(&endpoint.url(), finding.clone());
        tracing::debug!(target: "biplane::http", url = endpoint.url(), "{finding}");
        Ok(finding)
    }
}

#[async_trait]
impl Transport for StreamableHttp {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let endpoint = Endpoint::new(&self.links, target)?;
        let finding = match self.known.get(&endpoint.url()) {
            Some(finding) => finding,
            None => self.find_out(&endpoint).await?,
        };
        check(&finding, &endpoint)?;
        Ok(Arc::new(StreamableConnection::new(endpoint, self.known.clone())))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        self.listens.listen(target).await
    }

    async fn probe(&self, target: &Target) -> Result<Option<String>> {
        let endpoint = Endpoint::new(&self.links, target)?;
        let finding = self.find_out(&endpoint).await?;
        check(&finding, &endpoint)?;
        Ok(Some(finding.to_string()))
    }
}

/// Whether the server is one of ours.
fn check(finding: &Finding, endpoint: &Endpoint) -> Result<()> {
    if finding.speaks != Speaks::TwoEndpoints {
        return Ok(());
    }
    let error = Error::unsupported(format!("the server speaks the transport of 2024-11-05: {}", finding.because))
        .with_hint("write sse+http://… to go there at once");
    Err(decorate(error, endpoint.place()))
}
