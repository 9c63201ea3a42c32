// SPDX-License-Identifier: Apache-2.0
//! The request plane: a caller's request goes straight to the endpoint's [`Dispatch`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::faulty::Faults;
use super::network::MemNetwork;
use super::options::MemOptions;
use crate::config::Limits;
use crate::dispatch::{Dispatch, Running};
use crate::error::{Error, Phase, Result, Retry};
use crate::message::{Request, Subject};
use crate::plane::{Ack, EndpointGuard, ReplyTo, RequestPlane, RequestPlaneClient, RequestPlaneServer};
use crate::stream::roster::{Beginning, Roster, Terms};
use crate::target::{Target, TransportAddress, TransportId};

pub(super) fn plane(network: &MemNetwork, limits: &Limits) -> RequestPlane {
    RequestPlane {
        client: Arc::new(MemRequestClient { network: network.clone(), max_message_size: limits.max_message_size }),
        server: Arc::new(MemRequestServer {
            network: network.clone(),
            streams: Roster::new(),
            endpoints: Arc::default(),
        }),
    }
}

/// A registered endpoint, as callers find it.
#[derive(Clone)]
pub(super) struct Endpoint {
    dispatch: Dispatch,
    /// The answers and request bodies of its server.
    streams: Arc<Roster>,
}

struct MemRequestClient {
    network: MemNetwork,
    max_message_size: usize,
}

#[async_trait]
impl RequestPlaneClient for MemRequestClient {
    async fn send_request(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        let deadline = request.context.deadline;
        let sending = self.send(to, request, reply_to);
        let sent = match deadline {
            None => sending.await,
            // Opening the response stream may mean to dial.
            Some(deadline) => tokio::time::timeout_at(deadline.into(), sending)
                .await
                .unwrap_or_else(|_| Err(Error::deadline(0).with_phase(Phase::Acknowledge))),
        };
        sent.map_err(|error| error.with_transport(TransportId::MEM).with_target(&to.address).with_phase(Phase::Send))
    }

    /// `mem://[IDENTITY@]NAME[?OPTIONS]` as it is: the name is the endpoint's, and there is no port.
    fn locate(&self, target: &Target) -> Result<(String, Option<Subject>)> {
        Ok((target.url().as_str().to_owned(), None))
    }
}

impl MemRequestClient {
    async fn send(&self, to: &TransportAddress, mut request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        let place = self.network.locate(to)?;
        let MemOptions { refuse, .. } = place.options;
        if refuse {
            return Err(Error::connect("the address says refuse").with_retry(Retry::Safe).with_phase(Phase::Connect));
        }
        let max_item = place.options.limit(self.max_message_size);
        let size = request.message.size();
        if size > max_item {
            return Err(Error::too_large("a request", max_item as u64, size as u64));
        }
        let Endpoint { dispatch, streams } = self.network.endpoint(&place.name)?;
        let deadline = request.context.deadline;
        if let Some(items) = request.items.take() {
            let terms = Terms { deadline, max_item, forward: None };
            request.items = Some(Box::new(streams.admit(Beginning::Open(*items), terms)?.stream()));
        }
        streams.check_open()?;
        let (ack, running) = dispatch.accept(request, reply_to).await?;
        start(running, &streams);
        let Ack::Inline(answer) = ack else { return Ok(ack) };
        let terms = Terms { deadline, max_item, forward: None };
        let answer = streams.admit(Beginning::Open(answer), terms)?.stream();
        // Each inline answer is a link of its own: a cut must not take other callers' answers with it.
        Ok(Ack::Inline(Faults::new(place.options).apply(answer, deadline, &Roster::new())))
    }
}

/// As [`launch`](crate::launch), and ends the handler when its server is cut.
fn start(mut running: Running, streams: &Roster) {
    let mut cx = Context::from_waker(Waker::noop());
    if Pin::new(&mut running).poll(&mut cx).is_pending() {
        let closed = streams.closed();
        tokio::spawn(async move {
            tokio::select! {
                () = running => {}
                () = closed => {}
            }
        });
    }
}

struct MemRequestServer {
    network: MemNetwork,
    streams: Arc<Roster>,
    endpoints: Arc<Mutex<Vec<Registered>>>,
}

struct Registered {
    subject: Subject,
    ticket: u64,
    dispatch: Dispatch,
}

#[async_trait]
impl RequestPlaneServer for MemRequestServer {
    async fn register_endpoint(&self, subject: Subject, dispatch: Dispatch) -> Result<EndpointGuard> {
        self.streams.check_open()?;
        let endpoint = Endpoint { dispatch: dispatch.clone(), streams: self.streams.clone() };
        let ticket = self.network.serve(subject.as_str(), endpoint)?;
        lock(&self.endpoints).push(Registered { subject: subject.clone(), ticket, dispatch });
        let (network, endpoints) = (self.network.clone(), self.endpoints.clone());
        Ok(EndpointGuard::new(self.network.address(subject.as_str()), move || {
            network.withdraw(subject.as_str(), ticket);
            lock(&endpoints).retain(|endpoint| endpoint.ticket != ticket);
        }))
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        let endpoints = std::mem::take(&mut *lock(&self.endpoints));
        for endpoint in &endpoints {
            self.network.withdraw(endpoint.subject.as_str(), endpoint.ticket);
        }
        self.streams.refuse();
        // Handlers whose answers go elsewhere are on no roster, only in their dispatch.
        let until = tokio::time::Instant::now().checked_add(grace);
        for endpoint in &endpoints {
            let left = until.map_or(grace, |until| until.saturating_duration_since(tokio::time::Instant::now()));
            endpoint.dispatch.drained(left).await;
        }
        let left = until.map_or(grace, |until| until.saturating_duration_since(tokio::time::Instant::now()));
        self.streams.close(left).await;
        Ok(())
    }
}

fn lock(endpoints: &Mutex<Vec<Registered>>) -> parking_lot::MutexGuard<'_, Vec<Registered>> {
    endpoints.lock()
}
