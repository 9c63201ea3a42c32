// SPDX-License-Identifier: Apache-2.0
//! The request plane's client.

use std::sync::Arc;

use async_trait::async_trait;

use super::answer::Answer;
use super::call::{post_elsewhere, post_inline};
use super::links::Links;
use crate::error::Result;
use crate::message::Request;
use crate::plane::{Ack, ReplyTo, RequestPlaneClient};
use crate::target::TransportAddress;

/// Posts requests to exactly the URL of the address.
pub struct HttpRequestClient {
    links: Arc<Links>,
}

impl HttpRequestClient {
    pub(super) fn new(links: Arc<Links>) -> Self {
        Self { links }
    }
}

#[async_trait]
impl RequestPlaneClient for HttpRequestClient {
    async fn send_request(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        let place = self.links.place(&to.address)?;
        match reply_to {
            ReplyTo::Inline => {
                let over_by = self.links.over_by(request.context.deadline);
                let opened = post_inline(&self.links, &place, request).await?;
                Ok(Ack::Inline(Answer::opened(opened, &self.links, over_by)))
            }
            ReplyTo::Nothing | ReplyTo::To(_) => {
                let located = post_elsewhere(&self.links, &place, request, reply_to).await?;
                Ok(located.map_or(Ack::Accepted, Ack::Located))
            }
        }
    }
}
