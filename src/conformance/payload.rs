// SPDX-License-Identifier: Apache-2.0
//! What the bodies of a transport are: any bytes, or JSON text of JSON-RPC.
//!
//! Cases and handlers speak in bytes. Where a transport carries JSON-RPC, [`Coded`] stands at both ends and makes JSON of
//! them and bytes again, so that a case need not know. Subjects whose name ends in `exact` pass as they are.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, PeerError, Result};
use crate::message::{ControlMessage, Message, Request, Subject};
use crate::proto::json;
use crate::stream::{Event, ResponseSender, ResponseStream, Sink, Source, Unended};

/// What bodies are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// Any bytes, with headers beside them.
    #[default]
    Bytes,
    /// The raw text of `params` and `result`: objects, one item per answer.
    JsonRpc {
        /// Raw JSON that every request has as `_meta`; a transport of MCP's modern era needs it.
        meta: Option<&'static str>,
    },
}

impl Payload {
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::JsonRpc { .. })
    }

    /// Something to send that is `size` bytes on the wire, or as near to it from above as this payload can be.
    pub(super) fn sized(self, size: usize) -> Vec<u8> {
        match self {
            Self::Bytes => (0..size).map(|at| (at % 251) as u8).collect(),
            // No character that JSON escapes.
            Self::JsonRpc { .. } => {
                let inner = size.saturating_sub(self.encode(b"", true).len());
                (0..inner).map(|at| b'a' + (at % 23) as u8).collect()
            }
        }
    }

    /// Every byte becomes the character of that number.
    fn encode(self, body: &[u8], is_request: bool) -> Bytes {
        let Self::JsonRpc { meta } = self else { return Bytes::copy_from_slice(body) };
        let text: String = body.iter().map(|byte| char::from(*byte)).collect();
        let mut encoded = b"{\"b\":".to_vec();
        encoded.extend_from_slice(&json::quote(&text));
        if let Some(meta) = meta.filter(|_| is_request) {
            encoded.extend_from_slice(b",\"_meta\":");
            encoded.extend_from_slice(meta.as_bytes());
        }
        encoded.push(b'}');
        encoded.into()
    }

    /// A body of some other origin stays what it is.
    fn decode(self, body: &Bytes) -> Bytes {
        let text = json::get(body, &["b"]);
        let bytes =
            text.as_deref().and_then(json::text).and_then(|text| text.chars().map(|c| u8::try_from(c).ok()).collect());
        bytes.map_or_else(|| body.clone(), |bytes: Vec<u8>| bytes.into())
    }

    fn encoded(self, message: Message, is_request: bool) -> Message {
        Message { body: self.encode(&message.body, is_request), ..message }
    }

    fn decoded(self, message: Message) -> Message {
        Message { body: self.decode(&message.body), ..message }
    }

    /// `connection`, spoken to in bytes.
    pub(super) fn coded(self, connection: Arc<dyn Connection>) -> Arc<dyn Connection> {
        if self.is_json() { Arc::new(Coded { inner: connection, payload: self }) } else { connection }
    }

    fn inbound(self, inbound: Inbound) -> Inbound {
        match inbound {
            Inbound::Notification(subject, message) => Inbound::Notification(subject, self.decoded(message)),
            Inbound::Request(request, reply) if is_exact(&request.subject) => Inbound::Request(request, reply),
            Inbound::Request(mut request, reply) => {
                request.message = self.decoded(request.message);
                let reply: ResponseSender = reply.wrapped(|inner| Arc::new(Encoding { inner, payload: self }));
                Inbound::Request(request, reply)
            }
        }
    }
}

fn is_exact(subject: &Subject) -> bool {
    subject.as_str().ends_with("exact") || subject.as_str() == crate::proto::jsonrpc::ids::INITIALIZE
}

struct Coded {
    inner: Arc<dyn Connection>,
    payload: Payload,
}

#[async_trait]
impl Connection for Coded {
    fn info(&self) -> &ConnectionInfo {
        self.inner.info()
    }

    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        if is_exact(&request.subject) {
            return self.inner.open(request);
        }
        request.message = self.payload.encoded(request.message, true);
        let decoding = Decoding { inner: Mutex::new(Some(self.inner.open(request)?)), payload: self.payload };
        Ok(ResponseStream::new(Arc::new(decoding), 0))
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.inner.notify(subject, self.payload.encoded(message, true)).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(self.inner.receive().await?.map(|inbound| self.payload.inbound(inbound)))
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.inner.close(grace).await
    }
}

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// The answer of a request that went out.
struct Decoding {
    /// Absent once it was released.
    inner: Mutex<Option<ResponseStream>>,
    payload: Payload,
}

impl Decoding {
    fn with<T>(&self, act: impl FnOnce(&mut ResponseStream) -> T) -> Option<T> {
        self.inner.lock().as_mut().map(act)
    }
}

impl Source for Decoding {
    fn poll_next(&self, _key: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let polled = self.with(|stream| stream.poll_event(cx)).unwrap_or(Poll::Ready(None));
        polled.map_ok(|event| match event {
            Event::Item(item) => Event::Item(self.payload.decoded(item)),
            Event::Inbound(inbound) => Event::Inbound(self.payload.inbound(inbound)),
        })
    }

    fn control(&self, _key: u64, message: ControlMessage) {
        self.with(|stream| stream.control(message));
    }

    fn forward(&self, _key: u64, inbound: Inbound) {
        self.with(|stream| stream.forward(inbound));
    }

    fn release(&self, _key: u64) {
        let stream = self.inner.lock().take();
        drop(stream);
    }
}

/// The answer to a request that came in.
struct Encoding {
    inner: Arc<dyn Sink>,
    payload: Payload,
}

impl Sink for Encoding {
    fn poll_ready(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(key, cx)
    }

    fn push(&self, key: u64, event: Event) -> Result<()> {
        let event = match event {
            Event::Item(item) => Event::Item(self.payload.encoded(item, false)),
            Event::Inbound(Inbound::Notification(subject, message)) => {
                Event::Inbound(Inbound::Notification(subject, self.payload.encoded(message, true)))
            }
            Event::Inbound(Inbound::Request(..)) => return Err(Error::unsupported("the suite asks nothing this way")),
        };
        self.inner.push(key, event)
    }

    fn control(&self, key: u64, message: ControlMessage) -> Result<()> {
        self.inner.control(key, message)
    }

    fn poll_flush(&self, key: u64, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(key, cx)
    }

    fn end(&self, key: u64, outcome: Result<(), PeerError>) {
        self.inner.end(key, outcome);
    }

    fn poll_stopped(&self, key: u64, cx: &mut Context<'_>) -> Poll<ControlMessage> {
        self.inner.poll_stopped(key, cx)
    }

    fn poll_killed(&self, key: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_killed(key, cx)
    }

    fn retain(&self, key: u64) {
        self.inner.retain(key);
    }

    fn release(&self, key: u64, unended: Unended) {
        self.inner.release(key, unended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_sizes_are_those_of_the_wire() {
        let all: Vec<u8> = (0..=255).collect();
        for payload in [Payload::Bytes, Payload::JsonRpc { meta: None }, Payload::JsonRpc { meta: Some("{\"a\":1}") }] {
            for body in [&b""[..], b"x", b"{\"b\":1}", &all] {
                let encoded = payload.encode(body, true);
                assert_eq!(payload.decode(&encoded), body);
                assert!(!payload.is_json() || json::check(&encoded).is_ok());
            }
            for size in [100, 1000] {
                assert_eq!(payload.encode(&payload.sized(size), true).len(), size);
            }
            assert!(payload.encode(&payload.sized(1), true).len() <= 32);
        }
    }
}
