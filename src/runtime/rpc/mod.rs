// SPDX-License-Identifier: Apache-2.0
//! Connections carried by the planes: `rpc:NAME`, where NAME is a service.
//!
//! A caller connects and speaks JSON-RPC; each of its messages is one request on the request plane, and what the other side
//! says to it is the answer's items on the response plane. A worker listens and gets connections as from any listener. So
//! servers of a protocol with sessions stand behind discovery, balancing and failover like every other service, over every
//! pair of planes: nothing is asked of a plane but a request with headers and an answer that is a stream of items.
//! `docs/wire.md` has the mapping.

use std::sync::Arc;

use super::Biplane;
use crate::connection::{Connection, Listener};
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::target::ServiceName;

mod answer;
mod connection;
mod listen;
mod question;
#[cfg(test)]
mod tests;
mod wire;
mod worker;

use self::connection::RpcConnection;
use self::worker::RpcListener;

/// The scheme.
const SCHEME: &str = "rpc";

/// What stands after the colon, if `url` is one of these.
pub(super) fn rest(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

impl Biplane {
    /// Serves what `rest` names. The service is published when this returns.
    pub(super) async fn listen_rpc(&self, rest: &str) -> Result<Box<dyn Listener>> {
        Ok(Box::new(RpcListener::start(self, Place::parse(rest)?).await?))
    }

    /// A connection to the service that `rest` names. Sends nothing: the first message finds an instance.
    pub(super) async fn connect_rpc(&self, rest: &str) -> Result<Arc<dyn Connection>> {
        let place = Place::parse(rest)?;
        let service = self.service(&place.name.to_string()).await?;
        let max_item = self.config().limits.max_message_size;
        Ok(self.0.layers.layer(Arc::new(RpcConnection::new(service, max_item))))
    }
}

/// What an `rpc:` URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The service.
    pub(super) name: ServiceName,
    /// The share of requests of whoever listens here, relative to other instances.
    weight: u8,
}

impl Place {
    /// Reads what stands after the scheme's colon: a service's name, and `?weight=W` for a listener.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut place = Self { name: name.trim_start_matches("//").parse()?, weight: 100 };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "weight" => place.weight = weight(&value)?,
                _ => {
                    return Err(Error::config(format!("rpc:{name} has an unknown parameter {key:?}"))
                        .with_hint("rpc:NAME takes weight=0..100, where it listens"));
                }
            }
        }
        Ok(place)
    }
}

fn weight(text: &str) -> Result<u8> {
    let weight = text.parse().ok().filter(|weight| *weight <= 100);
    weight.ok_or_else(|| Error::config(format!("a weight is 0 to 100, got {text:?}")))
}
