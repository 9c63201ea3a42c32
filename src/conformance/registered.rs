// SPDX-License-Identifier: Apache-2.0
//! Harnesses made of registrations.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::harness::{Claims, Harness, Parts, PlaneParts};
use super::payload::Payload;
use crate::capability::{Exchange, Rendezvous, TransportCapabilities};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::message::random_u64;
use crate::plane::{PlaneType, ResponsePlane};
use crate::registry::{BuildContext, Factory, TransportRegistration};
use crate::target::TransportId;
use crate::telemetry::Telemetry;

/// A harness for one connection transport, one request plane with inline answers, or one pair of planes.
#[derive(Clone)]
pub struct RegisteredHarness {
    subject: Subject,
    settings: Vec<(String, String)>,
    name: Option<String>,
    listen: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    prepare: Option<fn(&BuildContext)>,
    claimed: Option<TransportCapabilities>,
    payload: Payload,
    deadlines: bool,
    initialize: bool,
    one_runtime: bool,
    item_headers: bool,
    one_way: bool,
    over_tcp: bool,
}

#[derive(Clone, Copy)]
enum Subject {
    Connection(TransportRegistration),
    Inline(TransportRegistration, Option<TransportRegistration>),
    Pair(TransportRegistration, TransportRegistration),
}

impl RegisteredHarness {
    /// All that `registrations` can be tested as: every connection transport, every request plane that answers inline,
    /// every pair of a request and a response plane.
    pub fn every(registrations: &[TransportRegistration]) -> impl Iterator<Item = Self> {
        let of = |plane: PlaneType| registrations.iter().copied().filter(move |found| found.plane() == plane);
        let connections = of(PlaneType::Connection).map(Self::connection);
        let inline = of(PlaneType::Request).filter(|request| request.capabilities.rendezvous.inline).map(|request| {
            let answers = of(PlaneType::Response).find(|found| found.transport_id == request.transport_id);
            Self::new(Subject::Inline(request, answers))
        });
        let pairs = of(PlaneType::Request)
            .flat_map(|request| of(PlaneType::Response).map(move |response| Self::pair(request, response)));
        connections.chain(inline).chain(pairs).collect::<Vec<_>>().into_iter()
    }

    /// A connection transport.
    pub fn connection(registration: TransportRegistration) -> Self {
        Self::new(Subject::Connection(registration))
    }

    /// A request plane with inline answers.
    pub fn inline(request: TransportRegistration) -> Self {
        Self::new(Subject::Inline(request, None))
    }

    /// A request plane whose answers come through a response plane.
    pub fn pair(request: TransportRegistration, response: TransportRegistration) -> Self {
        Self::new(Subject::Pair(request, response))
    }

    fn new(subject: Subject) -> Self {
        Self {
            subject,
            settings: Vec::new(),
            name: None,
            listen: None,
            prepare: None,
            claimed: None,
            payload: Payload::Bytes,
            deadlines: true,
            initialize: false,
            one_runtime: false,
            item_headers: true,
            one_way: true,
            over_tcp: false,
        }
    }

    /// Adds a setting: a dotted path, and text as it would stand in a variable.
    pub fn setting(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((path.into(), value.into()));
        self
    }

    /// The URL to listen on, if `scheme://127.0.0.1:0` will not do.
    pub fn listen(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.listen_with(move || url.clone())
    }

    /// The same, where every case needs a URL of its own: a path of a socket, for instance.
    pub fn listen_with(mut self, url: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.listen = Some(Arc::new(url));
        self
    }

    /// Gives the transport what a program would: a gate that knows the fault proxy, for instance.
    pub fn prepared(mut self, prepare: fn(&BuildContext)) -> Self {
        self.prepare = Some(prepare);
        self
    }

    /// The first part of every case's name, if the transport's id will not do.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Tries these claims in place of the registration's, for a transport that can do less in some setting.
    pub fn claiming(mut self, capabilities: TransportCapabilities) -> Self {
        self.claimed = Some(capabilities);
        self
    }

    /// Bodies are JSON-RPC: no headers, no deadlines, one item per answer. `meta` is the raw JSON of the `_meta` that every
    /// request must have, if any.
    pub fn json_rpc(mut self, meta: Option<&'static str>) -> Self {
        self.payload = Payload::JsonRpc { meta };
        self.deadlines = false;
        self.without_item_headers()
    }

    /// Every connection begins with MCP's `initialize`, which the suite sends and answers.
    pub fn initialized(mut self) -> Self {
        self.initialize = true;
        self
    }

    /// Builds both ends from one [`BuildContext`], for transports that reach no other runtime.
    pub fn one_runtime(mut self) -> Self {
        self.one_runtime = true;
        self
    }

    /// Items of an answer lose their headers.
    pub fn without_item_headers(mut self) -> Self {
        self.item_headers = false;
        self
    }

    /// There are no one-way messages.
    pub fn without_one_way(mut self) -> Self {
        self.one_way = false;
        self
    }

    /// The addresses contain an `IP:port`: the fault proxy is put before it.
    pub fn over_tcp(mut self) -> Self {
        self.over_tcp = true;
        self
    }
}

#[async_trait]
impl Harness for RegisteredHarness {
    fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        match &self.subject {
            Subject::Connection(found) => found.transport_id.to_owned(),
            Subject::Inline(request, _) => format!("{}+inline", request.transport_id),
            Subject::Pair(request, response) => format!("{}+{}", request.transport_id, response.transport_id),
        }
    }

    fn claims(&self) -> Claims {
        let (capabilities, response) = match &self.subject {
            Subject::Connection(found) => (self.claimed.unwrap_or(found.capabilities), None),
            // Without word of its own, an inline answer is what a plain response is: a stream.
            Subject::Inline(request, answers) => {
                let answers = answers.map_or(Exchange::Streaming, |answers| answers.capabilities.exchange);
                let rendezvous = Rendezvous::INLINE;
                (TransportCapabilities { rendezvous, ..together(&request.capabilities, answers, None) }, None)
            }
            Subject::Pair(request, response) => {
                let Rendezvous { call_home, fetch, .. } = response.capabilities.rendezvous;
                let rendezvous = Rendezvous { inline: request.capabilities.rendezvous.inline, call_home, fetch };
                let answers = &response.capabilities;
                let both = together(&request.capabilities, answers.exchange, answers.max_message_size);
                (TransportCapabilities { rendezvous, ..both }, Some(response.id()))
            }
        };
        let uploads = match &self.subject {
            Subject::Connection(found) => found.capabilities.bidirectional(),
            Subject::Inline(request, _) | Subject::Pair(request, _) => request.capabilities.bidirectional(),
        };
        Claims {
            capabilities,
            uploads,
            connection: matches!(self.subject, Subject::Connection(_)),
            response,
            item_headers: self.item_headers,
            one_way: self.one_way,
            deadlines: self.deadlines,
            payload: self.payload,
            initialize: self.initialize,
            over_tcp: self.over_tcp,
        }
    }

    fn registrations(&self) -> Vec<TransportRegistration> {
        match self.subject {
            Subject::Connection(found) => vec![found],
            Subject::Inline(request, answers) => std::iter::once(request).chain(answers).collect(),
            Subject::Pair(request, response) => vec![request, response],
        }
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    async fn start(&self, config: Arc<Config>) -> Result<Parts> {
        let fresh = || {
            let context = BuildContext::new(config.clone(), Telemetry::default(), random_u64());
            if let Some(prepare) = self.prepare {
                prepare(&context);
            }
            context
        };
        let responder = fresh();
        let caller = if self.one_runtime { responder.clone() } else { fresh() };
        match &self.subject {
            Subject::Connection(found) => {
                let Factory::Connection(build) = found.factory else { return Err(misused(found)) };
                let scheme = found.schemes.first().copied().unwrap_or(found.transport_id);
                let listen = self.listen.as_ref().map_or_else(|| format!("{scheme}://127.0.0.1:0"), |listen| listen());
                Ok(Parts::Connection { transport: build(&caller)?, listen })
            }
            Subject::Inline(request, _) => planes(request, None, &caller, &responder),
            Subject::Pair(request, response) => planes(request, Some(response), &caller, &responder),
        }
    }
}

fn planes(
    request: &TransportRegistration,
    response: Option<&TransportRegistration>,
    caller: &BuildContext,
    responder: &BuildContext,
) -> Result<Parts> {
    let Factory::Request(build) = request.factory else { return Err(misused(request)) };
    let answers = |context: &BuildContext| -> Result<HashMap<TransportId, Arc<dyn ResponsePlane>>> {
        let Some(response) = response else { return Ok(HashMap::new()) };
        let Factory::Response(build) = response.factory else { return Err(misused(response)) };
        Ok(HashMap::from([(response.id(), build(context)?)]))
    };
    Ok(Parts::Planes(PlaneParts {
        client: build(caller)?.client,
        server: build(responder)?.server,
        caller: answers(caller)?,
        responder: answers(responder)?,
    }))
}

/// What a caller may rely on where requests and answers go different ways.
fn together(request: &TransportCapabilities, answers: Exchange, limit: Option<u64>) -> TransportCapabilities {
    let exchange = if request.exchange == Exchange::Duplex { answers } else { answers.min(Exchange::Streaming) };
    let max_message_size = match (request.max_message_size, limit) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    TransportCapabilities { exchange, server_push: false, max_message_size, ..*request }
}

fn misused(registration: &TransportRegistration) -> Error {
    Error::config(format!(
        "the {} registration of {} cannot be tested as what it was given for",
        registration.plane(),
        registration.transport_id
    ))
}
