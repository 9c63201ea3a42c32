// SPDX-License-Identifier: Apache-2.0
//! `GET`: a client of a session listens, or comes back for the rest of a stream.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};

use super::super::body::Body;
use super::accepted;
use super::era::{self, Era};
use super::fault::Fault;
use super::post::{no_session, session};
use super::reply::{self, SESSION_ID};
use super::site::{ALLOWED, Site};
use crate::io::Principal;
use crate::io::sessions::EventId;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn get(site: &Site, head: &Parts, who: Option<&Principal>) -> Result<Response<Body>, Fault> {
    // Modern revisions have no such stream.
    if era::of_header(&head.headers, &site.settings.revisions)? == Era::Modern {
        return Err(Fault::method(ALLOWED));
    }
    accepted::check_get(&head.headers)?;
    let session = session(&head.headers)?.ok_or_else(no_session)?;
    // A place that is none of ours was somebody else's, or a former life's: there is nothing to say again.
    let last = head.headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.parse::<EventId>().ok());
    let answer = site.sessions.listen(&session, who, last).await?;
    let mut response = reply::stream(answer, None, &site.settings);
    if let Ok(value) = HeaderValue::from_str(session.as_str()) {
        response.headers_mut().insert(SESSION_ID, value);
    }
    Ok(response)
}
