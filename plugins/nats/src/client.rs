// SPDX-License-Identifier: Apache-2.0
//! The caller's side.

use std::sync::Arc;
use std::time::Duration;

use async_nats::StatusCode;
use async_trait::async_trait;
use biplane::plane::{Ack, ReplyTo, RequestPlaneClient};
use biplane::{Error, Phase, Request, Result, Retry, Subject, Target, TransportAddress};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::{ID, ack, failure, subject, wire};

/// Publishes requests and waits for their acknowledgements.
pub(crate) struct NatsRequestClient {
    connection: Arc<Connection>,
    ack_timeout: Duration,
}

impl NatsRequestClient {
    pub(crate) fn new(connection: Arc<Connection>, ack_timeout: Duration) -> Self {
        Self { connection, ack_timeout }
    }

    async fn send(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        if matches!(reply_to, ReplyTo::Inline) {
            return Err(Error::unsupported("the nats plane carries no inline answers")
                .with_hint("choose a response plane with DYN_RESPONSE_PLANE")
                .with_retry(Retry::Safe));
        }
        if request.items.is_some() {
            return Err(Error::unsupported(
                "the nats plane carries a request in one message, not as a stream of items",
            )
            .with_hint("use another request plane (DYN_REQUEST_PLANE=tcp)")
            .with_retry(Retry::Safe));
        }
        let subject = subject::of_address(to)?.to_owned();
        let deadline = request.context.deadline.map(Instant::from_std);
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::deadline(0).with_retry(Retry::Safe).with_phase(Phase::Send));
        }
        let link = self.connection.link(deadline).await?;
        // After the connection is there: the time that remains is told to the responder.
        let headers = wire::encode(&request, reply_to, std::time::Instant::now())?;
        let patience = Instant::now() + self.ack_timeout;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let reply = link
            .request(subject, headers, request.message.body, until)
            .await
            .map_err(|error| self.explain_timeout(error, deadline))?;
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(failure::no_responders().with_phase(Phase::Send));
        }
        ack::decode(reply.headers.as_ref(), &reply.payload).map_err(|error| error.with_phase(Phase::Acknowledge))
    }

    /// Says which of the two limits a request ran into.
    fn explain_timeout(&self, error: Error, deadline: Option<Instant>) -> Error {
        if error.kind() != biplane::ErrorKind::Timeout {
            return error;
        }
        let explained = if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Error::deadline(0)
        } else {
            Error::timeout(format!("no acknowledgement within {:?}", self.ack_timeout)).with_hint(
                "the responder is overloaded, or cannot open the answer's stream; see its log, target biplane::nats",
            )
        };
        let phase = error.phase().unwrap_or(Phase::Acknowledge);
        explained.with_retry(error.retry()).with_phase(phase).with_source(error)
    }
}

#[async_trait]
impl RequestPlaneClient for NatsRequestClient {
    async fn send_request(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        let sent = self.send(to, request, reply_to).await;
        sent.map_err(|error| error.with_transport(ID).with_target(&to.address))
    }

    /// `nats://server/name` means the whole service: NATS chooses the instance.
    fn locate(&self, target: &Target) -> Result<(String, Option<Subject>)> {
        let ours = |host: &str, port: Option<u16>| self.connection.settings().has_server(host, port);
        subject::of_url(target, ours).map(|(address, subject)| (address, Some(subject)))
    }
}
