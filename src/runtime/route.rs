// SPDX-License-Identifier: Apache-2.0
//! From an instance or a URL to a connection: which request plane, which response plane, and how they meet.

use std::sync::Arc;

use super::Inner;
use crate::capability::{Exchange, Requirements};
use crate::connection::{Connection, ConnectionInfo};
use crate::discovery::Instance;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::layer::Layer;
use crate::pair::PlanePair;
use crate::plane::PlaneType;
use crate::registry::{Meeting, Preference, Question, Selection, TransportRegistration, meeting};
use crate::target::{Target, TransportAddress, TransportId};

/// How a call would travel.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) request: TransportId,
    pub(super) response: TransportId,
    pub(super) meeting: Meeting,
    pub(super) to: TransportAddress,
}

impl Inner {
    /// The routes to `instance`: the chosen one, then those that `BIPLANE_FALLBACK` permits after it.
    pub(super) fn routes_to(&self, instance: &Instance) -> Result<Vec<Route>> {
        let offered: Vec<TransportId> =
            instance.request_endpoints().into_iter().map(|endpoint| endpoint.address.transport).collect();
        let selection = self.select_request(Some(&offered), Requirements::NONE)?;
        let chosen = selection.require()?;
        std::iter::once(&chosen)
            .chain(selection.fallbacks(&self.config.fallback))
            .map(|id| {
                let endpoint = instance
                    .request_endpoints()
                    .into_iter()
                    .find(|endpoint| endpoint.address.transport == *id)
                    .ok_or_else(|| Error::unexpected(format!("the instance no longer offers {id}")))?;
                self.route(endpoint.address)
            })
            .collect()
    }

    /// Which request plane would carry a call to an instance that offers these.
    pub(super) fn select_request(&self, offered: Option<&[TransportId]>, needs: Requirements) -> Result<Selection> {
        let preferred = &self.config.request_planes;
        let preference = if self.config.strict { Preference::Only(preferred) } else { Preference::First(preferred) };
        Ok(self.registry.select(&Question {
            preference,
            offered,
            needs: of_request(needs),
            counterpart: Some(self.response_registration()?),
            ..Question::new(PlaneType::Request)
        }))
    }

    /// Which response plane the configuration chooses.
    pub(super) fn select_response(&self, needs: Requirements) -> Selection {
        let configured = [self.config.response_plane.clone()];
        self.registry.select(&Question {
            preference: Preference::Only(&configured),
            needs,
            ..Question::new(PlaneType::Response)
        })
    }

    fn response_registration(&self) -> Result<&TransportRegistration> {
        self.registry.registration(PlaneType::Response, &self.config.response_plane)
    }

    /// The route of a request to `to`.
    pub(super) fn route(&self, to: TransportAddress) -> Result<Route> {
        let request = self.registry.registration(PlaneType::Request, &to.transport)?;
        let response = self.response_registration()?;
        let meeting =
            meeting((request.transport_id, &request.capabilities), (response.transport_id, &response.capabilities))
                .ok_or_else(|| {
                    Error::no_transport(format!(
                        "requests over {} and answers over {} cannot meet",
                        request.transport_id, response.transport_id
                    ))
                    .with_phase(Phase::Select)
                    .with_hint("choose another DYN_RESPONSE_PLANE; `biplane transports` lists how each meets")
                })?;
        Ok(Route { request: request.id(), response: response.id(), meeting, to })
    }

    /// The connection that takes `route`. Inline, it is the transport's own; otherwise a pair of planes, which dials later.
    pub(super) async fn connect_route(&self, route: &Route) -> Result<Arc<dyn Connection>> {
        let client = self.registry.get_request_client(&route.request)?;
        let request = self.registry.registration(PlaneType::Request, &route.request)?;
        let info = ConnectionInfo::new(route.request.clone(), route.to.to_string(), request.capabilities);
        if route.meeting != Meeting::Inline {
            let plane = self.registry.get_response_client(&route.response)?;
            let response = Some((route.response.clone(), plane));
            return Ok(self.layers.layer(Arc::new(PlanePair::new(client, response, route.to.clone(), info))));
        }
        match self.connect_inline(&route.to).await {
            Ok(connection) => Ok(self.layers.layer(connection)),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Ok(self.layers.layer(Arc::new(PlanePair::new(client, None, route.to.clone(), info))))
            }
            Err(error) => Err(error),
        }
    }

    async fn connect_inline(&self, to: &TransportAddress) -> Result<Arc<dyn Connection>> {
        let registration = self
            .registry
            .registration(PlaneType::Connection, &to.transport)
            .map_err(|error| Error::unsupported(error.to_string()))?;
        if !registration.capabilities.rendezvous.inline {
            return Err(Error::unsupported(format!("connections of {} are no plane", to.transport)));
        }
        let target = self.target_of(to, registration)?;
        self.registry.get_transport(&to.transport)?.connect(&target).await
    }

    /// The URL that an address means to its transport's connection face.
    fn target_of(&self, to: &TransportAddress, registration: &TransportRegistration) -> Result<Target> {
        let known = |id: &str| self.registry.is_registered(id);
        if to.address.contains("://") {
            return Target::parse(&to.address, known);
        }
        let scheme = registration.schemes.first().copied().unwrap_or(registration.transport_id);
        Target::parse(&format!("{scheme}://{}", to.address), known)
    }
}

/// What `needs` ask of a request plane: of the exchange, a duplex body only. That an answer streams is the response
/// plane's matter.
pub(super) fn of_request(needs: Requirements) -> Requirements {
    let exchange = if needs.exchange == Exchange::Duplex { Exchange::Duplex } else { Exchange::Unary };
    Requirements { exchange, ..needs }
}
