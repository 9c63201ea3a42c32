// SPDX-License-Identifier: Apache-2.0
//! The items that a client asks a peer for.

use std::pin::Pin;

use biplane_cells::Ask;
use bytes::Bytes;
use futures_util::stream::{Stream, unfold};

/// The items of an answer.
pub(crate) type Items = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What was asked for.
pub(crate) fn produce(ask: Ask) -> Items {
    let item = ask.item();
    Box::pin(unfold(ask.items, move |left| {
        let item = item.clone();
        async move {
            if left == 0 {
                return None;
            }
            if left < ask.items {
                ask.pace.rest().await;
            }
            Some((item, left - 1))
        }
    }))
}

/// 1 if the item is what was asked for.
pub(crate) fn counted(ask: Ask, item: &[u8]) -> u32 {
    u32::from(item.len() == ask.size as usize)
}
