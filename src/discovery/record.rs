// SPDX-License-Identifier: Apache-2.0
//! The text form of an instance: [`Instance::to_json`] and [`Instance::from_json`].
//!
//! One shape is written, five are read, because records outlive the release that wrote them:
//!
//! | `transport` | read as |
//! |---|---|
//! | `{"unified": {"request_transports": [..], "response_transports": [..]}}` | itself; what we write |
//! | `{"unified": {"request_transport": {..}, "response_transport": {..}}}` | the same, with one transport each |
//! | `{"nats_tcp": "subject"}`, `{"http_tcp": {"http_endpoint": "url"}}` | [`TransportType::NatsTcp`], [`TransportType::HttpTcp`] |
//! | `{"tcp": ..}`, `{"nats": ..}`, `{"http": ..}`; `nats_tcp` in a record of `"type": "Endpoint"` | Dynamo's: the ids `dynamo.tcp`, `dynamo.nats`, `dynamo.http` |
//!
//! Members that nobody here knows are ignored, so that a later release may add some.

use std::collections::{BTreeMap, HashMap};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Instance, TransportEndpoint, TransportType};
use crate::capability::{Exchange, Rendezvous, Sharing, TransportCapabilities};
use crate::error::{Error, Phase, Result};
use crate::target::{ServiceName, TransportAddress, TransportId};

/// The most bytes of a record, written or read. A real one has a few hundred.
pub const MAX_SIZE: usize = 64 << 10;

impl Instance {
    /// The record as JSON. Fails for what could not be read back: a name that is none, a weight over 100, more than
    /// [`MAX_SIZE`](super::MAX_RECORD_SIZE) bytes.
    pub fn to_json(&self) -> Result<String> {
        encode(self, None)
    }

    /// Reads a record of any known shape. Whatever the bytes are, the worst outcome is a
    /// [`Protocol`](crate::ErrorKind::Protocol) or [`TooLarge`](crate::ErrorKind::TooLarge) error.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        decode(text).map(|(instance, _)| instance)
    }
}

/// Who keeps a record alive, and how: the file store's addition to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// The record is dead when it was not renewed for this long. The holder's figure counts, not the reader's: only the
    /// holder knows how often it renews.
    pub(super) lease_ms: u64,
    /// The process, where the system lets us name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Process>,
}

/// A process, distinguished from all that had or will have its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(super) start: u64,
    /// The boot and the pid namespace in which the number means something: the directory may be shared between containers.
    pub(super) host: String,
}

pub(super) fn encode(instance: &Instance, holder: Option<Holder>) -> Result<String> {
    let name = service_name(&instance.name.namespace, &instance.name.component, &instance.name.endpoint)?;
    check_weight(instance.weight)?;
    let record = Record {
        kind: None,
        namespace: name.namespace,
        component: name.component,
        endpoint: name.endpoint,
        instance_id: instance.instance_id,
        weight: instance.weight,
        transport: Shape::from(&instance.transport),
        holder,
    };
    let text = serde_json::to_string(&record).map_err(|error| malformed("cannot be written").with_source(error))?;
    check_size(text.len())?;
    Ok(text)
}

pub(super) fn decode(text: &[u8]) -> Result<(Instance, Option<Holder>)> {
    check_size(text.len())?;
    let record: Record =
        serde_json::from_slice(text).map_err(|error| malformed("cannot be read").with_source(error))?;
    let dynamo = match record.kind.as_deref() {
        None => false,
        Some("Endpoint") => true,
        Some(other) => return Err(malformed(format!("is of type {other:?}, which is no endpoint"))),
    };
    check_weight(record.weight)?;
    let instance = Instance {
        name: service_name(&record.namespace, &record.component, &record.endpoint)?,
        instance_id: record.instance_id,
        weight: record.weight,
        transport: record.transport.read(dynamo).ok_or_else(|| unknown_shape(text))?,
    };
    Ok((instance, record.holder))
}

/// The same record with another weight. Every other member stays byte for byte, known to this release or not.
pub(super) fn with_weight(text: &[u8], weight: u8) -> Result<Vec<u8>> {
    check_size(text.len())?;
    check_weight(weight)?;
    let cannot = |error: serde_json::Error| malformed("cannot be given a weight").with_source(error);
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).map_err(cannot)?;
    members.insert("weight".to_owned(), to_raw_value(&weight).map_err(cannot)?);
    serde_json::to_vec(&members).map_err(cannot)
}

pub(super) fn check_weight(weight: u8) -> Result<()> {
    if weight <= 100 { Ok(()) } else { Err(Error::config(format!("a weight is 0 to 100, got {weight}"))) }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes <= MAX_SIZE {
        return Ok(());
    }
    Err(Error::too_large("a discovery record", MAX_SIZE as u64, bytes as u64).with_phase(Phase::Discover))
}

fn service_name(namespace: &str, component: &str, endpoint: &str) -> Result<ServiceName> {
    // Through the short form, which is what people write and what the length limit is about.
    let name =
        ServiceName { namespace: namespace.to_owned(), component: component.to_owned(), endpoint: endpoint.to_owned() };
    match name.to_string().parse::<ServiceName>() {
        Ok(parsed) if parsed == name => Ok(name),
        Ok(_) => Err(malformed(format!("has a dot within a part of its name {name}"))),
        Err(error) => Err(malformed("has no valid name").with_source(error)),
    }
}

fn unknown_shape(text: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Keys {
        transport: BTreeMap<String, IgnoredAny>,
    }
    let keys = serde_json::from_slice::<Keys>(text).map(|keys| keys.transport.into_keys().take(8).collect::<Vec<_>>());
    malformed(format!("has a transport of an unknown shape, members {:?}", keys.unwrap_or_default()))
        .with_hint("known are unified, nats_tcp and http_tcp")
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::protocol(format!("a discovery record {what}")).with_phase(Phase::Discover)
}

/// A whole record.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Dynamo tags its records; we do not.
    #[serde(rename = "type", skip_serializing)]
    kind: Option<String>,
    #[serde(default = "unnamed")]
    namespace: String,
    #[serde(default = "unnamed")]
    component: String,
    endpoint: String,
    instance_id: u64,
    #[serde(default = "full_weight")]
    weight: u8,
    transport: Shape,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
}

fn unnamed() -> String {
    "default".to_owned()
}

fn full_weight() -> u8 {
    100
}

/// `transport`: the member that is there says which shape it is.
#[derive(Default, Serialize, Deserialize)]
struct Shape {
    #[serde(skip_serializing_if = "Option::is_none")]
    unified: Option<Unified>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nats_tcp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_tcp: Option<HttpTcp>,
    #[serde(skip_serializing)]
    tcp: Option<String>,
    #[serde(skip_serializing)]
    nats: Option<String>,
    #[serde(skip_serializing)]
    http: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct HttpTcp {
    http_endpoint: String,
}

#[derive(Serialize, Deserialize)]
struct Unified {
    request_transports: Option<Vec<Endpoint>>,
    response_transports: Option<Vec<Endpoint>>,
    #[serde(skip_serializing)]
    request_transport: Option<Endpoint>,
    #[serde(skip_serializing)]
    response_transport: Option<Endpoint>,
}

#[derive(Serialize, Deserialize)]
struct Endpoint {
    transport_id: TransportId,
    #[serde(default)]
    address: String,
    #[serde(default)]
    capabilities: Claims,
    // Ordered, so that the same instance always gives the same text.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Capabilities, as we write them or as the singular shape has them (`streaming`, `bidirectional`).
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Claims {
    exchange: Option<Exchange>,
    #[serde(skip_serializing)]
    streaming: bool,
    #[serde(skip_serializing)]
    bidirectional: bool,
    sharing: Sharing,
    rendezvous: Rendezvous,
    persistent_connections: bool,
    server_push: bool,
    max_message_size: Option<u64>,
}

impl From<&TransportType> for Shape {
    fn from(transport: &TransportType) -> Self {
        match transport {
            TransportType::NatsTcp(subject) => Self { nats_tcp: Some(subject.clone()), ..Self::default() },
            TransportType::HttpTcp(url) => {
                Self { http_tcp: Some(HttpTcp { http_endpoint: url.clone() }), ..Self::default() }
            }
            TransportType::Unified { request_transports, response_transports } => {
                let unified = Unified {
                    request_transports: Some(request_transports.iter().map(Endpoint::from).collect()),
                    response_transports: Some(response_transports.iter().map(Endpoint::from).collect()),
                    request_transport: None,
                    response_transport: None,
                };
                Self { unified: Some(unified), ..Self::default() }
            }
        }
    }
}

impl Shape {
    fn read(self, dynamo: bool) -> Option<TransportType> {
        if let Some(unified) = self.unified {
            return unified.read();
        }
        if let Some(http_tcp) = self.http_tcp {
            return Some(TransportType::HttpTcp(http_tcp.http_endpoint));
        }
        match self.nats_tcp {
            Some(subject) if dynamo => return Some(foreign("dynamo.nats", subject)),
            Some(subject) => return Some(TransportType::NatsTcp(subject)),
            None => {}
        }
        let legacy = [("dynamo.tcp", self.tcp), ("dynamo.nats", self.nats), ("dynamo.http", self.http)];
        legacy.into_iter().find_map(|(id, address)| address.map(|address| foreign(id, address)))
    }
}

/// An instance of Dynamo's own: its frames are not ours, so its transports have ids of their own, and a caller that has
/// no plugin for them passes it over. All its request planes answer over its TCP call-home.
fn foreign(id: &'static str, address: String) -> TransportType {
    let endpoint = |id, address| TransportEndpoint {
        address: TransportAddress { transport: TransportId::from_static(id), address },
        capabilities: TransportCapabilities::default(),
        metadata: HashMap::new(),
    };
    TransportType::Unified {
        request_transports: vec![endpoint(id, address)],
        response_transports: vec![endpoint("dynamo.tcp", String::new())],
    }
}

impl Unified {
    /// `None` if it does not say where requests go.
    fn read(self) -> Option<TransportType> {
        let all = |plural: Option<Vec<Endpoint>>, singular: Option<Endpoint>| {
            let endpoints = plural.or_else(|| singular.map(|one| vec![one]))?;
            Some(endpoints.into_iter().map(TransportEndpoint::from).collect())
        };
        Some(TransportType::Unified {
            request_transports: all(self.request_transports, self.request_transport)?,
            response_transports: all(self.response_transports, self.response_transport).unwrap_or_default(),
        })
    }
}

impl From<&TransportEndpoint> for Endpoint {
    fn from(endpoint: &TransportEndpoint) -> Self {
        let claims = &endpoint.capabilities;
        Self {
            transport_id: endpoint.address.transport.clone(),
            address: endpoint.address.address.clone(),
            capabilities: Claims {
                exchange: Some(claims.exchange),
                streaming: false,
                bidirectional: false,
                sharing: claims.sharing,
                rendezvous: claims.rendezvous,
                persistent_connections: claims.persistent_connections,
                server_push: claims.server_push,
                max_message_size: claims.max_message_size,
            },
            metadata: endpoint.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
}

impl From<Endpoint> for TransportEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        let claims = endpoint.capabilities;
        let derived = match (claims.bidirectional, claims.streaming) {
            (true, _) => Exchange::Duplex,
            (false, true) => Exchange::Streaming,
            (false, false) => Exchange::Unary,
        };
        Self {
            address: TransportAddress { transport: endpoint.transport_id, address: endpoint.address },
            capabilities: TransportCapabilities {
                exchange: claims.exchange.unwrap_or(derived),
                sharing: claims.sharing,
                rendezvous: claims.rendezvous,
                persistent_connections: claims.persistent_connections,
                server_push: claims.server_push,
                max_message_size: claims.max_message_size,
            },
            metadata: endpoint.metadata.into_iter().collect(),
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
