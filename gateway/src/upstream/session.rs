// SPDX-License-Identifier: Apache-2.0
//! A legacy session that survives its server: what was told to the one that is lost is told to the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use biplane::{Connection, ConnectionInfo, Inbound, Message, Request, ResponseStream, Result, Subject};

use super::live::Live;
use super::memory::Memory;

pub(super) struct Session {
    live: Arc<Live>,
    memory: Arc<Memory>,
}

impl Session {
    pub(super) fn new(live: Arc<Live>, memory: Arc<Memory>) -> Self {
        Self { live, memory }
    }
}

#[async_trait]
impl Connection for Session {
    fn info(&self) -> &ConnectionInfo {
        self.live.info()
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.memory.note(&request);
        self.live.open(request)
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.live.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        self.live.receive().await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.live.close(grace).await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.live)
    }
}
