// SPDX-License-Identifier: Apache-2.0
//! The transport of 2024-11-05: a stream of events from the server, and another URL to post to, which the stream names
//! first. Everything that the server says comes on the stream.

mod wire;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use tokio::time::timeout_at;

use self::wire::Wire;
use super::endpoint::Endpoint;
use super::event_stream::{EventStream, ended, is_event_stream, media_type};
use super::known::Known;
use super::links::{Links, decorate};
use super::listen::Listens;
use super::verdict::read_whole;
use super::{CONNECTION, SSE};
use crate::connection::{Connection, ConnectionInfo, Listener, Transport};
use crate::error::{Error, Phase, Result};
use crate::io::messages::{self, Settings};
use crate::target::Target;

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 << 10;

/// Connects to MCP servers of 2024-11-05, and listens as one.
pub struct TwoEndpointHttp {
    links: Arc<Links>,
    known: Arc<Known>,
    listens: Listens,
}

impl TwoEndpointHttp {
    pub(super) fn new(links: Arc<Links>, known: Arc<Known>, listens: Listens) -> Self {
        Self { links, known, listens }
    }
}

#[async_trait]
impl Transport for TwoEndpointHttp {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let endpoint = Endpoint::new(&self.links, target)?;
        let opened = open(&endpoint).await.map_err(|error| {
            // What was found out is true no more.
            self.known.forget(&endpoint.url());
            decorate(error, endpoint.place())
        });
        let (stream, post) = opened?;
        let max_message = endpoint.max_message();
        let info = ConnectionInfo::new(SSE, endpoint.url(), CONNECTION);
        Ok(messages::connection(Wire::new(stream, post), info, Settings::dialer(max_message)))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        self.listens.listen(target).await
    }

    async fn probe(&self, target: &Target) -> Result<Option<String>> {
        let endpoint = Endpoint::new(&self.links, target)?;
        let (_, post) = open(&endpoint).await.map_err(|error| decorate(error, endpoint.place()))?;
        Ok(Some(format!("HTTP with SSE of 2024-11-05, legacy era: its stream names {} to post to", post.url())))
    }
}

/// The stream of a server, and where it wants to be answered.
async fn open(endpoint: &Endpoint) -> Result<(EventStream, Endpoint)> {
    let deadline = Instant::now() + endpoint.config().limits.connect_timeout;
    let exchange = endpoint.get(HeaderMap::new(), deadline).await?;
    if exchange.response.status() != StatusCode::OK {
        return Err(read_whole(exchange, MAX_REFUSAL, deadline).await?.into_error().with_phase(Phase::Connect));
    }
    if !is_event_stream(&exchange) {
        let error = Error::protocol(format!("the server answers {:?}, no stream of events", media_type(&exchange)));
        return Err(error.with_hint("check the path; most servers of 2024-11-05 have theirs at /sse"));
    }
    let mut stream = EventStream::new(exchange, endpoint.max_text());
    let first = timeout_at(deadline.into(), stream.next()).await.map_err(|_| {
        Error::connect("the server's stream begins with nothing: no endpoint was named in time")
            .with_phase(Phase::Connect)
    })?;
    let first = first?.ok_or_else(ended)?;
    let named = std::str::from_utf8(&first.data).ok().filter(|_| first.kind == "endpoint");
    let named = named.ok_or_else(|| Error::protocol("the server's stream begins with no event `endpoint`"))?;
    Ok((stream, endpoint.at(named)?))
}
