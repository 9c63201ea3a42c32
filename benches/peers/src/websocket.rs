// SPDX-License-Identifier: Apache-2.0
//! tokio-tungstenite as one connection for everybody, the way one writes it by hand: a message is an id, a kind and the
//! payload; a task writes what a channel brings and flushes when it is empty, another hands answers to those who wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biplane_cells::{Ask, Caller, Outcome, Peer, Serving};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::items::{counted, produce};
use crate::serving::{STREAMS, handles, serving};

/// A request, or its one answer.
const UNARY: u8 = 0;
/// A request for items, or an item.
const STREAM: u8 = 1;
/// The items are over.
const END: u8 = 2;

pub(crate) struct WebSocket;

impl Peer for WebSocket {
    type Caller = Client;

    fn name(&self) -> String {
        "tungstenite".into()
    }

    async fn serve(&self) -> Outcome<Serving> {
        serving(serve).await
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Client>> {
        Ok(handles(Client::connect(address).await?, in_flight))
    }
}

async fn serve(listener: TcpListener) -> Outcome {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async {
            if let Err(error) = serve_connection(stream).await {
                eprintln!("websocket: {error}");
            }
        });
    }
}

async fn serve_connection(stream: TcpStream) -> Outcome {
    let (sink, mut requests) = accept_async(stream).await?.split();
    let (answers, queue) = mpsc::channel(STREAMS as usize);
    tokio::spawn(write(sink, queue));
    while let Some(message) = requests.next().await {
        let Some((id, kind, payload)) = decode(message?) else { continue };
        match Ask::decode(&payload) {
            Ok(ask) if kind == STREAM => {
                tokio::spawn(answer(id, ask, answers.clone()));
            }
            _ => answers.send(encode(id, UNARY, &payload)).await?,
        }
    }
    Ok(())
}

async fn answer(id: u32, ask: Ask, answers: mpsc::Sender<Message>) {
    let mut items = produce(ask);
    while let Some(item) = items.next().await {
        if answers.send(encode(id, STREAM, &item)).await.is_err() {
            return;
        }
    }
    // Fails if the connection is gone, and then nobody waits.
    let _ = answers.send(encode(id, END, &[])).await;
}

/// Everything that is ready goes out together.
async fn write(
    mut sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut queue: mpsc::Receiver<Message>,
) -> Outcome {
    let mut ready = Vec::new();
    while queue.recv_many(&mut ready, 256).await > 0 {
        for message in ready.drain(..) {
            sink.feed(message).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}

enum Waiting {
    One(oneshot::Sender<Bytes>),
    Items(mpsc::UnboundedSender<Bytes>),
}

#[derive(Default)]
struct Table {
    next: u32,
    waiting: HashMap<u32, Waiting>,
}

impl Table {
    fn enter(&mut self, waiting: Waiting) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(self.next, waiting);
        self.next
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    requests: mpsc::Sender<Message>,
    table: Arc<Mutex<Table>>,
}

impl Client {
    async fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(format!("ws://{address}/"), stream).await?;
        let (sink, mut answers) = socket.split();
        let (requests, queue) = mpsc::channel(STREAMS as usize);
        tokio::spawn(write(sink, queue));
        let table = Arc::new(Mutex::new(Table::default()));
        let shared = Arc::clone(&table);
        tokio::spawn(async move {
            while let Some(Ok(message)) = answers.next().await {
                if let Some((id, kind, payload)) = decode(message) {
                    hand_over(&shared, id, kind, payload);
                }
            }
            // Whoever still waits learns that nothing will come.
            lock(&shared).waiting.clear();
        });
        Ok(Self { requests, table })
    }
}

impl Caller for Client {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        let (answer, answered) = oneshot::channel();
        let id = lock(&self.table).enter(Waiting::One(answer));
        self.requests.send(encode(id, UNARY, &body)).await?;
        Ok(answered.await?)
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        let (items, mut arriving) = mpsc::unbounded_channel();
        let id = lock(&self.table).enter(Waiting::Items(items));
        self.requests.send(encode(id, STREAM, &ask.encode())).await?;
        let mut count = 0;
        while let Some(item) = arriving.recv().await {
            count += counted(ask, &item);
        }
        Ok(count)
    }
}

fn hand_over(table: &Mutex<Table>, id: u32, kind: u8, payload: Bytes) {
    let mut table = lock(table);
    if kind == STREAM {
        if let Some(Waiting::Items(items)) = table.waiting.get(&id) {
            // Fails if its reader has gone.
            let _ = items.send(payload);
        }
    } else if let Some(Waiting::One(answer)) = table.waiting.remove(&id) {
        let _ = answer.send(payload);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(id: u32, kind: u8, payload: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(5 + payload.len());
    message.put_u32_le(id);
    message.put_u8(kind);
    message.extend_from_slice(payload);
    Message::Binary(message.freeze())
}

/// `None` for what is no message of ours.
fn decode(message: Message) -> Option<(u32, u8, Bytes)> {
    let Message::Binary(mut payload) = message else { return None };
    let (id, kind) = (payload.try_get_u32_le().ok()?, payload.try_get_u8().ok()?);
    Some((id, kind, payload))
}
