// SPDX-License-Identifier: Apache-2.0
//! The request plane's client.

use std::sync::Arc;

use async_trait::async_trait;

use super::answer::Answer;
use super::call::{post_elsewhere, post_inline};
use super::head::decode_subject;
use super::links::Links;
use super::place::Place;
use crate::error::Result;
use crate::message::{Request, Subject};
use crate::plane::{Ack, ReplyTo, RequestPlaneClient};
use crate::target::{Target, TransportAddress};

/// Posts requests to exactly the URL of the address; one that ends with a slash gets the subject added.
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
    /// The URL as it is: its path names the endpoint.
    fn locate(&self, target: &Target) -> Result<(String, Option<Subject>)> {
        let url = target.url().as_str();
        let place = Place::parse(url)?;
        let last = place.path().rsplit('/').next().filter(|last| !last.is_empty());
        Ok((url.to_owned(), last.map(decode_subject).transpose()?))
    }

    async fn send_request(&self, to: &TransportAddress, request: Request, reply_to: &ReplyTo) -> Result<Ack> {
        let place = self.links.place(&to.address)?;
        let place = self.links.serving(&place, &request.subject)?;
        match reply_to {
            ReplyTo::Inline => {
                let over_by = self.links.over_by(request.context.deadline);
                let opened = post_inline(&self.links, &place, &request).await?;
                Ok(Ack::Inline(Answer::stream(opened, &self.links, over_by)))
            }
            ReplyTo::Nothing | ReplyTo::To(_) => {
                let located = post_elsewhere(&self.links, &place, &request, reply_to).await?;
                Ok(located.map_or(Ack::Accepted, Ack::Located))
            }
        }
    }
}
