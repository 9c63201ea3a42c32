// SPDX-License-Identifier: Apache-2.0
//! The handlers that cases call. Each does one thing; its parameters are numbers in the body.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::probe::{Presence, Probe};
use crate::connection::Inbound;
use crate::error::{Error, PeerError, Result};
use crate::message::{Message, Request, Subject};
use crate::plane::Handler;
use crate::proto::json;
use crate::stream::ResponseSender;

/// The code of the error that [`Behaviour::Fail`] answers, outside every range that Biplane uses.
pub(super) const FAILURE_CODE: i64 = 4242;
/// Bytes of an item of [`Behaviour::Flood`].
pub(super) const FLOOD_ITEM: usize = 64 << 10;

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Behaviour {
    /// One item: the request's message.
    Echo,
    /// Body `N SIZE`: N items of SIZE bytes (at least the index as text), then a clean end.
    Count,
    /// Body `K`: K items, then [`FAILURE_CODE`] with `K` as data.
    Fail,
    /// Body `MILLIS ANY`: waits, then echoes.
    Slow,
    /// No item, no end.
    Hang,
    /// An item per caller's wish to go on; upon stop, one last item and a clean end.
    Stoppable,
    /// Items without end, as fast as credit allows.
    Flood,
    /// Echoes the message and every further item of the request as it comes.
    Duplex,
    /// Reads the request to its end, then answers `ITEMS BYTES`.
    Upload,
    /// Panics.
    Panic,
    /// Answers the milliseconds that remain until the deadline, or `none`.
    Deadline,
    /// Body `SIZE`: an item of SIZE bytes; if that is refused, a small one.
    Oversize,
    /// Gives the sender away to a task that drops it, and stays.
    Abandon,
    /// Records the message and answers nothing.
    OneWay,
    /// Sends item, notification, item.
    Progress,
    /// Over JSON-RPC: records the params and answers with them, as they are.
    Exact,
    /// Over JSON-RPC: fails with the params as data.
    FailExact,
    /// Over JSON-RPC: tells progress twice, by the token of the params, then answers `{}`.
    ToldExact,
}

impl Behaviour {
    pub(super) const ALL: [Self; 18] = [
        Self::Echo,
        Self::Count,
        Self::Fail,
        Self::Slow,
        Self::Hang,
        Self::Stoppable,
        Self::Flood,
        Self::Duplex,
        Self::Upload,
        Self::Panic,
        Self::Deadline,
        Self::Oversize,
        Self::Abandon,
        Self::OneWay,
        Self::Progress,
        Self::Exact,
        Self::FailExact,
        Self::ToldExact,
    ];

    /// The last part of its subject.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}

/// A handler with one behaviour.
pub(super) struct Service {
    pub(super) behaviour: Behaviour,
    pub(super) probe: Arc<Probe>,
}

impl Handler for Service {
    async fn handle(&self, request: Request, reply: ResponseSender) -> Result<()> {
        let presence = Presence::enter(&self.probe);
        let outcome = self.behave(request, reply).await;
        presence.finish();
        outcome
    }
}

impl Service {
    async fn behave(&self, request: Request, mut reply: ResponseSender) -> Result<()> {
        match self.behaviour {
            Behaviour::Echo => reply.send(request.message).await,
            Behaviour::Count => {
                let [items, size] = numbers(&request.message)?;
                count(&mut reply, items, size).await
            }
            Behaviour::Fail => {
                let [items] = numbers(&request.message)?;
                count(&mut reply, items, 0).await?;
                let data = items.to_string();
                reply.fail(PeerError::new(FAILURE_CODE, "failed as asked").with_data(data));
                Ok(())
            }
            Behaviour::Slow => {
                let [millis] = numbers(&request.message)?;
                tokio::time::sleep(Duration::from_millis(millis as u64)).await;
                reply.send(request.message).await
            }
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Stoppable => self.until_stopped(&mut reply).await,
            Behaviour::Flood => loop {
                reply.send(vec![0; FLOOD_ITEM]).await?;
                self.probe.record(|log| log.sent += 1);
            },
            Behaviour::Duplex => {
                reply.send(request.message).await?;
                let mut items = request.items;
                while let Some(item) = next(&mut items).await? {
                    reply.send(item).await?;
                }
                Ok(())
            }
            Behaviour::Upload => {
                let (mut count, mut bytes) = (1, request.message.body.len());
                let mut items = request.items;
                while let Some(item) = next(&mut items).await? {
                    count += 1;
                    bytes += item.body.len();
                }
                reply.send(format!("{count} {bytes}")).await
            }
            // A panic without the hook, whose output would look like a failure of the suite.
            Behaviour::Panic => std::panic::resume_unwind(Box::new("this handler panics on purpose")),
            Behaviour::Deadline => {
                let left = request.context.remaining(Instant::now());
                reply.send(left.map_or_else(|| "none".to_owned(), |left| left.as_millis().to_string())).await
            }
            Behaviour::Oversize => {
                let [size] = numbers(&request.message)?;
                if let Err(error) = reply.send(vec![0; size]).await {
                    self.probe.record(|log| log.oversize.push(error.kind().error_type().to_owned()));
                    reply.send("small").await?;
                }
                Ok(())
            }
            Behaviour::Abandon => {
                tokio::spawn(async move { drop(reply) });
                // The error must come from the sender's drop, not from the handler's end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(Error::unexpected("the sender was abandoned"))
            }
            Behaviour::OneWay => {
                self.probe.record(|log| log.one_way.push(request.message));
                Ok(())
            }
            Behaviour::Progress => {
                reply.send("before").await?;
                let progress = Subject::from_static("progress");
                reply.send_inbound(Inbound::Notification(progress, Message::new("half"))).await?;
                reply.send("after").await
            }
            Behaviour::Exact => {
                self.probe.record(|log| log.one_way.push(request.message.clone()));
                reply.send(Message::new(request.message.body)).await
            }
            Behaviour::FailExact => {
                reply.fail(PeerError::new(FAILURE_CODE, "failed as asked").with_data(request.message.body));
                Ok(())
            }
            Behaviour::ToldExact => {
                let token = json::get(&request.message.body, &["_meta", "progressToken"]).unwrap_or_default();
                for step in 1..=2 {
                    let params =
                        format!("{{\"progressToken\":{},\"progress\":{step}}}", String::from_utf8_lossy(&token));
                    let method = Subject::from_static("notifications/progress");
                    reply.send_inbound(Inbound::Notification(method, Message::new(params))).await?;
                }
                reply.send("{}").await
            }
        }
    }

    async fn until_stopped(&self, reply: &mut ResponseSender) -> Result<()> {
        for index in 0usize.. {
            let stopped = tokio::time::timeout(Duration::from_millis(1), reply.stopped()).await;
            if let Ok(control) = stopped {
                self.probe.record(|log| log.stopped.push(control));
                return reply.send("last").await;
            }
            reply.send(index.to_string()).await?;
            self.probe.record(|log| log.sent += 1);
        }
        Ok(())
    }
}

async fn count(reply: &mut ResponseSender, items: usize, size: usize) -> Result<()> {
    for index in 0..items {
        reply.send(item(index, size)).await?;
    }
    Ok(())
}

/// The item `index` of [`Behaviour::Count`]: its index as text, filled up to `size` bytes.
pub(super) fn item(index: usize, size: usize) -> Vec<u8> {
    let mut body = index.to_string().into_bytes();
    body.resize(size.max(body.len()), b'.');
    body
}

async fn next(items: &mut Option<Box<crate::ResponseStream>>) -> Result<Option<Message>> {
    match items {
        Some(items) => items.next().await.transpose(),
        None => Ok(None),
    }
}

/// The first numbers of a body, separated by blanks.
fn numbers<const N: usize>(message: &Message) -> Result<[usize; N]> {
    let mut numbers = message.text()?.split_ascii_whitespace().map(str::parse);
    let mut found = [0; N];
    for slot in &mut found {
        match numbers.next() {
            Some(Ok(number)) => *slot = number,
            _ => return Err(Error::protocol(format!("the body must begin with {N} numbers"))),
        }
    }
    Ok(found)
}
