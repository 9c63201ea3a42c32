// SPDX-License-Identifier: Apache-2.0
//! The stream of a legacy session on which the server sends what no request asked for.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::super::event_stream::{Backoff, EventStream, is_event_stream};
use super::client::{Client, packets};
use super::headers;
use crate::error::{Error, Result};
use crate::proto::mcp::header;

/// For the head of the response. A stream that is permitted begins at once.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Keeps the stream open as long as the session lasts, and as long as the server has one.
/// `settled` is dropped when the server has answered for the first time.
pub(super) async fn listen(client: Weak<Client>, settled: oneshot::Sender<()>) {
    let mut settled = Some(settled);
    let mut backoff = Backoff::default();
    let mut last_id = None;
    loop {
        let opened = match client.upgrade() {
            Some(client) => open(&client, last_id.clone()).await,
            None => return,
        };
        drop(settled.take());
        let mut retry = None;
        match opened {
            Ok(Some(mut stream)) => {
                let outcome = read(&client, &mut stream, &mut backoff).await;
                let mark = stream.mark();
                retry = mark.retry;
                last_id = mark.last_id.or(last_id);
                tracing::debug!(target: "biplane::http", "the session's stream ended: {outcome:?}");
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(target: "biplane::http", "the session's stream was not opened: {error}"),
        }
        tokio::time::sleep(backoff.next(retry)).await;
    }
}

/// `None`: the server has no such stream, or the session is over.
async fn open(client: &Arc<Client>, last_id: Option<bytes::Bytes>) -> Result<Option<EventStream>> {
    if client.session.check().is_err() {
        return Ok(None);
    }
    let mut headers = headers::legacy(&client.session);
    if let Some(last_id) = last_id.and_then(|id| HeaderValue::from_maybe_shared(id).ok()) {
        headers.insert(HeaderName::from_static(header::LAST_EVENT_ID), last_id);
    }
    let exchange = client.endpoint.get(headers, Instant::now() + HEAD_WITHIN).await?;
    let status = exchange.response.status();
    if status == StatusCode::OK && is_event_stream(&exchange) {
        return Ok(Some(EventStream::new(exchange, client.endpoint.max_text())));
    }
    if status == StatusCode::NOT_FOUND && client.session.has_id() {
        client.session.end();
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Error::protocol(format!("the server answered {status}")));
    }
    // 405 by the specification; others have been seen.
    Ok(None)
}

async fn read(client: &Weak<Client>, stream: &mut EventStream, backoff: &mut Backoff) -> Result<()> {
    while let Some(event) = stream.next().await? {
        backoff.reset();
        let Some(client) = client.upgrade() else { return Ok(()) };
        if event.data.is_empty() || !(event.kind.is_empty() || event.kind == "message") {
            continue;
        }
        match packets(&event.data) {
            Ok(packets) => {
                let inbound = packets.into_iter().filter_map(|packet| client.sort(packet, false));
                inbound.for_each(|inbound| client.receive_later(inbound));
            }
            Err(error) => tracing::warn!(target: "biplane::http", "passed over an event: {error}"),
        }
    }
    Ok(())
}
