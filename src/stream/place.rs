// SPDX-License-Identifier: Apache-2.0
//! What a thread knows of the handler that it polls: whose stream it answers on, and what it has sent in this poll.
//!
//! Only the polling thread comes here, so nothing of it is locked. A sender that is elsewhere by now finds nothing: what it
//! says goes to the link, which keeps it until the poll is over if anything of the stream is lent.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::{Parcel, Sink};
use crate::message::Message;

/// No sink's address.
const NOBODY: usize = 0;

thread_local! {
    /// The handler that this thread polls.
    static PLACE: Cell<Place> = const { Cell::new(Place { sink: NOBODY, key: 0, sent: Sent::Nothing }) };
    /// What it has collected. Between polls, a buffer for the next.
    static PARCEL: RefCell<Parcel> = const { RefCell::new(Parcel::EMPTY) };
}

/// A poll of a handler that answers on a stream.
#[derive(Clone, Copy)]
struct Place {
    /// The sink's address, until the sender is dropped.
    sink: usize,
    key: u64,
    sent: Sent,
}

/// What was sent in this poll.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing.
    Nothing,
    /// An item. With the second one it is worth while to collect.
    Some,
    /// Several. The link lent a parcel for the next.
    Lent,
}

/// The poll that another one is within.
pub(super) struct Outer {
    place: Place,
    parcel: Option<Box<Parcel>>,
}

/// The supervisor of stream `key` begins to poll its handler. Returns what goes to [`leave`] after the poll.
#[inline]
pub(super) fn enter(sink: &Arc<dyn Sink>, key: u64) -> Outer {
    let place = PLACE.replace(Place { sink: address(sink), key, sent: Sent::Nothing });
    let parcel = if place.sent == Sent::Lent { set_aside() } else { None };
    Outer { place, parcel }
}

/// The poll is over.
#[inline(always)]
pub(super) fn leave(outer: Outer) -> Left {
    let place = PLACE.replace(outer.place);
    let parcel = if place.sent == Sent::Lent { Some(take()) } else { None };
    if outer.parcel.is_some() {
        bring_back(outer.parcel);
    }
    Left { is_without_sender: place.sink == NOBODY, has_sent: place.sent != Sent::Nothing, parcel }
}

#[cold]
fn set_aside() -> Option<Box<Parcel>> {
    Some(Box::new(take()))
}

#[cold]
fn bring_back(parcel: Option<Box<Parcel>>) {
    parcel.into_iter().for_each(|parcel| keep(*parcel));
}

/// What a poll came to.
pub(super) struct Left {
    /// The sender was dropped, on this thread.
    pub(super) is_without_sender: bool,
    /// The link took an item.
    pub(super) has_sent: bool,
    /// What was collected.
    pub(super) parcel: Option<Parcel>,
}

/// What the handler of stream `key` has sent so far, if this thread polls it.
#[inline]
pub(super) fn sent(sink: &Arc<dyn Sink>, key: u64) -> Option<Sent> {
    let place = PLACE.get();
    ((place.sink, place.key) == (address(sink), key)).then_some(place.sent)
}

/// The first item of the handler that this thread polls was taken.
#[inline]
pub(super) fn sent_first() {
    PLACE.set(Place { sent: Sent::Some, ..PLACE.get() });
}

/// Collects `item` of the handler that this thread polls, if there is room for it.
#[inline]
pub(super) fn collect(item: &Message) -> bool {
    with(|parcel| parcel.add(item)).unwrap_or_default()
}

/// Takes the parcel of the handler that this thread polls. To be given back by [`put_back`].
pub(super) fn borrow() -> Parcel {
    PLACE.set(Place { sent: Sent::Some, ..PLACE.get() });
    take()
}

/// Gives the parcel back that [`borrow`] took.
pub(super) fn put_back(parcel: Parcel) {
    if parcel.is_lent() {
        PLACE.set(Place { sent: Sent::Lent, ..PLACE.get() });
    }
    keep(parcel);
}

/// Keeps the buffer of a parcel that came back to the link, unless there is one.
pub(super) fn recycle(parcel: Parcel) {
    if PLACE.get().sent != Sent::Lent {
        keep(parcel);
    }
}

/// The sender of stream `key` is being dropped. True if the stream's handler is polled by this thread: who polls it knows.
#[inline]
pub(super) fn is_left(sink: &Arc<dyn Sink>, key: u64) -> bool {
    let place = PLACE.get();
    let is_here = (place.sink, place.key) == (address(sink), key);
    if is_here {
        PLACE.set(Place { sink: NOBODY, ..place });
    }
    is_here
}

#[inline(never)]
fn take() -> Parcel {
    with(|place| std::mem::replace(place, Parcel::EMPTY)).unwrap_or(Parcel::EMPTY)
}

fn keep(parcel: Parcel) {
    with(|place| *place = parcel);
}

/// Nothing of others runs in `act`. On a thread that ends there may be no parcel any more.
#[inline]
fn with<T>(act: impl FnOnce(&mut Parcel) -> T) -> Option<T> {
    PARCEL.try_with(|parcel| parcel.try_borrow_mut().ok().map(|mut parcel| act(&mut parcel))).ok().flatten()
}

fn address(sink: &Arc<dyn Sink>) -> usize {
    Arc::as_ptr(sink).cast::<()>().addr()
}
