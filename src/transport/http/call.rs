// SPDX-License-Identifier: Apache-2.0
//! One request over HTTP, from the caller's side: what goes out, and what its response means.

use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::timeout_at;

use super::accept::format_of;
use super::answer::Opened;
use super::control::Control;
use super::head;
use super::links::{Exchange, Links, decorate};
use super::names::{LOCATED, STREAM};
use super::place::Place;
use super::refusal::read_refusal;
use crate::error::{Error, ErrorKind, Phase, Result, Retry};
use crate::message::Request;
use crate::plane::{ReplyTo, ResponseConnectionInfo};
use crate::proto::body::{BodyDecoder, BodyLimits, media_type};
use crate::target::TransportId;

/// Posts a request whose answer is to be the response's body.
pub(super) async fn post_inline(links: &Arc<Links>, place: &Place, request: &Request) -> Result<Opened> {
    let deadline = request.context.deadline;
    let acknowledged_by = links.acknowledged_by(deadline);
    let opened = match post(links, place, request, &ReplyTo::Inline, acknowledged_by).await {
        Ok(exchange) if exchange.response.status() == StatusCode::OK => open(links, place, exchange),
        Ok(exchange) => Err(Box::pin(refused(place, exchange, acknowledged_by)).await),
        Err(error) => Err(error),
    };
    opened.map_err(|error| by_own_deadline(error, deadline, place))
}

/// Posts a request whose answer goes elsewhere or nowhere, and waits for the acknowledgement.
pub(super) async fn post_elsewhere(
    links: &Arc<Links>,
    place: &Place,
    request: &Request,
    reply_to: &ReplyTo,
) -> Result<Option<ResponseConnectionInfo>> {
    let deadline = request.context.deadline;
    let acknowledged_by = links.acknowledged_by(deadline);
    let located = async {
        let exchange = post(links, place, request, reply_to, acknowledged_by).await?;
        if exchange.response.status() != StatusCode::ACCEPTED {
            return Err(Box::pin(refused(place, exchange, acknowledged_by)).await);
        }
        let located = exchange.response.headers().get(LOCATED).map(|value| {
            let text = head::utf8(&LOCATED, value.as_bytes())?;
            ResponseConnectionInfo::from_text(text)
        });
        links.put_aside(exchange, acknowledged_by).await;
        located.transpose().map_err(|error| decorate(error.with_phase(Phase::Acknowledge), place))
    };
    located.await.map_err(|error| by_own_deadline(error, deadline, place))
}

/// A timeout after the request's own deadline is that deadline's, whoever noticed it first.
fn by_own_deadline(error: Error, deadline: Option<Instant>, place: &Place) -> Error {
    match deadline {
        Some(deadline) if error.kind() == ErrorKind::Timeout && Instant::now() >= deadline => {
            decorate(Error::deadline(0).with_phase(Phase::Acknowledge), place)
        }
        _ => error,
    }
}

/// Fetches an answer that a responder holds.
pub(super) async fn fetch(links: &Arc<Links>, place: &Place, deadline: Instant) -> Result<Opened> {
    let accept = HeaderValue::from_static(media_type(links.config().http.response_format));
    let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
    let by = links.acknowledged_by(Some(deadline));
    let fetched = async {
        let exchange = links.send(place, Method::GET, headers, Default::default(), by).await?;
        if exchange.response.status() != StatusCode::OK {
            return Err(refused(place, exchange, by).await);
        }
        let mut opened = open(links, place, exchange)?;
        opened.control = Some(Control::new(links, place, place.path()));
        Ok(opened)
    };
    // The handler is at work: whatever went wrong here, the request must not be repeated on account of it.
    let fetched = fetched.await.map_err(|error| by_own_deadline(error, Some(deadline), place));
    fetched.map_err(|error: Error| error.with_retry(Retry::Never).with_phase(Phase::Respond))
}

async fn post(
    links: &Arc<Links>,
    place: &Place,
    request: &Request,
    reply_to: &ReplyTo,
    acknowledged_by: Instant,
) -> Result<Exchange> {
    check(links, request).map_err(|error| decorate(error.with_phase(Phase::Send), place))?;
    let headers = || {
        let headers = head::write(request, reply_to, links.config().http.response_format, Instant::now());
        headers.map_err(|error| decorate(error.with_phase(Phase::Send), place))
    };
    let body = request.message.body.clone();
    links.send_written(place, Method::POST, headers, body, acknowledged_by).await
}

/// What this transport cannot send, or may not.
fn check(links: &Links, request: &Request) -> Result<()> {
    if request.items.is_some() {
        return Err(Error::unsupported("a streaming request over http")
            .with_hint("send one message, or use a transport whose exchange is duplex, such as tcp")
            .with_retry(Retry::Safe));
    }
    let (size, limit) = (request.message.size(), links.config().limits.max_message_size);
    if size > limit {
        return Err(Error::too_large("the request", limit as u64, size as u64)
            .with_hint("raise BIPLANE_MAX_MESSAGE_SIZE at both ends"));
    }
    Ok(())
}

/// The answer that a response's body is.
fn open(links: &Arc<Links>, place: &Place, exchange: Exchange) -> Result<Opened> {
    let headers = exchange.response.headers();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    let Some(format) = format_of(content_type) else {
        let error =
            Error::protocol(format!("the answer's content type is {content_type}, which is no stream of items"))
                .with_hint("check that the URL is that of a biplane endpoint")
                .with_phase(Phase::Acknowledge);
        return Err(decorate(error, place));
    };
    let stream = headers.get(STREAM).and_then(|path| path.to_str().ok());
    let limits = BodyLimits::for_items(links.config().limits.max_message_size);
    Ok(Opened {
        decoder: BodyDecoder::new(format, limits),
        control: stream.map(|path| Control::new(links, place, path)),
        hold: exchange.hold,
        body: exchange.response.into_body(),
    })
}

async fn refused(place: &Place, exchange: Exchange, deadline: Instant) -> Error {
    let Exchange { response, mut hold } = exchange;
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        let error = Error::protocol(format!("the server answered {}, which fits no request of ours", head.status))
            .with_hint("check that the URL is that of a biplane endpoint");
        return decorate(error.with_phase(Phase::Acknowledge), place);
    }
    let error = match timeout_at(deadline.into(), read_refusal(head.status, &head.headers, body)).await {
        Ok((error, read)) => {
            if read {
                hold.complete();
            }
            error
        }
        Err(_) => Error::timeout(format!("the server answered {} and did not say why in time", head.status)),
    };
    error.with_phase(Phase::Acknowledge).with_transport(TransportId::HTTP).with_target(place.url())
}
