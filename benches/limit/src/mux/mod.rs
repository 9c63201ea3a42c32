// SPDX-License-Identifier: Apache-2.0
//! The floor: many requests on one TCP connection and nothing else. No flow control, no deadlines, no cancellation, no
//! metrics; what is left is what such a connection cannot do without. Every other figure is a ratio to this one.
//!
//! - A slot is an index into a vector; the response finds its caller without a hash.
//! - No task, channel, timer or allocation for a message. A caller's first poll takes one lock, and in it a slot, and
//!   encodes into the buffer that the connection shares; its second poll takes the answer out of the slot.
//! - The first message after idleness wakes the writer, and that runs behind everybody who was ready: one `send` carries
//!   what all of them encoded. A caller alone in flight sends for itself.
//! - One `recv`, everything in it parsed under one lock, wakers woken after that.
//! - The server answers in place: one `recv`, all answers, one `send`.
//! - Bodies of 4 KiB and more are sent from where they are and handed out as parts of the read buffer.

mod batch;
mod client;
mod line;
mod reading;
mod server;

use std::sync::Arc;

use biplane_cells::{Outcome, Peer, Serving};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Mux;

impl Peer for Mux {
    type Caller = client::Handle;

    fn name(&self) -> String {
        "floor".to_owned()
    }

    async fn serve(&self) -> Outcome<Serving> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server::answer(stream));
            }
        });
        Ok(Serving::new(address, ()))
    }

    async fn connect(&self, address: &str, in_flight: usize) -> Outcome<Vec<client::Handle>> {
        let client = Arc::new(client::connect(TcpStream::connect(address).await?)?);
        Ok((0..in_flight).map(|_| client::Handle::new(&client)).collect())
    }
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// A request that wants its body back, and the answer to it.
    Echo = 0,
    /// A request for a stream, and an item of it.
    Item = 1,
    /// A stream's end.
    End = 2,
}

/// Eight bytes: the body's length, and two bits of kind over thirty of slot, little endian.
const HEADER: usize = 8;

const SLOT_BITS: u32 = 30;

fn header(kind: Kind, slot: u32, length: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&((kind as u32) << SLOT_BITS | slot).to_le_bytes());
    bytes
}

/// Kind, slot, and length of the body.
fn read_header(bytes: [u8; HEADER]) -> (Kind, u32, usize) {
    let whole = u64::from_le_bytes(bytes);
    let word = (whole >> 32) as u32;
    let kind = match word >> SLOT_BITS {
        0 => Kind::Echo,
        1 => Kind::Item,
        _ => Kind::End,
    };
    (kind, word & ((1 << SLOT_BITS) - 1), whole as u32 as usize)
}
