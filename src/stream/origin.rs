// SPDX-License-Identifier: Apache-2.0
//! Where the items of an answer come from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use super::{ResponseStream, Source};
use crate::error::Result;

pub(super) enum Origin {
    Source(Arc<dyn Source>),
    /// A stream that is not there yet.
    Opening(Opening),
    /// The overseer knows, or nobody does any more.
    Nowhere,
}

/// Polled by its one reader only. The mutex makes it fit for sharing, and is never locked.
pub(super) struct Opening(Mutex<Pin<Box<dyn Future<Output = Result<ResponseStream>> + Send>>>);

impl Opening {
    pub(super) fn new(opening: impl Future<Output = Result<ResponseStream>> + Send + 'static) -> Self {
        Self(Mutex::new(Box::pin(opening)))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseStream>> {
        self.0.get_mut().as_mut().poll(cx)
    }
}

impl Origin {
    #[inline]
    pub(super) fn source(&self) -> Option<&dyn Source> {
        match self {
            Self::Source(source) => Some(&**source),
            Self::Opening(_) | Self::Nowhere => None,
        }
    }
}
