// SPDX-License-Identifier: Apache-2.0
//! What a caller asks of a stream.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Outcome;

/// How a producer makes its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All at once: each is ready when the one before has been taken.
    Ready,
    /// One for each turn of the scheduler, as a model makes its tokens.
    Paced,
}

impl Pace {
    /// To be awaited after each item.
    pub async fn rest(self) {
        if self == Self::Paced {
            tokio::task::yield_now().await;
        }
    }
}

/// A stream that is asked for: the body of its request, for peers whose requests have bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Items in the stream.
    pub items: u32,
    /// Bytes in each.
    pub size: u32,
    /// How they come.
    pub pace: Pace,
}

/// What small items are made of.
const ITEM: &[u8] = &[b'i'; 1024];

impl Ask {
    /// Bytes of the form that travels.
    pub const LEN: usize = 9;

    /// The form that travels.
    pub fn encode(self) -> Bytes {
        let mut body = BytesMut::with_capacity(Self::LEN);
        body.put_u32_le(self.items);
        body.put_u32_le(self.size);
        body.put_u8(u8::from(self.pace == Pace::Paced));
        body.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(body: &[u8]) -> Outcome<Self> {
        let [a, b, c, d, e, f, g, h, pace] = body else {
            return Err(format!("{} bytes ask for no stream", body.len()).into());
        };
        let items = u32::from_le_bytes([*a, *b, *c, *d]);
        let size = u32::from_le_bytes([*e, *f, *g, *h]);
        let pace = if *pace == 0 { Pace::Ready } else { Pace::Paced };
        Ok(Self { items, size, pace })
    }

    /// An item of the right size, to be cloned for each. Small ones are the program's own bytes, so that to make an item
    /// costs nobody anything: a reference count would be charged to those whose items are handed over, and not to the floor.
    pub fn item(self) -> Bytes {
        let size = self.size as usize;
        ITEM.get(..size).map_or_else(|| Bytes::from(vec![b'i'; size]), Bytes::from_static)
    }
}
