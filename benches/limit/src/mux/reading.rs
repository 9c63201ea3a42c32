// SPDX-License-Identifier: Apache-2.0
//! The receiving half: large reads, cut up without copying.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use super::{HEADER, Kind, read_header};

const CHUNK: usize = 256 * 1024;
/// With less room than this a chunk is not read into again.
const ROOM: usize = 32 * 1024;
/// Chunks that are kept until nobody refers to them. Given back to the allocator, they would be unmapped and faulted in
/// again, which is a fifth of what a large message costs.
const KEPT: usize = 16;

pub(super) struct Reading {
    socket: OwnedReadHalf,
    chunk: BytesMut,
    spent: VecDeque<BytesMut>,
}

impl Reading {
    pub(super) fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, chunk: BytesMut::with_capacity(CHUNK), spent: VecDeque::with_capacity(KEPT) }
    }

    /// One read from the socket.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        if self.chunk.capacity() - self.chunk.len() < ROOM && !self.chunk.try_reclaim(CHUNK - self.chunk.len()) {
            let mut fresh = self.take_chunk();
            fresh.extend_from_slice(&self.chunk);
            self.chunk.clear();
            let spent = std::mem::replace(&mut self.chunk, fresh);
            if self.spent.len() < KEPT {
                self.spent.push_back(spent);
            }
        }
        match self.socket.read_buf(&mut self.chunk).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take_chunk(&mut self) -> BytesMut {
        for _ in 0..self.spent.len() {
            let Some(mut chunk) = self.spent.pop_front() else { break };
            if chunk.try_reclaim(CHUNK) {
                return chunk;
            }
            self.spent.push_back(chunk);
        }
        BytesMut::with_capacity(CHUNK)
    }

    /// The next frame, if it is here as a whole.
    pub(super) fn frame(&mut self) -> Option<(Kind, u32, Bytes)> {
        let (kind, slot, length) = read_header(*self.chunk.first_chunk::<HEADER>()?);
        if self.chunk.len() < HEADER + length {
            return None;
        }
        let mut body = self.chunk.split_to(HEADER + length).freeze();
        body.advance(HEADER);
        Some((kind, slot, body))
    }
}
