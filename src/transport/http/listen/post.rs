// SPDX-License-Identifier: Apache-2.0
//! `POST`: one message of a client.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::super::body::Body;
use super::super::incoming::Incoming;
use super::super::names::ENVELOPE;
use super::era::Era;
use super::fault::Fault;
use super::reply::{self, SESSION_ID};
use super::site::Site;
use super::{accepted, batch, body, era, mirrored};
use crate::io::Principal;
use crate::io::sessions::Posted;
use crate::message::SessionId;
use crate::proto::jsonrpc::{self, Id, Packet, ids};

/// The longest name of a session. One that says what its client said is long.
const MAX_SESSION_ID: usize = 16 << 10;

/// Takes one message, or a batch of 2025-03-26.
pub(super) async fn post(
    site: &Site,
    head: &Parts,
    sent: Incoming,
    who: Option<&Principal>,
) -> Result<Response<Body>, Fault> {
    accepted::check_post(&head.headers)?;
    let text = body::read(sent, site.settings.sessions.max_message_size.saturating_add(ENVELOPE)).await?;
    match Packet::parse(&text) {
        Ok(packet) => {
            let id = id_of(&packet).cloned();
            take(site, &head.headers, packet, who).await.map_err(|fault| fault.to(id.as_ref()))
        }
        Err(bad) => match jsonrpc::batch(&text) {
            Some(parts) => batch::take(site, &head.headers, parts, who).await,
            None => Err(bad.into()),
        },
    }
}

async fn take(
    site: &Site,
    headers: &HeaderMap,
    packet: Packet,
    who: Option<&Principal>,
) -> Result<Response<Body>, Fault> {
    let era = era::of_packet(&packet, headers, &site.settings.revisions)?;
    let posted = match era {
        Era::Modern => site.sessions.post_stateless(who, modern(packet, headers)?)?,
        Era::Legacy => legacy(site, headers, packet, who).await?,
    };
    match posted {
        Posted::Accepted => Ok(accepted_response()),
        Posted::Answer(answer) => Ok(reply::respond(answer, era, &site.settings).await),
    }
}

/// A message that describes itself: what it says twice must be the same.
fn modern(packet: Packet, headers: &HeaderMap) -> Result<Packet, Fault> {
    match packet {
        Packet::Request { id, method, message } => {
            mirrored::check(headers, &method, &message.body)?;
            era::check_meta(&message.body)?;
            let message = mirrored::with_arguments(message, headers);
            Ok(Packet::Request { id, method, message })
        }
        other => Ok(other),
    }
}

/// A message of a session, or the one that opens one.
async fn legacy(site: &Site, headers: &HeaderMap, packet: Packet, who: Option<&Principal>) -> Result<Posted, Fault> {
    match (session(headers)?, packet) {
        (None, Packet::Request { id, method, message }) if method.as_str() == ids::INITIALIZE => {
            Ok(Posted::Answer(site.sessions.initialize(who, id, message)?))
        }
        (None, packet) if site.settings.stateless_legacy => Ok(site.sessions.post_stateless(who, packet)?),
        (None, _) => Err(no_session()),
        (Some(session), packet) => Ok(site.sessions.post(&session, who, packet).await?),
    }
}

/// The session that a request names.
pub(super) fn session(headers: &HeaderMap) -> Result<Option<SessionId>, Fault> {
    let mut values = headers.get_all(SESSION_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let name = value.to_str().ok().filter(|name| !name.is_empty() && name.len() <= MAX_SESSION_ID);
            let name = name.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
            name.map(|name| Some(SessionId::new(name))).ok_or_else(|| Fault::bad("Mcp-Session-Id is no session id"))
        }
        (Some(_), Some(_)) => Err(Fault::bad("Mcp-Session-Id stands there twice")),
    }
}

pub(super) fn no_session() -> Fault {
    Fault::bad("the header Mcp-Session-Id is missing: initialize first, and send what the response names")
}

/// `202`, with nothing in it.
pub(super) fn accepted_response() -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// The id of a request, for the error that answers it.
pub(super) fn id_of(packet: &Packet) -> Option<&Id> {
    match packet {
        Packet::Request { id, .. } => Some(id),
        _ => None,
    }
}
