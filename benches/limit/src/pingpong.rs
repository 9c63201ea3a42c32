// SPDX-License-Identifier: Apache-2.0
//! A socket for each request in flight, and nothing on it but a length: what `tokio` itself costs.

use std::io;

use biplane_cells::{Ask, Caller, Outcome, Peer, Serving};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Length and kind.
const HEADER: usize = 5;
const ECHO: u8 = 0;
const STREAM: u8 = 1;

pub(crate) struct PingPong;

impl Peer for PingPong {
    type Caller = Socket;

    fn name(&self) -> String {
        "ping-pong".to_owned()
    }

    async fn serve(&self) -> Outcome<Serving> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Ok(Serving::new(address, ()))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<Socket>> {
        let mut callers = Vec::with_capacity(in_flight);
        for _ in 0..in_flight {
            callers.push(Socket::new(TcpStream::connect(address).await?)?);
        }
        Ok(callers)
    }
}

async fn answer(stream: TcpStream) -> Outcome {
    let mut socket = Socket::new(stream)?;
    loop {
        let (kind, body) = socket.receive().await?;
        if kind == ECHO {
            socket.put(kind, &body);
            socket.send().await?;
            continue;
        }
        let ask = Ask::decode(&body)?;
        let item = ask.item();
        for _ in 0..ask.items {
            socket.put(kind, &item);
            if ask.pace == biplane_cells::Pace::Paced {
                socket.send().await?;
                ask.pace.rest().await;
            }
        }
        socket.send().await?;
    }
}

/// A connection with the two buffers that it needs.
pub(crate) struct Socket {
    stream: TcpStream,
    read: BytesMut,
    write: BytesMut,
}

impl Socket {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::new(), write: BytesMut::new() })
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        self.write.put_u32_le(body.len() as u32);
        self.write.put_u8(kind);
        self.write.put_slice(body);
    }

    async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.write).await?;
        self.write.clear();
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<(u8, Bytes)> {
        let more = loop {
            let needs = match self.read.as_ref() {
                [a, b, c, d, kind, rest @ ..] => {
                    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                    if rest.len() >= length {
                        let kind = *kind;
                        self.read.advance(HEADER);
                        return Ok((kind, self.read.split_to(length).freeze()));
                    }
                    length - rest.len()
                }
                _ => HEADER,
            };
            self.read.reserve(needs.max(4096));
            if self.stream.read_buf(&mut self.read).await? == 0 {
                break io::ErrorKind::UnexpectedEof;
            }
        };
        Err(more.into())
    }
}

impl Caller for Socket {
    async fn unary(&mut self, body: Bytes) -> Outcome<Bytes> {
        self.put(ECHO, &body);
        self.send().await?;
        Ok(self.receive().await?.1)
    }

    async fn stream(&mut self, ask: Ask) -> Outcome<u32> {
        self.put(STREAM, &ask.encode());
        self.send().await?;
        let mut items = 0;
        while items < ask.items {
            if self.receive().await?.1.len() != ask.size as usize {
                return Err("an item of another size".into());
            }
            items += 1;
        }
        Ok(items)
    }
}
