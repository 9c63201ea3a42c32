// SPDX-License-Identifier: Apache-2.0
//! A connection of somebody who authenticated: what it brings says who sent it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::connection::{Connection, ConnectionInfo, Inbound};
use crate::error::Result;
use crate::io::{PRINCIPAL, Principal};
use crate::message::{Message, Request, Subject};
use crate::stream::ResponseStream;

pub(super) struct Admitted {
    inner: Arc<dyn Connection>,
    principal: Bytes,
}

impl Admitted {
    pub(super) fn new(inner: Arc<dyn Connection>, principal: &Principal) -> Self {
        Self { inner, principal: Bytes::copy_from_slice(principal.as_str().as_bytes()) }
    }
}

#[async_trait]
impl Connection for Admitted {
    fn info(&self) -> &ConnectionInfo {
        self.inner.info()
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        self.inner.open(request)
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.inner.notify(subject, message).await
    }

    async fn receive(&self) -> Result<Option<Inbound>> {
        let mut inbound = self.inner.receive().await?;
        match &mut inbound {
            Some(Inbound::Notification(_, message)) => message.headers.append(PRINCIPAL, self.principal.clone()),
            Some(Inbound::Request(request, _)) => {
                request.message.headers.append(PRINCIPAL, self.principal.clone());
            }
            None => {}
        }
        Ok(inbound)
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.inner.close(grace).await
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
