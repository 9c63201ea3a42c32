// SPDX-License-Identifier: Apache-2.0
//! async-nats over a real nats-server, which the serving side starts and ends: request and reply on its one inbox, a
//! stream's items on an inbox of their own.

use async_nats::Subject;
use biplane_cells::{Ask, Caller, NatsServer, Outcome, Peer, Serving};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::items::{counted, produce};
use crate::serving::{handles, task};

const UNARY: &str = "bench.unary";
const STREAM: &str = "bench.stream";

pub(crate) struct Nats;

impl Peer for Nats {
    type Caller = Client;

    fn name(&self) -> String {
        "async-nats".into()
    }

    async fn serve(&self) -> Outcome<Serving> {
        let server = NatsServer::start()?;
        let (address, process) = (server.address().to_owned(), server.process());
        let client = async_nats::connect(&address).await?;
        let unary = client.subscribe(UNARY).await?;
        let streams = client.subscribe(STREAM).await?;
        // Its PONG says that the server knows the subscriptions.
        client.flush().await?;
        // In this order they are dropped, too.
        let tasks = (task(echo(client.clone(), unary)), task(stream(client, streams)));
        Ok(Serving::new(address, (tasks, server)).with_process(process))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        Ok(handles(Client { client: async_nats::connect(address).await? }, in_flight))
    }
}

async fn echo(client: async_nats::Client, mut requests: async_nats::Subscriber) -> Outcome {
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(())
}

async fn stream(client: async_nats::Client, mut requests: async_nats::Subscriber) -> Outcome {
    while let Some(request) = requests.next().await {
        if let (Some(reply), Ok(ask)) = (request.reply, Ask::decode(&request.payload)) {
            tokio::spawn(answer(client.clone(), reply, ask));
        }
    }
    Ok(())
}

async fn answer(client: async_nats::Client, inbox: Subject, ask: Ask) {
    let mut items = produce(ask);
    while let Some(item) = items.next().await {
        if client.publish(inbox.clone(), item).await.is_err() {
            return;
        }
    }
    // The end. Fails if the connection is gone, and then nobody waits.
    let _ = client.publish(inbox, Bytes::new()).await;
}

#[derive(Clone)]
pub(crate) struct Client {
    client: async_nats::Client,
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        Ok(self.client.request(UNARY, body).await?.payload)
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let inbox = self.client.new_inbox();
        let mut items = self.client.subscribe(inbox.clone()).await?;
        self.client.publish_with_reply(STREAM, inbox, ask.encode()).await?;
        let mut count = 0;
        while let Some(item) = items.next().await {
            if item.payload.is_empty() {
                break;
            }
            count += counted(ask, &item.payload);
        }
        Ok(count)
    }
}
