// SPDX-License-Identifier: Apache-2.0
//! What is asked of a listener, and who answers it.

use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use super::super::body::Body;
use super::super::incoming::Incoming;
use super::super::listening;
use super::door::Paths;
use super::fault::Fault;
use super::settings::ListenSettings;
use super::two_endpoint::{self, Channels};
use super::{cors, delete, get, post};
use crate::io::admission::{Door, Gate};
use crate::io::sessions::Sessions;

/// The methods of the endpoint.
pub(super) const ALLOWED: &str = "GET, POST, DELETE, OPTIONS";

/// One listener's content.
pub(super) struct Site {
    pub(super) settings: Arc<ListenSettings>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) channels: Channels,
    pub(super) paths: Paths,
    pub(super) gate: Arc<Gate>,
    pub(super) door: Door,
}

impl listening::Site for Site {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let admission = self.gate.admission();
        if let Err(denial) = admission.check_place(&self.door, &head.uri, &head.headers) {
            return Fault::from(denial).into_response(head.version);
        }
        let answered = match admission.identify(&head.uri, &head.headers) {
            _ if head.method == Method::OPTIONS => self.options(&head),
            Err(denial) => Err(denial.into()),
            Ok(who) => {
                drop(admission);
                self.route(&head, body, who.as_ref()).await
            }
        };
        let mut response = answered.unwrap_or_else(|fault| fault.into_response(head.version));
        if let Some(origin) = head.headers.get(ORIGIN) {
            cors::permit(origin, response.headers_mut());
        }
        response
    }
}

impl Site {
    async fn route(
        &self,
        head: &Parts,
        body: Incoming,
        who: Option<&crate::io::Principal>,
    ) -> Result<Response<Body>, Fault> {
        let path = head.uri.path();
        if self.paths.endpoint.as_deref().is_some_and(|endpoint| Paths::is(path, endpoint)) {
            return match head.method {
                Method::POST => post::post(self, head, body, who).await,
                Method::GET => get::get(self, head, who).await,
                Method::DELETE => delete::delete(self, head, who).await,
                _ => Err(Fault::method(ALLOWED)),
            };
        }
        let Some(older) = &self.paths.older else { return Err(nothing_there()) };
        if Paths::is(path, &older.stream) {
            match head.method {
                Method::GET => two_endpoint::open(self, head, who),
                _ => Err(Fault::method("GET")),
            }
        } else if Paths::is(path, &older.messages) {
            match head.method {
                Method::POST => two_endpoint::post(self, head, body, who).await,
                _ => Err(Fault::method("POST")),
            }
        } else {
            Err(nothing_there())
        }
    }

    fn options(&self, head: &Parts) -> Result<Response<Body>, Fault> {
        cors::preflight(&head.headers, ALLOWED).ok_or_else(|| Fault::method(ALLOWED))
    }
}

fn nothing_there() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "nothing is served at this path")
}
