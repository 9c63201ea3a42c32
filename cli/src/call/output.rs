// SPDX-License-Identifier: Apache-2.0
//! How an answer is printed: the bytes of each item and a newline, or one JSON object per line.

use biplane::{Error, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, Stdout};

use crate::ui::{error_json, output_gone};

/// Standard output, flushed after every item. Waits without blocking, so that an interrupt is heard meanwhile.
pub(super) struct Output {
    out: Stdout,
    json: bool,
    items: u64,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { out: tokio::io::stdout(), json, items: 0 }
    }

    /// Prints an item. As JSON, one that is UTF-8 is `{"item": …}`, any other `{"base64": …}`.
    pub(super) async fn item(&mut self, body: &[u8]) -> Result<()> {
        self.items += 1;
        if !self.json {
            return self.line(body).await;
        }
        match std::str::from_utf8(body) {
            Ok(text) => self.object(&json!({ "item": text })).await,
            Err(_) => {
                let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, body);
                self.object(&json!({ "base64": text })).await
            }
        }
    }

    /// Says that the answer is complete.
    pub(super) async fn done(&mut self) -> Result<()> {
        if self.json { self.object(&json!({ "done": true, "items": self.items })).await } else { Ok(()) }
    }

    /// Says why the answer is not complete. Without JSON, standard error alone says it.
    pub(super) async fn failed(&mut self, error: &Error) -> Result<()> {
        if self.json { self.object(&json!({ "error": error_json(error), "items": self.items })).await } else { Ok(()) }
    }

    async fn object(&mut self, object: &Value) -> Result<()> {
        self.line(object.to_string().as_bytes()).await
    }

    async fn line(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).await.map_err(output_gone)?;
        self.out.write_all(b"\n").await.map_err(output_gone)?;
        self.out.flush().await.map_err(output_gone)
    }
}
