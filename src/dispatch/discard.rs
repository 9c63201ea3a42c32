// SPDX-License-Identifier: Apache-2.0
//! Where the items of a one-way request go.

use std::task::{Context, Poll};

use crate::error::{Error, PeerError, Result};
use crate::message::ControlMessage;
use crate::stream::{Event, Sink, Unended};

/// Takes every item and keeps none: nobody asked for them. One serves all requests of an endpoint.
pub(super) struct Discard {
    /// Bytes of an item.
    pub(super) max_item: usize,
}

impl Sink for Discard {
    fn poll_ready(&self, _key: u64, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn push(&self, _key: u64, event: Event) -> Result<()> {
        match event {
            Event::Item(item) if item.size() > self.max_item => {
                Err(Error::too_large("an item", self.max_item as u64, item.size() as u64))
            }
            Event::Item(_) | Event::Inbound(_) => Ok(()),
        }
    }

    fn control(&self, _key: u64, _message: ControlMessage) -> Result<()> {
        Ok(())
    }

    fn end(&self, _key: u64, _outcome: Result<(), PeerError>) {}

    /// Never: whoever asked waits for nothing and cannot go away.
    fn poll_stopped(&self, _key: u64, _cx: &mut Context<'_>) -> Poll<ControlMessage> {
        Poll::Pending
    }

    fn poll_killed(&self, _key: u64, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn retain(&self, _key: u64) {}

    fn release(&self, _key: u64, _unended: Unended) {}
}
