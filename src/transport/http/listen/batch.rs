// SPDX-License-Identifier: Apache-2.0
//! Several messages in one `POST`, which the revision of 2025-03-26 has and no other.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::super::body::Body;
use super::era::{self, Era};
use super::events::Events;
use super::fault::Fault;
use super::post::{accepted_response, session};
use super::site::Site;
use crate::io::Principal;
use crate::io::sessions::{Answer, Posted};
use crate::proto::jsonrpc::{Packet, ids};

const REVISION: &str = "2025-03-26";

/// Messages in one batch.
const MAX_MESSAGES: usize = 64;

/// Takes the messages of a batch; the answers to its requests come in one stream, each when it is there.
pub(super) async fn take(
    site: &Site,
    headers: &HeaderMap,
    parts: Vec<Bytes>,
    who: Option<&Principal>,
) -> Result<Response<Body>, Fault> {
    let unknown = || Fault::bad("a batch is taken in sessions of 2025-03-26 only: send one message");
    let session = session(headers)?.ok_or_else(unknown)?;
    if era::of_header(headers, &site.settings.revisions)? == Era::Modern {
        return Err(unknown());
    }
    if site.sessions.revision(&session).as_deref() != Some(REVISION) {
        return Err(unknown());
    }
    if parts.is_empty() || parts.len() > MAX_MESSAGES {
        return Err(Fault::bad(format!("a batch has 1 to {MAX_MESSAGES} messages")));
    }
    // All are read before one is taken.
    let packets = parts.iter().map(Packet::parse).collect::<Result<Vec<_>, _>>()?;
    let initializes =
        |packet: &Packet| matches!(packet, Packet::Request { method, .. } if method.as_str() == ids::INITIALIZE);
    if packets.iter().any(initializes) {
        return Err(Fault::bad("initialize comes alone"));
    }
    let mut answers: Vec<Answer> = Vec::new();
    for packet in packets {
        match site.sessions.post(&session, who, packet).await {
            Ok(Posted::Accepted) => {}
            Ok(Posted::Answer(answer)) => answers.push(answer),
            Err(refused) => {
                answers.into_iter().for_each(Answer::cancel);
                return Err(refused.into());
            }
        }
    }
    if answers.is_empty() {
        return Ok(accepted_response());
    }
    let events = Events::new(site.settings.keep_alive);
    Ok(answers.into_iter().fold(events, Events::with).into_response())
}
