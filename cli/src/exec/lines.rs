// SPDX-License-Identifier: Apache-2.0
//! Bytes as lines.

use biplane::{Error, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a pipe holds, so what one read can give.
const CHUNK: usize = 64 << 10;

/// The lines of `from`, without their `\n`; nothing else is taken off. A last line needs no `\n`.
pub(super) struct Lines<R> {
    from: R,
    limit: usize,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no end of a line.
    searched: usize,
    has_ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// A line of more than `limit` bytes is an error.
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self { from, limit, buffer: BytesMut::new(), searched: 0, has_ended: false }
    }

    /// The next line; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return self.checked(line).map(Some);
            }
            self.searched = self.buffer.len();
            if self.has_ended {
                self.searched = 0;
                let last = self.buffer.split();
                return if last.is_empty() { Ok(None) } else { self.checked(last).map(Some) };
            }
            if self.buffer.len() > self.limit {
                return Err(self.too_long(self.buffer.len()));
            }
            self.buffer.reserve(CHUNK);
            let read = self.from.read_buf(&mut self.buffer).await;
            let read =
                read.map_err(|error| Error::unexpected("the command's output cannot be read").with_source(error))?;
            self.has_ended = read == 0;
        }
    }

    fn checked(&self, line: BytesMut) -> Result<Bytes> {
        if line.len() > self.limit { Err(self.too_long(line.len())) } else { Ok(line.freeze()) }
    }

    fn too_long(&self, got: usize) -> Error {
        Error::too_large("a line of the command's output", self.limit as u64, got as u64)
            .with_hint("BIPLANE_MAX_MESSAGE_SIZE sets the limit")
    }
}

#[cfg(test)]
mod tests {
    use biplane::ErrorKind;

    use super::*;

    async fn read(bytes: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let mut lines = Lines::new(bytes, limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await? {
            all.push(line.to_vec());
        }
        Ok(all)
    }

    #[tokio::test]
    async fn only_the_newline_is_taken_off() {
        assert_eq!(read(b"", 9).await.unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(read(b"a\r\n\nb", 9).await.unwrap(), [b"a\r".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert_eq!(read(b"\n", 9).await.unwrap(), [b"".to_vec()]);
    }

    #[tokio::test]
    async fn a_line_at_the_limit_passes_and_one_over_it_does_not() {
        assert_eq!(read(b"1234\n1234", 4).await.unwrap().len(), 2);
        for over in [&b"12345\n"[..], b"12345"] {
            assert_eq!(read(over, 4).await.unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_before_it_ends() {
        let endless = tokio::io::repeat(b'x');
        let error = Lines::new(endless, 1000).next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn any_split_gives_the_same_lines() {
        let text = b"to\nbe\n\nor not".as_slice();
        for at in 0..=text.len() {
            let (before, after) = text.split_at(at);
            let mut lines = Lines::new(before.chain(after), 9);
            let mut all = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                all.push(line);
            }
            assert_eq!(all, ["to", "be", "", "or not"], "split at {at}");
        }
    }
}
