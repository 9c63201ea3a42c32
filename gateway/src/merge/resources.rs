// SPDX-License-Identifier: Apache-2.0
//! From a URI to the upstream whose resource it is: the one that listed it, the one whose template makes it, and failing
//! both the first that does not say that it has no such resource.

use std::sync::Arc;

use biplane::proto::json;
use biplane::{Error, Event, Message, PeerError, Request, ResponseStream, Result};
use futures_util::stream;

use crate::merge::group::{Group, INVALID_PARAMS, is_not_found, with_body};
use crate::merge::kind::Kind;
use crate::merge::list::know;
use crate::merge::naming::unmarked;

/// The part that a marked URI names, and the URI that the part knows it by.
pub(crate) fn named<'a>(group: &Group, uri: &'a str) -> Option<(usize, &'a str)> {
    let (name, own) = unmarked(uri)?;
    Some((group.index(name)?, own))
}

/// The part that has listed `uri`.
pub(crate) fn owner(group: &Group, uri: &str) -> Option<usize> {
    let listed = |part: &usize| {
        group.catalogs.knows(Kind::Resources, *part, uri) || group.catalogs.knows(Kind::Templates, *part, uri)
    };
    (0..group.parts.len()).find(listed)
}

/// Sends a request to the upstream of the URI at `path` of its params.
pub(crate) fn open(group: &Arc<Group>, path: &'static [&'static str], request: Request) -> Result<ResponseStream> {
    let raw = json::get(&request.message.body, path);
    let Some(uri) = raw.as_deref().and_then(json::text).map(|uri| uri.into_owned()) else {
        return Err(Error::from(PeerError::new(
            INVALID_PARAMS,
            format!("the params lack the text {}", path.join(".")),
        )));
    };
    if let Some((part, own)) = named(group, &uri) {
        let body = json::set(&request.message.body, path, &json::quote(own));
        return group.view(part)?.connection.open(with_body(&request, body));
    }
    // The only one that has resources needs no search, and its answer no look.
    if let [only] = with_resources(group).as_slice() {
        return group.view(*only)?.connection.open(request);
    }
    let group = group.clone();
    Ok(ResponseStream::deferred(async move {
        let order = order(&group, &request, &uri).await;
        first(&group, order, &request).await.map(|(_, stream)| stream)
    }))
}

/// `resources/subscribe` and its opposite: as [`open`], and remembered, so that an upstream that was started anew hears of
/// it again.
pub(crate) async fn subscribe(group: &Group, request: Request) -> Result<Message> {
    let invalid = || Error::from(PeerError::new(INVALID_PARAMS, "the params lack the text uri"));
    let raw = json::get(&request.message.body, &["uri"]).ok_or_else(invalid)?;
    let uri = json::text(&raw).ok_or_else(invalid)?.into_owned();
    let (own, order, asked) = match named(group, &uri) {
        Some((part, own)) => {
            let body = json::set(&request.message.body, &["uri"], &json::quote(own));
            (own.to_owned(), vec![part], with_body(&request, body))
        }
        None => (uri.clone(), order(group, &request, &uri).await, with_body(&request, request.message.body.clone())),
    };
    let (part, mut stream) = first(group, order, &asked).await?;
    let answer = match stream.next().await {
        Some(answer) => answer?,
        None => return Err(Error::protocol("the answer to a unary request has no item")),
    };
    match request.subject.as_str() {
        "resources/subscribe" => group.subscribe(part, &own, &asked.message),
        _ => group.unsubscribe(part, &own),
    }
    Ok(answer)
}

/// Whom to ask for `uri`, the likeliest first.
async fn order(group: &Group, request: &Request, uri: &str) -> Vec<usize> {
    let parts = with_resources(group);
    if parts.len() > 1 && owner(group, uri).is_none() && !parts.iter().any(|part| group.catalogs.makes(*part, uri)) {
        // A replica that never listed has to look once; it remembers what it saw.
        know(group, Kind::Resources, request, parts.iter().copied()).await;
        know(group, Kind::Templates, request, parts.iter().copied()).await;
    }
    let mut parts = parts;
    let listed = |part: usize| {
        group.catalogs.knows(Kind::Resources, part, uri) || group.catalogs.knows(Kind::Templates, part, uri)
    };
    parts.sort_by_key(|part| (!listed(*part), !group.catalogs.makes(*part, uri), *part));
    parts
}

/// Those that have resources, and those of which nobody knows.
fn with_resources(group: &Group) -> Vec<usize> {
    (0..group.parts.len()).filter(|part| !matches!(group.view_with(*part, "resources"), Ok(None))).collect()
}

/// Asks in this order, and takes the first answer that does not leave it to another. The requests are the same, so what one
/// does not know it has not done.
pub(crate) async fn first(group: &Group, order: Vec<usize>, request: &Request) -> Result<(usize, ResponseStream)> {
    let mut missing: Option<Error> = None;
    let mut refusal: Option<Error> = None;
    for part in order {
        let view = match group.view(part) {
            Ok(view) => view,
            Err(error) => {
                missing.get_or_insert(error);
                continue;
            }
        };
        let mut answer = view.connection.open(with_body(request, request.message.body.clone()))?;
        match answer.next_event().await {
            Some(Ok(event)) => return Ok((part, answer.with_unread(event))),
            Some(Err(error)) if is_not_found(&error) => {
                refusal.get_or_insert(error);
            }
            Some(Err(error)) => return Err(error),
            None => return Err(Error::protocol("the answer to a unary request has no item")),
        }
    }
    // Who is down may have it: that nobody has it would be a lie.
    Err(missing.or(refusal).unwrap_or_else(|| crate::merge::group::method_not_found(request.subject.as_str())))
}

/// A stream of one item that is there already.
pub(crate) fn answered(answer: impl Future<Output = Result<Message>> + Send + 'static) -> ResponseStream {
    ResponseStream::deferred(async move {
        let message = answer.await?;
        Ok(ResponseStream::from_events(stream::iter([Ok(Event::Item(message))])))
    })
}
