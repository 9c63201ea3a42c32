// SPDX-License-Identifier: Apache-2.0
//! The end of what a command says.

use biplane::{Error, Result};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are kept: a stack trace or two.
const KEPT: usize = 4 << 10;

/// Reads everything, so that the writer never waits, and keeps the last bytes.
pub(super) struct Tail<R> {
    from: R,
    kept: BytesMut,
    is_cut: bool,
}

impl<R: AsyncRead + Unpin> Tail<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, kept: BytesMut::new(), is_cut: false }
    }

    /// Reads a piece. Says whether more may come. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<bool> {
        self.kept.reserve(KEPT);
        let read = self.from.read_buf(&mut self.kept).await;
        let read = read.map_err(|error| Error::unexpected("the command's errors cannot be read").with_source(error))?;
        if let Some(surplus) = self.kept.len().checked_sub(KEPT).filter(|surplus| *surplus > 0) {
            let _ = self.kept.split_to(surplus);
            self.is_cut = true;
        }
        Ok(read > 0)
    }

    /// What was kept, as text.
    pub(super) fn into_text(self) -> String {
        // A character that was cut in two at the front shows as a replacement.
        let text = String::from_utf8_lossy(&self.kept);
        let text = text.trim_end();
        if self.is_cut { format!("…{}", text.trim_start_matches('\u{fffd}')) } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept() {
        let text = format!("{}ä the end\n", "é".repeat(5000));
        let mut tail = Tail::new(text.as_bytes());
        while tail.read().await.unwrap() {}
        let kept = tail.into_text();
        assert!(kept.starts_with("…é") && kept.ends_with("ä the end"), "{kept}");
        assert!(kept.len() <= KEPT + "…".len());
    }
}
