// SPDX-License-Identifier: Apache-2.0
//! The endpoint of an MCP server, as its clients see it: a URL, and what is sent along with everything that goes there.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;

use super::links::{Exchange, Links};
use super::names::ENVELOPE;
use super::place::Place;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::target::Target;

/// By which links a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriage {
    /// By those that all requests share.
    Shared,
    /// By one that may be held as long as a session lasts.
    Standing,
    /// By those that are never held for long: what requests wait for must not wait behind them.
    Aside,
}

/// Where a server is, and how we show ourselves there. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoint(Arc<Inner>);

struct Inner {
    links: Arc<Links>,
    place: Place,
    aside: Place,
    /// From the target's own configuration, never from a client.
    own: HeaderMap,
}

impl Endpoint {
    /// Reads a target. Credentials in its URL become an `Authorization` of the basic scheme.
    pub(super) fn new(links: &Arc<Links>, target: &Target) -> Result<Self> {
        let place = Place::endpoint(target)?;
        let mut own = HeaderMap::new();
        if let Some(basic) = basic_credentials(target)? {
            own.insert(AUTHORIZATION, basic);
        }
        for (name, value) in target.headers().iter() {
            let name = HeaderName::from_bytes(name.as_bytes());
            // Without the value, which may be a secret.
            let wrong = || Error::config("a header that is configured for the target is none").with_target(place.url());
            let name = name.map_err(|_| wrong())?;
            let mut value = HeaderValue::from_maybe_shared(value.clone()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            own.insert(name, value);
        }
        let aside = place.aside();
        Ok(Self(Arc::new(Inner { links: links.clone(), place, aside, own })))
    }

    /// Another URL of the same server. What the server names as its own must be of its own origin.
    pub(super) fn at(&self, reference: &str) -> Result<Self> {
        let base = url::Url::parse(&self.url()).map_err(|error| Error::unexpected("no URL").with_source(error))?;
        let url = base.join(reference).map_err(|error| Error::protocol("no URL").with_source(error))?;
        if url.origin() != base.origin() {
            return Err(Error::protocol(format!(
                "the server at {} sends its clients to another origin, {}",
                base.origin().ascii_serialization(),
                url.origin().ascii_serialization()
            ))
            .with_hint("if that server is meant, connect to it"));
        }
        let place = Place::endpoint(&Target::from_url(url))?;
        let (aside, own) = (place.aside(), self.0.own.clone());
        Ok(Self(Arc::new(Inner { links: self.0.links.clone(), place, aside, own })))
    }

    /// The URL, without credentials.
    pub(super) fn url(&self) -> String {
        self.0.place.url()
    }

    pub(super) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(super) fn config(&self) -> &Config {
        self.0.links.config()
    }

    /// Bytes of what a message carries.
    pub(super) fn max_message(&self) -> usize {
        self.config().limits.max_message_size
    }

    /// Bytes of a message as a whole.
    pub(super) fn max_text(&self) -> usize {
        self.max_message().saturating_add(ENVELOPE)
    }

    /// Posts a message and waits for the head of its response.
    pub(super) async fn post(
        &self,
        mut headers: HeaderMap,
        message: Bytes,
        carriage: Carriage,
        deadline: Instant,
    ) -> Result<Exchange> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, headers, message, carriage, deadline).await
    }

    /// Asks for a stream of events.
    pub(super) async fn get(&self, mut headers: HeaderMap, deadline: Instant) -> Result<Exchange> {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.send(Method::GET, headers, Bytes::new(), Carriage::Standing, deadline).await
    }

    /// Ends what the headers name.
    pub(super) async fn delete(&self, headers: HeaderMap, deadline: Instant) -> Result<()> {
        let exchange = self.send(Method::DELETE, headers, Bytes::new(), Carriage::Aside, deadline).await?;
        self.0.links.put_aside(exchange, deadline).await;
        Ok(())
    }

    /// Reads away a body that is of no interest.
    pub(super) async fn put_aside(&self, exchange: Exchange, deadline: Instant) {
        self.0.links.put_aside(exchange, deadline).await;
    }

    async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        carriage: Carriage,
        deadline: Instant,
    ) -> Result<Exchange> {
        let mut all = self.0.own.clone();
        all.extend(headers);
        let Inner { links, place, aside, .. } = &*self.0;
        match carriage {
            Carriage::Shared => links.send(place, method, all, body, deadline).await,
            Carriage::Aside => links.send(aside, method, all, body, deadline).await,
            Carriage::Standing => links.send_standing(place, method, all, body, deadline).await,
        }
    }
}

fn basic_credentials(target: &Target) -> Result<Option<HeaderValue>> {
    let url = target.url();
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|error| Error::config("credentials that HTTP cannot carry").with_source(error))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
