// SPDX-License-Identifier: Apache-2.0
//! Biplane's pairs of planes, as a program uses them: a service by name, a deadline on every request, metrics as they come.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use biplane::{Biplane, Connection, Request, ResponseSender, ResponseStream, Service, Subject, handler_fn};
use biplane_cells::{Ask, Caller, Cell, NatsServer, Outcome, Peer, Serving, on_loopback};
// Plugins count like any other transport.
use biplane_nats as _;
use biplane_uds as _;
use bytes::Bytes;

use crate::call_home;

const ECHO: &str = "bench.echo";
pub(crate) const ITEMS: &str = "bench.items";

/// The deadline of every request, by configuration. Never reached; but there, as in any program that means to last.
const TIMEOUT: &str = "60s";

/// One pair.
pub(crate) struct Planes {
    request: &'static str,
    response: &'static str,
    pooled: bool,
    /// The way of its answers is timed, and nothing else is.
    clocked: bool,
    /// `mem` has one runtime for both sides.
    both_sides: OnceLock<Biplane>,
}

impl Planes {
    pub(crate) fn new(request: &'static str, response: &'static str) -> Self {
        Self { request, response, pooled: true, clocked: false, both_sides: OnceLock::new() }
    }

    /// A new link for every answer.
    pub(crate) fn unpooled(self) -> Self {
        Self { pooled: false, ..self }
    }

    /// The way of the answers alone.
    pub(crate) fn clocked(self) -> Self {
        Self { clocked: true, ..self }
    }

    fn build(&self, store: &Path, nats: &str) -> biplane::Result<Biplane> {
        let builder = Biplane::builder()
            .env(on_loopback(self.request, self.response))
            .env([("DYN_DISCOVERY_BACKEND", if self.within_process() { "mem" } else { "file" })])
            .env([("DYN_TCP_POOL_ENABLED", self.pooled.to_string())])
            .env([("DYN_FILE_KV", store)])
            .set("limits.request_timeout", TIMEOUT);
        let builder = if nats.is_empty() { builder } else { builder.env([("NATS_SERVER", nats)]) };
        let clock = |registry: &mut biplane::registry::Builder| registry.replace(call_home::CLOCKED).map(|_| ());
        if self.clocked { builder.registry(clock) } else { builder }.build()
    }
}

impl Peer for Planes {
    type Caller = Call;

    fn name(&self) -> String {
        let Self { request, response, .. } = self;
        let (pooled, clocked) = (if self.pooled { "" } else { "-unpooled" }, if self.clocked { "-way" } else { "" });
        format!("{request}+{response}{clocked}{pooled}")
    }

    fn can(&self, cell: &Cell) -> bool {
        // A thousand sockets at once, made and thrown away, measure the system.
        self.clocked == cell.is_call_home() && (self.pooled || cell.in_flight <= 64)
    }

    fn within_process(&self) -> bool {
        self.request == "mem"
    }

    async fn serve(&self) -> Outcome<Serving> {
        let nats = if self.request == "nats" { Some(NatsServer::start()?) } else { None };
        let url = nats.as_ref().map(|nats| format!("nats://{}", nats.address())).unwrap_or_default();
        let store = tempfile::tempdir()?;
        let biplane = self.build(store.path(), &url)?;
        let served = [
            match self.clocked {
                true => biplane.serve(ECHO, handler_fn(call_home::answer)).start().await?,
                false => biplane.serve(ECHO, handler_fn(echo)).start().await?,
            },
            biplane.serve(ITEMS, handler_fn(produce)).start().await?,
        ];
        let _ = self.both_sides.set(biplane.clone());
        let process = nats.as_ref().map(NatsServer::process);
        let serving = Serving::new(format!("{}|{url}", store.path().display()), (served, biplane, store, nats));
        Ok(process.into_iter().fold(serving, Serving::with_process))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Call>> {
        let (store, nats) = address.split_once('|').ok_or("the address is another program's")?;
        let biplane = match self.both_sides.get() {
            Some(biplane) if self.within_process() => biplane.clone(),
            _ => self.build(Path::new(store), nats)?,
        };
        let (echo, items) = (biplane.service(ECHO).await?, biplane.service(ITEMS).await?);
        let caller = |_| Call { echo: echo.clone(), items: items.clone(), _biplane: biplane.clone() };
        Ok((0..in_flight).map(caller).collect())
    }
}

async fn echo(request: Request, reply: ResponseSender) -> biplane::Result<()> {
    reply.send(request.message.body).await
}

async fn produce(request: Request, reply: ResponseSender) -> biplane::Result<()> {
    items(request, &reply).await
}

/// Sends what is asked for.
pub(crate) async fn items(request: Request, reply: &ResponseSender) -> biplane::Result<()> {
    let ask = Ask::decode(&request.message.body).map_err(|error| biplane::Error::protocol(error.to_string()))?;
    let item = ask.item();
    for _ in 0..ask.items {
        reply.send(item.clone()).await?;
        ask.pace.rest().await;
    }
    Ok(())
}

/// Reads what was asked for.
pub(crate) async fn count(mut answer: ResponseStream, ask: Ask) -> Outcome<u32> {
    let mut items = 0;
    while let Some(item) = answer.next().await {
        if item?.body.len() != ask.size as usize {
            return Err("an item of another size".into());
        }
        items += 1;
    }
    Ok(items)
}

/// A caller of both services.
pub(crate) struct Call {
    echo: Service,
    items: Service,
    _biplane: Biplane,
}

impl Caller for Call {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let request = Request::new(Subject::from_static("bench"), body);
        Ok(self.echo.request(request).await?.body)
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let request = Request::new(Subject::from_static("bench"), ask.encode());
        count(self.items.open(request)?, ask).await
    }

    async fn call_home(&mut self) -> Outcome<Duration> {
        let request = Request::new(Subject::from_static("bench"), Bytes::new());
        call_home::took(self.echo.open(request)?).await
    }
}
