// SPDX-License-Identifier: Apache-2.0
//! Messages as lines of UTF-8, the framing of MCP's stdio transport, which the specification recommends for every other
//! stream of bytes too.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2_iter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::chunk::Chunk;
use super::{MessageWire, Received};
use crate::error::{Error, Result};

/// Written at once: beyond this the wire takes no further message until some are on their way.
const BATCH: usize = 64 << 10;
/// Kept of either end of a line over the limit.
const EDGE: usize = 512;

/// A wire of lines over bytes.
#[derive(Debug)]
pub struct Lines<R, W> {
    reader: R,
    writer: W,
    max: usize,
    input: BytesMut,
    /// Bytes of `input` in which there is no line break.
    searched: usize,
    /// The line over the limit that is being passed over.
    over: Option<Over>,
    chunk: Chunk,
    output: BytesMut,
    /// Bytes of the last burst that was written: the next one is given as many at once.
    expected: usize,
}

#[derive(Debug)]
struct Over {
    got: u64,
    head: Bytes,
    tail: BytesMut,
}

impl<R, W> Lines<R, W> {
    /// Lines of at most `max` bytes.
    pub fn new(reader: R, writer: W, max: usize) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { reader, writer, max, input, searched: 0, over: None, chunk: Chunk::new(), output, expected: 0 }
    }

    /// The next line in what was read; blank ones are passed over.
    fn take_line(&mut self) -> Option<Received> {
        loop {
            let unsearched = self.input.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr(b'\n', unsearched) else {
                self.searched = self.input.len();
                self.pass_over();
                return None;
            };
            let line = self.input.split_to(self.searched + found).freeze();
            self.input.advance(1);
            self.searched = 0;
            if let Some(received) = self.complete(line) {
                return Some(received);
            }
        }
    }

    fn complete(&mut self, line: Bytes) -> Option<Received> {
        if let Some(mut over) = self.over.take() {
            over.add(&line);
            return Some(over.into());
        }
        if line.len() > self.max {
            return Some(Over::new(&line).into());
        }
        (!line.trim_ascii().is_empty()).then_some(Received::Message(line))
    }

    /// A line that is over the limit before its end is there is not kept.
    fn pass_over(&mut self) {
        match &mut self.over {
            Some(over) => over.add(&self.input),
            None if self.input.len() > self.max => self.over = Some(Over::new(&self.input)),
            None => return,
        }
        self.input.clear();
        self.searched = 0;
    }
}

impl Over {
    fn new(line: &[u8]) -> Self {
        let head = Bytes::copy_from_slice(line.get(..EDGE).unwrap_or(line));
        let mut over = Self { got: 0, head, tail: BytesMut::new() };
        over.add(line);
        over
    }

    fn add(&mut self, more: &[u8]) {
        self.got += more.len() as u64;
        self.tail.extend_from_slice(more.get(more.len().saturating_sub(EDGE)..).unwrap_or_default());
        self.tail.advance(self.tail.len().saturating_sub(EDGE));
    }
}

impl From<Over> for Received {
    fn from(over: Over) -> Self {
        Self::TooLarge { got: over.got, head: over.head, tail: over.tail.freeze() }
    }
}

impl<R, W> MessageWire for Lines<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        loop {
            if let Some(received) = self.take_line() {
                return Poll::Ready(Ok(Some(received)));
            }
            self.input.reserve(self.chunk.size());
            let read = match pin!(self.reader.read_buf(&mut self.input)).poll(cx) {
                Poll::Ready(read) => read.map_err(|error| Error::peer_closed(0, false).with_source(error))?,
                Poll::Pending => {
                    self.chunk.over();
                    if self.input.is_empty() {
                        // An idle link holds no buffer.
                        self.input = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            };
            self.chunk.came(read);
            if read == 0 {
                // A peer that closes in order ends its last line; what is cut off is no message.
                return Poll::Ready(Ok(None));
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.output.len() < BATCH { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    fn send(&mut self, message: Bytes) -> Result<()> {
        let room = if self.output.is_empty() { self.expected } else { 0 };
        self.output.reserve(room.max(message.len() + 1));
        let start = self.output.len();
        self.output.put_slice(&message);
        // Within a string a line break is escaped, so these stand between tokens, where a blank means the same.
        for at in memchr2_iter(b'\n', b'\r', &message) {
            self.output.get_mut(start + at).into_iter().for_each(|byte| *byte = b' ');
        }
        self.output.put_u8(b'\n');
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let lost = |error| Error::peer_closed(0, false).with_source(error);
        if !self.output.is_empty() {
            self.expected = self.output.len().min(BATCH);
        }
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.writer).poll_write(cx, &self.output)).map_err(lost)?;
            if written == 0 {
                return Poll::Ready(Err(Error::peer_closed(0, false)));
            }
            self.output.advance(written);
        }
        if self.output.capacity() > 0 {
            self.output = BytesMut::new();
        }
        Pin::new(&mut self.writer).poll_flush(cx).map_err(lost)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.writer).poll_shutdown(cx).map_err(|error| Error::peer_closed(0, false).with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn read(chunks: Vec<Vec<u8>>, max: usize) -> Vec<Received> {
        let (mut far, near) = tokio::io::duplex(64);
        let mut lines = Lines::new(near, tokio::io::sink(), max);
        let writing = async move {
            for chunk in chunks {
                far.write_all(&chunk).await.unwrap();
            }
            drop(far);
        };
        let reading = async {
            let mut all = Vec::new();
            while let Some(one) = poll_fn(|cx| lines.poll_receive(cx)).await.unwrap() {
                all.push(one);
            }
            all
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_passed_over_and_the_next_one_is_read() {
        let long = format!("{{\"id\":1,{}}}\n{{}}\n", " ".repeat(2000));
        let read = read(vec![long.clone().into_bytes()], 100).await;
        let [Received::TooLarge { got, head, tail }, Received::Message(next)] = &read[..] else { panic!("{read:?}") };
        assert_eq!((*got, &next[..]), (long.len() as u64 - 4, &b"{}"[..]));
        assert!(head.starts_with(b"{\"id\":1,") && tail.ends_with(b" }"));
    }

    proptest! {
        #[test]
        fn every_chunking_gives_the_same_lines(cuts in prop::collection::vec(1usize..9, 1..20)) {
            let text = b"{\"a\":1}\r\n\n  \n{\"b\":22222222222222222222}\n{\"c\":3}\n{\"cut";
            let mut chunks = Vec::new();
            let mut rest = &text[..];
            for cut in cuts {
                let (one, more) = rest.split_at(cut.min(rest.len()));
                chunks.push(one.to_vec());
                rest = more;
            }
            chunks.push(rest.to_vec());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let lines = runtime.block_on(read(chunks, 20));
            prop_assert_eq!(lines.len(), 3);
            prop_assert_eq!(&lines[0], &Received::Message(Bytes::from_static(b"{\"a\":1}\r")));
            prop_assert!(matches!(&lines[1], Received::TooLarge { got: 26, .. }), "{:?}", lines);
        }
    }
}
