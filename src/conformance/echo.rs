// SPDX-License-Identifier: Apache-2.0
//! What can be asked of any endpoint that answers its body as one item: the part of the suite that also runs against a live
//! endpoint.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::case::{Check, Failure, ensure};
use super::payload::Payload;
use super::streams::poll_once;
use crate::connection::Connection;
use crate::error::{ErrorKind, Result};
use crate::message::{Message, Request, Subject};

/// Callers that ask at once in [`Echo::concurrent`].
const CROWD: usize = 1000;

/// An endpoint that echoes.
#[derive(Clone)]
pub(super) struct Echo {
    pub(super) connection: Arc<dyn Connection>,
    pub(super) subject: Subject,
    /// The largest message that must pass.
    pub(super) limit: usize,
    /// When a request gives up.
    pub(super) timeout: Duration,
    /// What bodies are.
    pub(super) payload: Payload,
}

impl Echo {
    fn request(&self, message: impl Into<Message>) -> Request {
        Request::new(self.subject.clone(), message).with_timeout(self.timeout)
    }

    async fn ask(&self, message: impl Into<Message>) -> Result<Message> {
        self.connection.request(self.request(message)).await
    }

    async fn echoes(&self, body: Vec<u8>) -> Check {
        let size = body.len();
        let answer = self.ask(body.clone()).await.map_err(|error| Failure::new(format!("{size} bytes: {error:?}")))?;
        ensure!(answer.body == body, "{size} bytes came back as {} other ones", answer.body.len());
        Ok(())
    }

    /// Sizes where something begins or ends: nothing, one byte, the edge of 64 KiB.
    pub(super) async fn sizes(&self) -> Check {
        let edge = 64 << 10;
        for size in [0, 1, edge - 1, edge, edge + 1].into_iter().filter(|size| *size <= self.limit) {
            self.echoes(self.payload.sized(size)).await?;
        }
        Ok(())
    }

    /// The largest message passes.
    pub(super) async fn at_limit(&self) -> Check {
        self.echoes(self.payload.sized(self.limit)).await
    }

    /// One byte more is refused as too large, and the next request works.
    pub(super) async fn over_limit(&self) -> Check {
        match self.ask(self.payload.sized(self.limit + 1)).await {
            Ok(_) => {
                return Err(Failure::new(format!("{} bytes passed over a limit of {}", self.limit + 1, self.limit)));
            }
            Err(error) => ensure!(error.kind() == ErrorKind::TooLarge, "expected TooLarge, got {error:?}"),
        }
        self.echoes(self.payload.sized(1)).await
    }

    /// Bytes that some text format would change.
    pub(super) async fn binary(&self) -> Check {
        let bodies: [&[u8]; 9] = [
            b"\n",
            b"\r\n\r\n",
            b" leading and trailing ",
            b"data: x\nevent: done\n\n",
            b"{\"error\":{\"code\":1}}",
            b"\0\0\0\0",
            b"\xff\xfe\x80",
            "ä€\u{1F600}\u{2028}".as_bytes(),
            b"\xef\xbb\xbf{}",
        ];
        for body in bodies {
            self.echoes(body.to_vec()).await?;
        }
        self.echoes((0..=255).collect()).await
    }

    /// One request after the other on the same connection.
    pub(super) async fn in_turn(&self) -> Check {
        for index in 0..100 {
            self.echoes(format!("request {index}").into_bytes()).await?;
        }
        Ok(())
    }

    /// Many at once, each with a body of its own: every answer belongs to its question.
    pub(super) async fn concurrent(&self) -> Check {
        let mut crowd = JoinSet::new();
        for index in 0..CROWD {
            let echo = self.clone();
            crowd.spawn(async move { echo.echoes(format!("{index}:{}", "x".repeat(index % 257)).into_bytes()).await });
        }
        while let Some(done) = crowd.join_next().await {
            done.map_err(|error| Failure::new(format!("a caller panicked: {error}")))??;
        }
        Ok(())
    }

    /// Requests that are dropped before, while and after they are sent do not disturb others.
    pub(super) async fn dropped_requests(&self) -> Check {
        for polls in 0..20 {
            let mut stream = self.connection.open(self.request("dropped"))?;
            for _ in 0..polls {
                if poll_once(&mut stream).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(stream);
        }
        self.echoes(self.payload.sized(100)).await
    }

    /// A deadline that has passed is an error, whether or not anything was sent.
    pub(super) async fn past_deadline(&self) -> Check {
        let request = Request::new(self.subject.clone(), "late").with_timeout(Duration::ZERO);
        match self.connection.request(request).await {
            Ok(_) => Err(Failure::new("a request whose deadline had passed was answered")),
            Err(error) => {
                ensure!(error.kind() == ErrorKind::Timeout, "expected Timeout, got {error:?}");
                self.echoes(self.payload.sized(1)).await
            }
        }
    }

    /// Closed is closed: a later request is refused at once; closing again is fine. Leaves the connection closed.
    pub(super) async fn use_after_close(&self) -> Check {
        self.echoes(self.payload.sized(1)).await?;
        self.connection.close(self.timeout).await?;
        match self.connection.request(self.request("late")).await {
            Ok(_) => return Err(Failure::new("a closed connection answered")),
            Err(error) => ensure!(error.kind() == ErrorKind::Closed, "expected Closed, got {error:?}"),
        }
        self.connection.close(self.timeout).await?;
        Ok(())
    }
}
