// SPDX-License-Identifier: Apache-2.0
//! The response plane's client, at the caller: fetches the answer from where the acknowledgement says.

use std::sync::Arc;
use std::time::Instant;

use super::answer::Answer;
use super::call::fetch;
use super::links::Links;
use super::place::Place;
use crate::error::{Error, Phase, Result};
use crate::message::RequestContext;
use crate::plane::{Pending, PendingResponse, ResponseConnectionInfo};
use crate::stream::ResponseStream;
use crate::target::{TransportAddress, TransportId};

/// Fetches answers.
pub struct HttpResponseClient {
    links: Arc<Links>,
}

impl HttpResponseClient {
    pub(super) fn new(links: Arc<Links>) -> Self {
        Self { links }
    }

    /// Reserves nothing: the place of the answer is the responder's to say.
    pub fn expect(&self, context: &RequestContext) -> PendingResponse {
        PendingResponse {
            reply_to: ResponseConnectionInfo::new(TransportAddress::http(""), context),
            pending: Box::new(Fetch { links: self.links.clone(), over_by: self.links.over_by(context.deadline) }),
        }
    }
}

struct Fetch {
    links: Arc<Links>,
    over_by: Instant,
}

impl Pending for Fetch {
    fn resolve(self: Box<Self>, located: Option<ResponseConnectionInfo>) -> Result<ResponseStream> {
        let located = located.ok_or_else(|| {
            Error::protocol("the acknowledgement does not say where the answer can be fetched")
                .with_phase(Phase::Respond)
                .with_transport(TransportId::HTTP)
        })?;
        // Used once: nothing to keep.
        let place = Place::parse(&located.address.address)?;
        let (links, over_by) = (self.links, self.over_by);
        Ok(ResponseStream::deferred(async move {
            let opened = fetch(&links, &place, over_by).await?;
            Ok(Answer::stream(opened, &links, over_by))
        }))
    }
}
