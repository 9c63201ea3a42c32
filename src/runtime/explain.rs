// SPDX-License-Identifier: Apache-2.0
//! Who would carry a call, and why each other one would not.

use super::route::of_request;
use super::{Biplane, rpc};
use crate::capability::Requirements;
use crate::error::{ErrorKind, Result};
use crate::plane::PlaneType;
use crate::registry::{Explanation, Preference, Question, Selection, meeting};
use crate::target::{ServiceName, Target, TransportId};

impl Biplane {
    /// Explains what a call of a URL or of a service by name would do now. Sends nothing to anyone but discovery.
    pub async fn explain(&self, url_or_name: &str, needs: Requirements) -> Result<Explanation> {
        if let Some(rest) = rpc::rest(url_or_name) {
            return self.explain_rpc(rest, needs).await;
        }
        if url_or_name.contains(':') {
            self.explain_url(url_or_name, needs)
        } else {
            self.explain_name(url_or_name, needs).await
        }
    }

    /// [`explain`](Self::explain), and asks whoever is at a URL what it is, as [`connect`](Self::connect) would: which era
    /// and which transport, and by what that is known.
    pub async fn explain_and_ask(&self, url_or_name: &str, needs: Requirements) -> Result<Explanation> {
        let explanation = self.explain(url_or_name, needs).await?;
        if !url_or_name.contains(':') || rpc::rest(url_or_name).is_some() {
            return Ok(explanation.with_note("probe", "instances of services are known from discovery; none was asked"));
        }
        let inner = &self.0;
        let target = self.target(url_or_name)?;
        let mut declined = Vec::new();
        let mut found = None;
        for candidate in inner.select_connection(&target, needs).able() {
            match inner.registry.get_transport(&candidate.id)?.probe(&target).await {
                Ok(said) => found = Some(said.unwrap_or_else(|| format!("{} has nothing to find out", candidate.id))),
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    declined.push((candidate.id.clone(), error.to_string()));
                    continue;
                }
                Err(error) => found = Some(error.to_string()),
            }
            break;
        }
        let chosen = inner.select_connection_but(&target, needs, &declined);
        let found = found.unwrap_or_else(|| "no transport can talk to whoever is there".to_owned());
        Ok(explanation.replacing(chosen).with_note("probe", found))
    }

    /// A connection on the planes goes where a call of the service goes.
    async fn explain_rpc(&self, rest: &str, needs: Requirements) -> Result<Explanation> {
        let place = rpc::Place::parse(rest)?;
        let explanation = self.explain_name(&place.name.to_string(), needs).await?;
        Ok(Explanation { asked: format!("rpc:{}", place.name), ..explanation }
            .with_note(
                "connection",
                "each message is a request on the request plane, what the server says to it its answer",
            )
            .with_note(
                "sessions",
                "a request without one goes to any instance, a session stays with the one that opened it",
            ))
    }

    fn explain_url(&self, url: &str, needs: Requirements) -> Result<Explanation> {
        let inner = &self.0;
        let target = self.target(url)?;
        let connection = inner.select_connection(&target, needs);
        let request = inner.select_request_by_url(&target, needs);
        let response = inner.select_response(needs);
        let answer = inner.meeting_of(&request, &response);
        let order: Vec<&str> = connection.able().map(|candidate| candidate.id.as_str()).collect();
        let order = (order.len() > 1)
            .then(|| format!("tried in this order until one finds its kind of server: {}", order.join(", ")));
        let explanation = Explanation::new(&target).with(connection).with(request).with(response).with_answer(answer);
        Ok(match order {
            Some(order) => explanation.with_note("connection", order),
            None => explanation,
        })
    }

    async fn explain_name(&self, name: &str, needs: Requirements) -> Result<Explanation> {
        let inner = &self.0;
        let name: ServiceName = name.parse()?;
        let instances = inner.discovery()?.refresh(&name).await?;
        let offered: Option<Vec<TransportId>> = instances.first().map(|instance| {
            instance.request_endpoints().into_iter().map(|endpoint| endpoint.address.transport).collect()
        });
        let request = inner.select_request(offered.as_deref(), needs)?;
        let response = inner.select_response(needs);
        let answer = inner.meeting_of(&request, &response);
        let mut explanation = Explanation::new(&name).with(request).with(response).with_answer(answer);
        if instances.is_empty() {
            explanation = explanation.with_note("instances", inner.who_is_there(&name).await);
        }
        for instance in instances.iter() {
            let offers: Vec<String> =
                instance.request_endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect();
            let carried = match inner.routes_to(instance) {
                Ok(routes) => routes.iter().map(|route| route.request.to_string()).collect::<Vec<_>>().join(", then "),
                Err(error) => format!("nobody: {error}"),
            };
            let text = format!("weight {}, offers {}; carried by {carried}", instance.weight, offers.join(" and "));
            explanation = explanation.with_note("instance", format!("{} {text}", instance.instance_id));
        }
        if !inner.config.fallback.is_empty() {
            let list: Vec<&str> = inner.config.fallback.iter().map(TransportId::as_str).collect();
            explanation = explanation.with_note("fallback", format!("after a failed connect: {}", list.join(", ")));
        }
        Ok(explanation)
    }
}

impl super::Inner {
    /// Which transport would make a connection to `target`.
    pub(super) fn select_connection(&self, target: &Target, needs: Requirements) -> Selection {
        self.select_connection_but(target, needs, &[])
    }

    /// The same after some have said that the target is none of theirs.
    fn select_connection_but(
        &self,
        target: &Target,
        needs: Requirements,
        declined: &[(TransportId, String)],
    ) -> Selection {
        let preferred: Vec<TransportId> = self.config.connection.iter().cloned().collect();
        self.registry.select(&Question {
            needs,
            insisted: target.transport(),
            preference: if preferred.is_empty() { Preference::None } else { Preference::First(&preferred) },
            scheme: Some(target.scheme()),
            declined,
            ..Question::new(PlaneType::Connection)
        })
    }

    /// Which request plane would carry a call of `target`.
    pub(super) fn select_request_by_url(&self, target: &Target, needs: Requirements) -> Selection {
        self.registry.select(&Question {
            needs: of_request(needs),
            insisted: target.transport(),
            scheme: Some(target.scheme()),
            ..Question::new(PlaneType::Request)
        })
    }

    fn meeting_of(&self, request: &Selection, response: &Selection) -> Option<crate::registry::Meeting> {
        let find =
            |plane, id: &Option<TransportId>| id.as_ref().and_then(|id| self.registry.registration(plane, id).ok());
        let request = find(PlaneType::Request, &request.chosen)?;
        let response = find(PlaneType::Response, &response.chosen)?;
        meeting((request.transport_id, &request.capabilities), (response.transport_id, &response.capabilities))
    }
}
