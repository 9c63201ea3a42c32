// SPDX-License-Identifier: Apache-2.0
//! One served subject: takes requests, accepts them side by side, acknowledges, starts the handler.
//!
//! One task serves an endpoint. Requests whose answer's stream is still being opened are futures of that task, so that a
//! slow dial holds up its own request only; there are at most `max_accepting`, and one more is refused.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use biplane::plane::{Ack, ReplyTo};
use biplane::telemetry::PlaneMetrics;
use biplane::{Dispatch, Error, Request, Result, Retry, Subject, launch};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Select, select};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::connection::Connection;
use crate::link::{Link, backoff};
use crate::{ack, wire};

/// An endpoint that was dropped waits no longer than this for the server to hear of it.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What an endpoint permits.
#[derive(Clone, Copy)]
pub(crate) struct EndpointLimits {
    pub(crate) max_accepting: usize,
    /// For opening the answer's stream, and for writing the acknowledgement.
    pub(crate) accept_timeout: Duration,
    /// The deadline of a request that brings none.
    pub(crate) request_timeout: Duration,
}

/// A subject and who serves it.
pub(crate) struct Endpoint {
    pub(crate) subject: Subject,
    pub(crate) group: String,
    pub(crate) direct: String,
    pub(crate) dispatch: Dispatch,
    pub(crate) connection: Arc<Connection>,
    pub(crate) limits: EndpointLimits,
    pub(crate) metrics: PlaneMetrics,
}

/// Both subscriptions of an endpoint, on one link.
pub(crate) struct Subscribed {
    link: Arc<Link>,
    messages: Select<Subscriber, Subscriber>,
}

impl Endpoint {
    /// Connects if need be, and subscribes.
    pub(crate) async fn subscribe(&self) -> Result<Subscribed> {
        let link = self.connection.link(None).await?;
        let until = Instant::now() + self.connection.connect_timeout();
        let [group, direct] = link.subscribe(&self.group, &self.direct, until).await?;
        Ok(Subscribed { link, messages: select(group, direct) })
    }

    /// Serves until `stop` is sent or dropped, then finishes what has arrived. Handlers run on.
    pub(crate) async fn run(self, mut subscribed: Subscribed, mut stop: oneshot::Receiver<()>) {
        let mut accepting = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                Some(()) = accepting.next(), if !accepting.is_empty() => {}
                message = subscribed.messages.next() => match message {
                    Some(message) => self.take(message, &subscribed.link, &mut accepting).await,
                    // The library resubscribes by itself; this is its end, after a message that it could not bear.
                    None => tokio::select! {
                        _ = &mut stop => break,
                        again = self.resubscribe() => subscribed = again,
                    },
                },
            }
        }
        let until = Instant::now() + DRAIN_LIMIT;
        self.drain(subscribed, &mut accepting, until).await;
        // Each of them has its own limit.
        while accepting.next().await.is_some() {}
    }

    async fn resubscribe(&self) -> Subscribed {
        for attempt in 2.. {
            sleep(backoff(attempt)).await;
            match self.subscribe().await {
                Ok(subscribed) => {
                    tracing::info!(target: "biplane::nats", subject = %self.subject, "subscribed again");
                    return subscribed;
                }
                Err(error) => {
                    tracing::warn!(target: "biplane::nats", subject = %self.subject, %error, "cannot subscribe again")
                }
            }
        }
        // `2..` has more numbers than there are attempts in the life of a process.
        std::future::pending().await
    }

    /// Unsubscribes and turns away what is on its way. The library forgets a subscription at the first thing that happens after it
    /// has told the server, so a request that was routed here within that round trip can be lost: its caller times out.
    /// Callers that go by discovery are elsewhere by then, if the record is withdrawn first.
    async fn drain(&self, mut subscribed: Subscribed, accepting: &mut Accepting, until: Instant) {
        let (group, direct) = subscribed.messages.get_mut();
        // Side by side, so that the second is no event after the first. They fail only if the client is gone.
        let both = async { tokio::join!(group.drain(), direct.drain()) };
        if timeout_at(until, both).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                Some(()) = accepting.next(), if !accepting.is_empty() => {}
                message = subscribed.messages.next() => match message {
                    // Answered, so that its caller can ask elsewhere at once; but as on every plane, what is
                    // unregistered serves no more.
                    Some(message) => self.turn_away(message, &subscribed.link).await,
                    None => return,
                },
            }
        }
    }

    async fn turn_away(&self, message: Message, link: &Arc<Link>) {
        if !ack::is_ack(message.headers.as_ref()) {
            let error = Error::no_service(format!("the endpoint {} is being withdrawn", self.subject));
            self.reply(message.reply, link).send(Err(error.with_retry(Retry::Safe))).await;
        }
    }

    fn reply(&self, to: Option<async_nats::Subject>, link: &Arc<Link>) -> Reply {
        Reply { link: link.clone(), to, limit: self.limits.accept_timeout, metrics: self.metrics.clone() }
    }

    async fn take(&self, message: Message, link: &Arc<Link>, accepting: &mut Accepting) {
        if ack::is_ack(message.headers.as_ref()) {
            // Somebody gave our subject as a reply subject; to answer could make a loop.
            tracing::debug!(target: "biplane::nats", subject = %self.subject, "an acknowledgement came as a request");
            return;
        }
        let reply = self.reply(message.reply.clone(), link);
        let request = if accepting.len() >= self.limits.max_accepting {
            Err(Error::overloaded(format!(
                "{} requests are being accepted at this endpoint",
                self.limits.max_accepting
            ))
            .with_hint("try another instance, or later"))
        } else {
            let (headers, now) = (message.headers.as_ref(), std::time::Instant::now());
            wire::decode(&self.subject, headers, message.payload, reply.to.is_some(), now, self.limits.request_timeout)
                .and_then(|(request, reply_to)| self.check_size(&request).map(|()| (request, reply_to)))
        };
        match request {
            Ok((request, reply_to)) => {
                accepting.push(Box::pin(accept(self.dispatch.clone(), request, reply_to, reply)));
            }
            Err(error) => {
                tracing::debug!(target: "biplane::nats", subject = %self.subject, %error, "refused a request");
                reply.send(Err(error)).await;
            }
        }
    }

    /// The limit is the message's, on every plane alike; what NATS itself permits is the client's check.
    fn check_size(&self, request: &Request) -> Result<()> {
        let limit = self.dispatch.limits().max_message_size;
        let got = request.message.size();
        if got > limit {
            return Err(Error::too_large("a request", limit as u64, got as u64));
        }
        Ok(())
    }
}

type Accepting = FuturesUnordered<BoxFuture<'static, ()>>;

/// Opens the answer's stream, acknowledges, then starts the handler: never in another order.
async fn accept(dispatch: Dispatch, request: Request, reply_to: ReplyTo, reply: Reply) {
    let deadline = request.context.deadline.map(Instant::from_std);
    let patience = Instant::now() + reply.limit;
    let until = deadline.map_or(patience, |deadline| deadline.min(patience));
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        reply.send(Err(Error::deadline(0))).await;
        return;
    }
    let (ack, running) = match timeout_at(until, dispatch.accept(request, &reply_to)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            tracing::debug!(target: "biplane::nats", %error, "could not accept a request");
            reply.send(Err(error)).await;
            return;
        }
        Err(_) => {
            let error = Error::timeout("the answer's stream could not be opened in time");
            tracing::debug!(target: "biplane::nats", %error, "could not accept a request");
            reply.send(Err(error)).await;
            return;
        }
    };
    // Who did not get the acknowledgement takes the request as lost, so the handler must not run.
    if reply.send(Ok(ack)).await {
        launch(running);
    }
}

/// Where an acknowledgement goes.
struct Reply {
    link: Arc<Link>,
    /// `None` for a message that wants no reply.
    to: Option<async_nats::Subject>,
    limit: Duration,
    metrics: PlaneMetrics,
}

impl Reply {
    /// Says whether the acknowledgement left, or nobody waits for one.
    async fn send(self, outcome: Result<Ack>) -> bool {
        if let Err(error) = &outcome {
            // The dispatch counts what reaches a handler; this did not.
            self.metrics.error(error.kind());
        }
        let Some(to) = self.to else { return true };
        let (headers, payload) = ack::encode(&outcome);
        match timeout(self.limit, self.link.respond(to, headers, payload)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(target: "biplane::nats", %error, "could not acknowledge a request");
                false
            }
            Err(_) => {
                tracing::warn!(target: "biplane::nats", "could not acknowledge a request in time");
                false
            }
        }
    }
}
