// SPDX-License-Identifier: Apache-2.0
//! A span for every request, and the trace context that goes with it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::{Instrument, Span, field};

use super::{Layer, Observer, observe};
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::{Error, Result};
use crate::message::{Message, Request, SessionId, Subject, TraceContext, random_u64};
use crate::stream::{Event, ResponseStream};

/// Writes a span `request` per request, at debug level under the target `biplane::request`, with the fields `id`, `subject`,
/// `transport`, `trace` (if the request has one) and at its end `items` and `outcome`: `ok`, `cancelled` when the reader
/// left, or the word for the error that the metric `transport_errors_total` uses. Never a payload, nor an error's text,
/// which may quote one.
///
/// While nobody reads such spans it costs one check per request. A trace context that a request has travels on unchanged, as
/// W3C Trace Context asks of one who takes no part in the trace; one that has none gets none, unless
/// [`starts_traces`](Self::starts_traces) says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    start: bool,
}

impl Trace {
    /// Invents no trace contexts.
    pub const fn new() -> Self {
        Self { start: false }
    }

    /// Gives a fresh trace context to requests that have none: random ids, sampled if the span is read.
    pub const fn starts_traces(mut self) -> Self {
        self.start = true;
        self
    }
}

impl Layer for Trace {
    fn layer(&self, inner: Arc<dyn Connection>) -> Arc<dyn Connection> {
        Arc::new(Traced { inner, start: self.start })
    }
}

#[derive(Debug)]
struct Traced {
    inner: Arc<dyn Connection>,
    start: bool,
}

impl Traced {
    fn span(&self, request: &mut Request) -> Span {
        let span = tracing::debug_span!(
            target: "biplane::request",
            "request",
            id = %request.context.id,
            subject = %request.subject,
            transport = %self.inner.info().transport,
            trace = field::Empty,
            items = field::Empty,
            outcome = field::Empty,
        );
        if self.start && request.context.trace.is_none() {
            request.context.trace = fresh(!span.is_disabled());
        }
        if let Some(trace) = &request.context.trace {
            span.record("trace", field::display(trace));
        }
        span
    }
}

/// Version 00, flag *sampled* as told. Zero is no valid id, and the generator's one chance in 2⁶⁴ costs a trace, no request.
fn fresh(sampled: bool) -> Option<TraceContext> {
    let trace_id = (u128::from(random_u64()) << 64) | u128::from(random_u64());
    TraceContext::new(trace_id, random_u64(), u8::from(sampled))
}

#[async_trait]
impl Connection for Traced {
    fn info(&self) -> &ConnectionInfo {
        self.inner.info()
    }

    fn open(&self, mut request: Request) -> Result<ResponseStream> {
        let span = self.span(&mut request);
        if span.is_disabled() {
            return self.inner.open(request);
        }
        let mut ending = Ending::new(span.clone());
        match span.in_scope(|| self.inner.open(request)) {
            Ok(stream) => Ok(observe(stream, ending)),
            Err(error) => {
                ending.on_end(Err(&error));
                Err(error)
            }
        }
    }

    async fn request(&self, mut request: Request) -> Result<Message> {
        let span = self.span(&mut request);
        if span.is_disabled() {
            return self.inner.request(request).await;
        }
        let mut ending = Ending::new(span.clone());
        let answer = self.inner.request(request).instrument(span).await;
        ending.items = u64::from(answer.is_ok());
        ending.on_end(answer.as_ref().map(|_| ()));
        answer
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        let told = self.inner.notify(subject, message).await;
        let outcome = word(told.as_ref().map(|_| ()));
        tracing::debug!(target: "biplane::request", %subject, transport = %self.inner.info().transport, outcome, "notified");
        told
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.inner.receive().await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.inner.close(grace).await
    }

    fn session_id(&self) -> Option<&SessionId> {
        self.inner.session_id()
    }

    fn is_multiplexed(&self) -> bool {
        self.inner.is_multiplexed()
    }
}

/// Writes down how a request ended: at the latest when it is dropped, which is how a reader cancels.
struct Ending {
    span: Span,
    items: u64,
    outcome: &'static str,
}

impl Ending {
    fn new(span: Span) -> Self {
        Self { span, items: 0, outcome: "cancelled" }
    }
}

impl Observer for Ending {
    fn on_event(&mut self, event: &Event) -> Result<()> {
        self.items += u64::from(matches!(event, Event::Item(_)));
        Ok(())
    }

    fn on_end(&mut self, outcome: Result<(), &Error>) {
        self.outcome = word(outcome);
    }

    fn span(&self) -> Option<&Span> {
        Some(&self.span)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.span.record("items", self.items).record("outcome", self.outcome);
    }
}

fn word(outcome: Result<(), &Error>) -> &'static str {
    outcome.map_or_else(|error| error.kind().error_type(), |()| "ok")
}
