// SPDX-License-Identifier: Apache-2.0
//! The handle.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::peer::{Peer, Phase};
use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::Result;
use crate::message::{Message, Request, Subject};
use crate::stream::ResponseStream;

pub(super) struct MessageConnection {
    info: ConnectionInfo,
    peer: Arc<Peer>,
}

impl MessageConnection {
    pub(super) fn new(info: ConnectionInfo, peer: Arc<Peer>) -> Self {
        Self { info, peer }
    }
}

#[async_trait]
impl Connection for MessageConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.peer.open(request)
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        poll_fn(|cx| self.peer.poll_notify(subject, &message, cx)).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        Ok(poll_fn(|cx| self.peer.state().inbox.poll_next(cx)).await)
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.peer.close(false);
        if tokio::time::timeout(grace, self.peer.gone()).await.is_err() {
            self.peer.close(true);
            self.peer.gone().await;
        }
        Ok(())
    }
}

impl Peer {
    /// The driver looks whether a closing link has come to its end.
    pub(super) fn poke_if_closing(&self) {
        if !matches!(self.state().phase, Phase::Open) {
            self.close(false);
        }
    }
}

impl Drop for MessageConnection {
    fn drop(&mut self) {
        let unreceived = self.peer.state().inbox.abandon();
        drop(unreceived);
        self.peer.close(false);
    }
}

impl fmt::Debug for MessageConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageConnection({} {})", self.info.transport, self.info.peer)
    }
}
