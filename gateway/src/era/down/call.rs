// SPDX-License-Identifier: Apache-2.0
//! One call of a legacy client: as many requests to the modern server as it takes.

use std::sync::Arc;

use biplane::proto::json;
use biplane::{
    Error, ErrorKind, Event, Inbound, Message, PeerError, Request, RequestContext, RequestId, ResponseStream, Result,
    Subject,
};
use bytes::Bytes;

use super::Shared;
use super::rounds::{self, Questions};
use crate::era::edit::{Edit, Object};
use crate::era::generate::Emitter;
use crate::era::names::{INPUT_RESPONSES, REQUEST_STATE, code, key, method};

/// Asks until there is a result, putting the server's questions to the client.
pub(super) async fn run(shared: Arc<Shared>, request: Request, emit: Emitter) -> Result<Message> {
    let Request { subject, context, message, .. } = request;
    let (mut answers, mut urls) = (Bytes::new(), Vec::new());
    let mut idle_rounds = 0;
    for _ in 0..=shared.limits.rounds {
        let edit = Edit {
            without: &[INPUT_RESPONSES, REQUEST_STATE],
            with: &answers,
            without_meta: key::OF_REQUEST,
            with_meta: &shared.meta_of_call(),
        };
        let body = edit.apply(&message.body);
        let attempt = Request {
            subject: subject.clone(),
            context: RequestContext { id: RequestId::unique(), ..context.clone() },
            message: Message { headers: message.headers.clone(), body },
            items: None,
        };
        let mut stream = shared.upstream.open(attempt)?;
        let result = match relay(&mut stream, &emit).await {
            Ok(result) => result,
            Err(error) => return Err(translated(error, &subject)),
        };
        drop(stream);
        match json::get(&result.body, &["resultType"]).as_deref().and_then(json::text).as_deref() {
            None | Some("complete") => {
                rounds::tell_completed(&urls, &emit).await;
                return Ok(Message { body: LEGACY.apply(&result.body), headers: result.headers });
            }
            Some("input_required") => {}
            Some(other) => {
                return Err(Error::protocol(format!("the answer to {subject} is of the unknown type {other:?}")));
            }
        }
        let questions = Questions::read(&result.body, &shared)?;
        if questions.is_empty() {
            // The server sheds load: it wants to be asked again, not at once.
            tokio::time::sleep(shared.limits.pause(idle_rounds)).await;
            idle_rounds += 1;
        }
        answers = retry_with(questions.put(&shared, &emit, &mut urls).await?, &result.body);
    }
    Err(Error::protocol(format!("the server asked for input {} times during one {subject}", shared.limits.rounds + 1))
        .with_hint("see whether the tool ever finishes, or raise the number of rounds"))
}

/// What the modern era adds to a result, and no legacy client knows.
const LEGACY: Edit<'static> = Edit {
    without: &["resultType", "ttlMs", "cacheScope"],
    with: &[],
    without_meta: &[key::SERVER_INFO],
    with_meta: &[],
};

/// The members of a retry. The state goes back byte for byte, or not at all.
fn retry_with(responses: Bytes, result: &Bytes) -> Bytes {
    let mut members = Object::new();
    if responses != "{}" {
        members.set(INPUT_RESPONSES, &responses);
    }
    if let Some(state) = json::get(result, &[REQUEST_STATE]) {
        members.set(REQUEST_STATE, &state);
    }
    members.into_members()
}

/// Passes on what comes beside the item, and returns the item.
async fn relay(stream: &mut ResponseStream, emit: &Emitter) -> Result<Message> {
    let mut item = None;
    while let Some(event) = stream.next_event().await {
        match event? {
            Event::Item(result) if item.is_none() => item = Some(result),
            Event::Item(_) => return Err(Error::protocol("the answer to a unary request has more than one item")),
            Event::Inbound(inbound @ Inbound::Notification(..)) => emit.send(inbound).await,
            Event::Inbound(Inbound::Request(request, reply)) => reply.fail(PeerError::new(
                code::METHOD_NOT_FOUND,
                format!("a modern server asks in its results, it sends no {}", request.subject),
            )),
        }
    }
    item.ok_or_else(|| Error::protocol("the answer to a unary request has no item"))
}

/// The error as legacy clients know it: a resource that is not there has a code of its own.
fn translated(error: Error, subject: &Subject) -> Error {
    let Some(peer) = error.peer().filter(|_| error.kind() == ErrorKind::Peer) else { return error };
    let names_resource = json::get(&peer.data, &["uri"]).is_some();
    if subject.as_str() == method::READ && peer.code == code::INVALID_PARAMS && names_resource {
        return PeerError { code: code::RESOURCE_NOT_FOUND, ..peer.clone() }.into();
    }
    error
}
