// SPDX-License-Identifier: Apache-2.0
//! `DELETE`: a client ends its session.

use http::request::Parts;
use http::{Response, StatusCode};

use super::super::body::Body;
use super::era::{self, Era};
use super::fault::Fault;
use super::post::{no_session, session};
use super::site::{ALLOWED, Site};
use crate::io::Principal;

pub(super) async fn delete(site: &Site, head: &Parts, who: Option<&Principal>) -> Result<Response<Body>, Fault> {
    if era::of_header(&head.headers, &site.settings.revisions)? == Era::Modern {
        return Err(Fault::method(ALLOWED));
    }
    let session = session(&head.headers)?.ok_or_else(no_session)?;
    site.sessions.delete(&session, who).await?;
    let mut response = Response::new(Body::full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
